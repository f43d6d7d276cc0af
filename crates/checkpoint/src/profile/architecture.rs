//! The two released architectures, and how far a configuration is from them.

use std::fmt;

use crate::config::{Attention, Config, Layer, Routing};

/// A released size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 284B parameters, 13B active.
    Flash,
    /// 1.6T parameters, 49B active.
    Pro,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flash => "Flash",
            Self::Pro => "Pro",
        })
    }
}

/// A field in which a configuration differs from a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The release compared with.
    pub release: Size,
    /// Official name of the field.
    pub field: &'static str,
    /// This configuration's value.
    pub found: String,
    /// The release's value.
    pub expected: String,
}

type Field = (&'static str, fn(&Config) -> f64, f64, f64);

/// Name, accessor, Flash, Pro (spec §2.1). `max_position_embeddings` is left out: it limits, it does not shape.
const FIELDS: [Field; 23] = [
    ("vocab_size", |c| c.vocab_size as f64, 129_280.0, 129_280.0),
    ("hidden_size", |c| c.hidden_size as f64, 4096.0, 7168.0),
    (
        "num_attention_heads",
        |c| c.num_attention_heads as f64,
        64.0,
        128.0,
    ),
    ("head_dim", |c| c.head_dim as f64, 512.0, 512.0),
    ("qk_rope_head_dim", |c| c.qk_rope_head_dim as f64, 64.0, 64.0),
    ("q_lora_rank", |c| c.q_lora_rank as f64, 1024.0, 1536.0),
    ("o_groups", |c| c.o_groups as f64, 8.0, 16.0),
    ("o_lora_rank", |c| c.o_lora_rank as f64, 1024.0, 1024.0),
    ("index_n_heads", |c| c.index_n_heads as f64, 64.0, 64.0),
    ("index_head_dim", |c| c.index_head_dim as f64, 128.0, 128.0),
    ("index_topk", |c| c.index_topk as f64, 512.0, 1024.0),
    (
        "moe_intermediate_size",
        |c| c.moe_intermediate_size as f64,
        2048.0,
        3072.0,
    ),
    ("n_routed_experts", |c| c.n_routed_experts as f64, 256.0, 384.0),
    ("num_experts_per_tok", |c| c.num_experts_per_tok as f64, 6.0, 6.0),
    ("sliding_window", |c| c.sliding_window as f64, 128.0, 128.0),
    ("hc_mult", |c| c.hc_mult as f64, 4.0, 4.0),
    ("hc_sinkhorn_iters", |c| c.hc_sinkhorn_iters as f64, 20.0, 20.0),
    ("swiglu_limit", |c| f64::from(c.swiglu_limit), 10.0, 10.0),
    (
        "routed_scaling_factor",
        |c| f64::from(c.routed_scaling_factor),
        1.5,
        2.5,
    ),
    ("rope_theta", |c| c.rope_theta, 10_000.0, 10_000.0),
    (
        "compress_rope_theta",
        |c| c.compress_rope_theta,
        160_000.0,
        160_000.0,
    ),
    (
        "rope_scaling.factor",
        |c| c.yarn.map_or(1.0, |yarn| yarn.factor),
        16.0,
        16.0,
    ),
    (
        "rope_scaling.original_max_position_embeddings",
        |c| {
            c.yarn
                .map_or(0.0, |yarn| yarn.original_max_position_embeddings as f64)
        },
        65_536.0,
        65_536.0,
    ),
];

impl Size {
    /// The number of parameters one token uses, as published (rounded).
    pub const fn published_active_parameters(self) -> f64 {
        match self {
            Self::Flash => 13e9,
            Self::Pro => 49e9,
        }
    }

    /// The released size this configuration has exactly, if any.
    pub fn of(config: &Config) -> Option<Self> {
        [Self::Flash, Self::Pro]
            .into_iter()
            .find(|size| size.differences(config).is_empty())
    }

    fn differences(self, config: &Config) -> Vec<Difference> {
        let mut differences: Vec<_> = FIELDS
            .iter()
            .filter_map(|&(field, get, flash, pro)| {
                let expected = if self == Self::Flash { flash } else { pro };
                let found = get(config);
                (found != expected).then(|| Difference {
                    release: self,
                    field,
                    found: found.to_string(),
                    expected: expected.to_string(),
                })
            })
            .collect();
        let layers = self.layers();
        if config.layers.len() != layers.len() {
            differences.push(Difference {
                release: self,
                field: "num_hidden_layers",
                found: config.layers.len().to_string(),
                expected: layers.len().to_string(),
            });
        } else if let Some(layer) = (0..layers.len()).find(|&i| config.layers[i] != layers[i]) {
            differences.push(Difference {
                release: self,
                field: "compress_ratios, num_hash_layers",
                found: format!("layer {layer} is {:?}", config.layers[layer]),
                expected: format!("{:?}", layers[layer]),
            });
        }
        differences
    }

    /// The layer schedule (spec §3).
    fn layers(self) -> Vec<Layer> {
        let (count, first) = match self {
            Self::Flash => (43, Attention::Window),
            Self::Pro => (61, Attention::Heavy { ratio: 128 }),
        };
        (0..count)
            .map(|layer| Layer {
                attention: match layer {
                    0 | 1 => first,
                    _ if layer % 2 == 0 => Attention::Sparse { ratio: 4 },
                    _ => Attention::Heavy { ratio: 128 },
                },
                routing: if layer < 3 { Routing::Hash } else { Routing::Biased },
            })
            .collect()
    }
}

/// How the configuration differs from the release it differs least from.
pub(super) fn differences(config: &Config) -> Vec<Difference> {
    let flash = Size::Flash.differences(config);
    let pro = Size::Pro.differences(config);
    if pro.len() < flash.len() { pro } else { flash }
}
