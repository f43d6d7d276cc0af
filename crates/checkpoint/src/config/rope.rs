//! Rotary settings: `rope_scaling` (official), `rope_factor` and friends (`inference/config.json`), or the nested
//! `rope_parameters` of transformers.

use serde_json::Value;

use super::HEAD_DIM_MAX;
use super::error::ConfigError;
use super::fields::{Fields, integer, missing, positive, quote};

/// YaRN long-context scaling, applied in layers with a compressor only, without amplitude factor (spec §5.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Interpolation factor.
    pub factor: f64,
    /// Context length of the unscaled frequencies.
    pub original_max_position_embeddings: usize,
    /// Rotations at and above which a frequency is left alone.
    pub beta_fast: f64,
    /// Rotations at and below which a frequency is fully interpolated.
    pub beta_slow: f64,
}

/// `rope_parameters.<group>` of transformers, if nested by group.
fn nested<'a>(fields: &Fields<'a>, group: &str) -> Option<&'a Value> {
    fields.get("rope_parameters")?.get(group)
}

/// Base of layers without compressor.
pub(super) fn base(fields: &Fields<'_>) -> Result<f64, ConfigError> {
    match nested(fields, "main").and_then(|main| main.get("rope_theta")) {
        Some(value) => positive("rope_parameters.main.rope_theta", value),
        None => fields.positive("rope_theta", None),
    }
}

/// Base of layers with compressor. Required: a default would be wrong silently (spec §2.3).
pub(super) fn compress_base(fields: &Fields<'_>) -> Result<f64, ConfigError> {
    match nested(fields, "compress").and_then(|compress| compress.get("rope_theta")) {
        Some(value) => positive("rope_parameters.compress.rope_theta", value),
        None => fields.positive("compress_rope_theta", None),
    }
}

/// Rotary dimensions per head: given as a number, or by transformers as a share of the head.
pub(super) fn dimensions(fields: &Fields<'_>, head_dim: usize) -> Result<usize, ConfigError> {
    if let Some(size) = fields.optional_size("qk_rope_head_dim", 2..=HEAD_DIM_MAX)? {
        return Ok(size);
    }
    let share = nested(fields, "main")
        .and_then(|main| main.get("partial_rotary_factor"))
        .or_else(|| fields.get("partial_rotary_factor"))
        .ok_or_else(|| missing("qk_rope_head_dim"))?;
    Ok((positive("partial_rotary_factor", share)? * head_dim as f64) as usize)
}

/// Longest context where `max_position_embeddings` is absent (`inference/config.json`).
pub(super) fn positions(fields: &Fields<'_>) -> Result<usize, ConfigError> {
    let yarn = yarn(fields)?.ok_or_else(|| missing("max_position_embeddings"))?;
    Ok(
        (yarn.original_max_position_embeddings as f64 * yarn.factor).min(super::POSITIONS_MAX as f64)
            as usize,
    )
}

/// The scaling of compressed layers, if any.
pub(super) fn yarn(fields: &Fields<'_>) -> Result<Option<Yarn>, ConfigError> {
    if let Some(compress) = nested(fields, "compress") {
        return from_object("rope_parameters.compress", compress);
    }
    for key in ["rope_scaling", "rope_parameters"] {
        if let Some(value) = fields.get(key) {
            return from_object(key, value);
        }
    }
    let (Some(factor), Some(original)) = (fields.get("rope_factor"), fields.get("original_seq_len")) else {
        return Ok(None);
    };
    if integer(original) == Some(0) {
        return Ok(None);
    }
    Ok(Some(Yarn {
        factor: factor_of("rope_factor", factor)?,
        original_max_position_embeddings: positions_of("original_seq_len", original)?,
        beta_fast: fields.positive("beta_fast", Some(32.0))?,
        beta_slow: fields.positive("beta_slow", Some(1.0))?,
    }))
}

fn from_object(key: &str, value: &Value) -> Result<Option<Yarn>, ConfigError> {
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    match kind.map(|kind| kind.as_str()) {
        Some(Some("yarn")) => {}
        None | Some(Some("default")) => return Ok(None),
        Some(_) => {
            return Err(ConfigError::Unsupported {
                key: format!("{key}.type"),
                expected: "\"yarn\" (or \"default\")".to_owned(),
                found: kind.map_or_else(String::new, quote),
            });
        }
    }
    // V4 multiplies neither cos/sin nor the softmax scale (spec §5.4): a factor other than 1 is another model.
    for name in ["attention_factor", "mscale", "mscale_all_dim"] {
        if let Some(found) = value.get(name).filter(|found| !found.is_null())
            && found.as_f64() != Some(1.0)
        {
            return Err(ConfigError::Unsupported {
                key: format!("{key}.{name}"),
                expected: "no amplitude factor (1.0)".to_owned(),
                found: quote(found),
            });
        }
    }
    let field = |name: &str| {
        value
            .get(name)
            .filter(|found| !found.is_null())
            .ok_or_else(|| ConfigError::Missing {
                key: format!("{key}.{name}"),
                also: String::new(),
            })
    };
    let original = "original_max_position_embeddings";
    let beta = |name: &str, default: f64| match value.get(name).filter(|found| !found.is_null()) {
        Some(found) => positive(&format!("{key}.{name}"), found),
        None => Ok(default),
    };
    Ok(Some(Yarn {
        factor: factor_of(&format!("{key}.factor"), field("factor")?)?,
        original_max_position_embeddings: positions_of(&format!("{key}.{original}"), field(original)?)?,
        beta_fast: beta("beta_fast", 32.0)?,
        beta_slow: beta("beta_slow", 1.0)?,
    }))
}

fn factor_of(key: &str, value: &Value) -> Result<f64, ConfigError> {
    let factor = positive(key, value)?;
    if factor < 1.0 {
        return Err(ConfigError::Value {
            key: key.to_owned(),
            expected: "a number of at least 1".to_owned(),
            found: quote(value),
        });
    }
    Ok(factor)
}

fn positions_of(key: &str, value: &Value) -> Result<usize, ConfigError> {
    integer(value)
        .filter(|size| (1..=super::POSITIONS_MAX).contains(size))
        .ok_or_else(|| ConfigError::Value {
            key: key.to_owned(),
            expected: format!("a whole number from 1 to {}", super::POSITIONS_MAX),
            found: quote(value),
        })
}
