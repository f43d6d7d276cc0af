//! Typed access to the fields of a configuration, whichever of its three spellings is used.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ConfigError;

/// Official key → the same setting in `inference/config.json` (spec §2.3) or transformers.
const ALIASES: [(&str, &[&str]); 13] = [
    ("hidden_size", &["dim"]),
    ("moe_intermediate_size", &["moe_inter_dim"]),
    ("num_hidden_layers", &["n_layers"]),
    ("num_hash_layers", &["n_hash_layers"]),
    ("num_attention_heads", &["n_heads"]),
    ("num_experts_per_tok", &["n_activated_experts"]),
    ("scoring_func", &["score_func"]),
    ("routed_scaling_factor", &["route_scale"]),
    ("qk_rope_head_dim", &["rope_head_dim"]),
    ("sliding_window", &["window_size"]),
    ("rms_norm_eps", &["norm_eps"]),
    ("n_routed_experts", &["num_local_experts"]),
    ("num_nextn_predict_layers", &["n_mtp_layers"]),
];

/// Longest excerpt of a value quoted in a message, in characters.
const QUOTE_MAX: usize = 60;

pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a Value) -> Result<Self, ConfigError> {
        match value {
            Value::Object(map) => Ok(Self { map }),
            other => Err(ConfigError::Json {
                reason: format!("expected an object, found {}", quote(other)),
            }),
        }
    }

    /// The value of exactly this key; JSON `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The value under the official key or one of its other spellings, with the key found.
    fn find(&self, key: &'static str) -> Option<(&'static str, &'a Value)> {
        std::iter::once(&key)
            .chain(aliases(key))
            .find_map(|&spelling| self.get(spelling).map(|value| (spelling, value)))
    }

    /// Refuses every architecture but V4, by name.
    pub(super) fn check_architecture(&self) -> Result<(), ConfigError> {
        if self.get("vision_config").is_some() {
            return Err(ConfigError::Architecture {
                found: "V4 vision".to_owned(),
                advice: "Image input is not supported: use DeepSeek-V4-Flash or -Pro".to_owned(),
            });
        }
        let named = match self.text("model_type")? {
            Some(model_type) => model_type,
            None => match self
                .get("architectures")
                .and_then(|list| list.get(0))
                .and_then(Value::as_str)
            {
                Some("DeepseekV4ForCausalLM") => return Ok(()),
                Some(other) => other,
                // The official inference/config.json names no architecture; these keys together are V4's alone.
                None if ["n_layers", "compress_ratios", "hc_mult", "o_lora_rank"]
                    .iter()
                    .all(|key| self.get(key).is_some()) =>
                {
                    return Ok(());
                }
                None => {
                    return Err(ConfigError::Architecture {
                        found: "nameless".to_owned(),
                        advice: "config.json has neither model_type nor architectures: point Fathom at a checkpoint \
                                 directory with its own config.json"
                            .to_owned(),
                    });
                }
            },
        };
        let advice = match named {
            "deepseek_v4" => return Ok(()),
            "deepseek_v41" | "DeepseekV41ForCausalLM" => {
                "V4.1 is a different architecture despite its name (other hyper-connections, compressors, indexer \
                 and prompt encoding): use DeepSeek-V4-Flash, -Pro, -Flash-0731 or -Pro-0813"
            }
            "deepseek_v2" | "deepseek_v3" | "deepseek_v32" => {
                "Earlier DeepSeek generations need another engine, such as llama.cpp or vLLM; for Fathom use \
                 DeepSeek-V4-Flash or -Pro"
            }
            _ => "Use a DeepSeek-V4 checkpoint, for example DeepSeek-V4-Flash",
        };
        Err(ConfigError::Architecture {
            found: shorten(named),
            advice: advice.to_owned(),
        })
    }

    /// Settings that have one value in every V4 model and no implementation of another.
    pub(super) fn check_fixed_settings(&self) -> Result<(), ConfigError> {
        for (key, expected) in [
            ("hidden_act", Value::from("silu")),
            ("scoring_func", Value::from("sqrtsoftplus")),
            ("topk_method", Value::from("noaux_tc")),
            ("attention_bias", Value::from(false)),
            ("mlp_bias", Value::from(false)),
            ("num_key_value_heads", Value::from(1)),
        ] {
            if let Some((spelling, found)) = self.find(key)
                && *found != expected
            {
                return Err(ConfigError::Unsupported {
                    key: spelling.to_owned(),
                    expected: expected.to_string(),
                    found: quote(found),
                });
            }
        }
        Ok(())
    }

    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        self.optional_size(key, range)?.ok_or_else(|| missing(key))
    }

    pub(super) fn optional_size(
        &self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        let Some((spelling, value)) = self.find(key) else {
            return Ok(None);
        };
        match integer(value) {
            Some(size) if range.contains(&size) => Ok(Some(size)),
            _ => Err(ConfigError::Value {
                key: spelling.to_owned(),
                expected: if range.start() == range.end() {
                    range.start().to_string()
                } else {
                    format!("a whole number from {} to {}", range.start(), range.end())
                },
                found: quote(value),
            }),
        }
    }

    /// A list of whole numbers, at most `length_max` of them.
    pub(super) fn sizes(
        &self,
        key: &'static str,
        length_max: usize,
    ) -> Result<Option<Vec<usize>>, ConfigError> {
        let Some((spelling, value)) = self.find(key) else {
            return Ok(None);
        };
        let list = value.as_array().filter(|list| list.len() <= length_max);
        let sizes = list.and_then(|list| list.iter().map(integer).collect::<Option<Vec<_>>>());
        match sizes {
            Some(sizes) => Ok(Some(sizes)),
            None => Err(ConfigError::Value {
                key: spelling.to_owned(),
                expected: format!("a list of at most {length_max} whole numbers"),
                found: quote(value),
            }),
        }
    }

    /// A finite number above zero, of at most 10^30.
    pub(super) fn positive(&self, key: &'static str, default: Option<f64>) -> Result<f64, ConfigError> {
        match self.find(key) {
            Some((spelling, value)) => positive(spelling, value),
            None => default.ok_or_else(|| missing(key)),
        }
    }

    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some((spelling, value)) = self.find(key) else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or_else(|| ConfigError::Value {
            key: spelling.to_owned(),
            expected: "true or false".to_owned(),
            found: quote(value),
        })
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        let Some((spelling, value)) = self.find(key) else {
            return Ok(None);
        };
        value.as_str().map(Some).ok_or_else(|| ConfigError::Value {
            key: spelling.to_owned(),
            expected: "a string".to_owned(),
            found: quote(value),
        })
    }

    /// A token id below `vocab_size`. transformers allows a list; one of a single id is the same thing.
    pub(super) fn token(&self, key: &'static str, vocab_size: usize) -> Result<Option<u32>, ConfigError> {
        let Some((spelling, value)) = self.find(key) else {
            return Ok(None);
        };
        let id = match value.as_array().map(Vec::as_slice) {
            Some([only]) => integer(only),
            Some(_) => None,
            None => integer(value),
        };
        match id {
            Some(id) if id < vocab_size => Ok(Some(id as u32)),
            _ => Err(ConfigError::Value {
                key: spelling.to_owned(),
                expected: format!("one token id below vocab_size ({vocab_size})"),
                found: quote(value),
            }),
        }
    }

    /// `expert_dtype`, at the top or (as later transformers writes it) inside `quantization_config`.
    pub(super) fn expert_dtype(&self) -> Result<Option<String>, ConfigError> {
        if let Some(text) = self.text("expert_dtype")? {
            return Ok(Some(shorten(text)));
        }
        let nested = self
            .get("quantization_config")
            .and_then(|quantization| quantization.get("expert_dtype"));
        Ok(nested.and_then(Value::as_str).map(shorten))
    }
}

fn aliases(key: &str) -> &'static [&'static str] {
    ALIASES
        .iter()
        .find(|(official, _)| *official == key)
        .map_or(&[], |(_, others)| others)
}

pub(super) fn missing(key: &'static str) -> ConfigError {
    let also = match aliases(key) {
        [] => String::new(),
        others => format!(" (or {})", others.join(", ")),
    };
    ConfigError::Missing {
        key: key.to_owned(),
        also,
    }
}

/// A whole number; `10000.0` is one too.
pub(super) fn integer(value: &Value) -> Option<usize> {
    if let Some(number) = value.as_u64() {
        return usize::try_from(number).ok();
    }
    let number = value.as_f64()?;
    (number >= 0.0 && number <= 2_f64.powi(53) && number.fract() == 0.0).then_some(number as usize)
}

pub(super) fn positive(key: &str, value: &Value) -> Result<f64, ConfigError> {
    match value.as_f64() {
        Some(number) if number > 0.0 && number <= 1e30 => Ok(number),
        _ => Err(ConfigError::Value {
            key: key.to_owned(),
            expected: "a number above zero".to_owned(),
            found: quote(value),
        }),
    }
}

/// A value for a message, at most [`QUOTE_MAX`] characters of it.
pub(crate) fn quote(value: &Value) -> String {
    match value {
        Value::Array(list) if list.len() > 8 => format!("a list of {} values", list.len()),
        Value::Object(map) if map.len() > 4 => format!("an object of {} keys", map.len()),
        other => shorten(&other.to_string()),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
