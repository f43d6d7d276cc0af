//! Which attention and which routing each layer has (spec §3).

use serde_json::Value;

use super::LAYERS_MAX;
use super::error::ConfigError;
use super::fields::{Fields, integer, missing, quote};

/// The compression ratio that means sparse attention in the official `compress_ratios`.
const SPARSE_RATIO: usize = 4;
const RATIO_MAX: usize = 1 << 16;

/// What a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// The sliding window only.
    Window,
    /// The window and, of entries that pool `ratio` tokens with overlap, those the indexer picks (CSA).
    Sparse {
        /// Tokens per entry.
        ratio: usize,
    },
    /// The window and all entries that pool `ratio` tokens without overlap (HCA).
    Heavy {
        /// Tokens per entry.
        ratio: usize,
    },
}

impl Attention {
    /// Tokens per compressed entry; 0 without a compressor.
    pub fn ratio(self) -> usize {
        match self {
            Self::Window => 0,
            Self::Sparse { ratio } | Self::Heavy { ratio } => ratio,
        }
    }
}

/// How a layer chooses experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By a table from token id to expert ids (`gate.tid2eid`).
    Hash,
    /// The largest biased scores (`gate.bias`).
    Biased,
}

/// One backbone layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it attends to.
    pub attention: Attention,
    /// How it chooses experts.
    pub routing: Routing,
}

pub(super) struct Schedule {
    pub(super) layers: Vec<Layer>,
    /// Entries of `compress_ratios` beyond the backbone: one per draft block. `None` if there is no such list.
    pub(super) draft_blocks: Option<usize>,
}

pub(super) fn read(fields: &Fields<'_>, num_hidden_layers: usize) -> Result<Schedule, ConfigError> {
    let ratios = from_ratios(fields, num_hidden_layers)?;
    let types = from_types(fields, num_hidden_layers)?;
    let (attention, draft_blocks) = match (ratios, types) {
        (Some((from_ratios, drafts)), Some(from_types)) => {
            if let Some(layer) = (0..num_hidden_layers).find(|&i| from_ratios[i] != from_types[i]) {
                return Err(ConfigError::Contradiction {
                    first: format!("compress_ratios makes layer {layer} {:?}", from_ratios[layer]),
                    second: format!("layer_types makes it {:?}", from_types[layer]),
                });
            }
            (from_types, Some(drafts))
        }
        (Some((from_ratios, drafts)), None) => (from_ratios, Some(drafts)),
        (None, Some(from_types)) => (from_types, None),
        (None, None) => {
            return Err(ConfigError::Missing {
                key: "compress_ratios".to_owned(),
                also: " (or layer_types)".to_owned(),
            });
        }
    };
    let routing = routing(fields, num_hidden_layers)?;
    let layers = attention
        .into_iter()
        .zip(routing)
        .map(|(attention, routing)| Layer { attention, routing })
        .collect();
    Ok(Schedule { layers, draft_blocks })
}

/// Official: one ratio per layer, then a zero per draft block.
fn from_ratios(fields: &Fields<'_>, layers: usize) -> Result<Option<(Vec<Attention>, usize)>, ConfigError> {
    let Some(ratios) = fields.sizes("compress_ratios", 2 * LAYERS_MAX)? else {
        return Ok(None);
    };
    let error = |expected: String, found: String| ConfigError::Value {
        key: "compress_ratios".to_owned(),
        expected,
        found,
    };
    if ratios.len() < layers {
        return Err(error(
            format!("at least one entry for each of the {layers} layers (num_hidden_layers)"),
            format!("{} entries", ratios.len()),
        ));
    }
    if let Some(&ratio) = ratios.iter().find(|&&ratio| ratio > RATIO_MAX) {
        return Err(error(format!("ratios of at most {RATIO_MAX}"), ratio.to_string()));
    }
    let (backbone, drafts) = ratios.split_at(layers);
    if let Some(&ratio) = drafts.iter().find(|&&ratio| ratio != 0) {
        return Err(error(
            format!("0 for every draft block (entries from {layers}, num_hidden_layers, on)"),
            ratio.to_string(),
        ));
    }
    let attention = backbone
        .iter()
        .map(|&ratio| match ratio {
            0 => Attention::Window,
            SPARSE_RATIO => Attention::Sparse { ratio },
            _ => Attention::Heavy { ratio },
        })
        .collect();
    Ok(Some((attention, drafts.len())))
}

/// transformers: one name per layer, and one ratio per name.
fn from_types(fields: &Fields<'_>, layers: usize) -> Result<Option<Vec<Attention>>, ConfigError> {
    let Some(value) = fields.get("layer_types") else {
        return Ok(None);
    };
    let list = per_layer("layer_types", value, layers)?;
    let rate = |kind: &'static str| {
        let rates = fields
            .get("compress_rates")
            .ok_or_else(|| missing("compress_rates"))?;
        let rate = rates
            .get(kind)
            .and_then(integer)
            .filter(|rate| (1..=RATIO_MAX).contains(rate));
        rate.ok_or_else(|| ConfigError::Value {
            key: format!("compress_rates.{kind}"),
            expected: format!("a whole number from 1 to {RATIO_MAX}"),
            found: rates.get(kind).map_or_else(|| "nothing".to_owned(), quote),
        })
    };
    let attention = list.iter().map(|name| match name.as_str() {
        Some("sliding_attention") => Ok(Attention::Window),
        Some("compressed_sparse_attention") => Ok(Attention::Sparse {
            ratio: rate("compressed_sparse_attention")?,
        }),
        Some("heavily_compressed_attention") => Ok(Attention::Heavy {
            ratio: rate("heavily_compressed_attention")?,
        }),
        _ => Err(ConfigError::Value {
            key: "layer_types".to_owned(),
            expected: "sliding_attention, compressed_sparse_attention or heavily_compressed_attention"
                .to_owned(),
            found: quote(name),
        }),
    });
    attention.collect::<Result<_, _>>().map(Some)
}

fn routing(fields: &Fields<'_>, layers: usize) -> Result<Vec<Routing>, ConfigError> {
    if let Some(value) = fields.get("mlp_layer_types") {
        let list = per_layer("mlp_layer_types", value, layers)?;
        return list
            .iter()
            .map(|name| match name.as_str() {
                Some("hash_moe") => Ok(Routing::Hash),
                Some("moe") => Ok(Routing::Biased),
                _ => Err(ConfigError::Value {
                    key: "mlp_layer_types".to_owned(),
                    expected: "hash_moe or moe".to_owned(),
                    found: quote(name),
                }),
            })
            .collect();
    }
    // More hash layers than layers is harmless: all of them are.
    let hash_layers = fields.size("num_hash_layers", 0..=LAYERS_MAX)?;
    Ok((0..layers)
        .map(|layer| {
            if layer < hash_layers {
                Routing::Hash
            } else {
                Routing::Biased
            }
        })
        .collect())
}

fn per_layer<'a>(key: &str, value: &'a Value, layers: usize) -> Result<&'a [Value], ConfigError> {
    value
        .as_array()
        .filter(|list| list.len() == layers)
        .map(Vec::as_slice)
        .ok_or_else(|| ConfigError::Value {
            key: key.to_owned(),
            expected: format!("a list with one entry for each of the {layers} layers (num_hidden_layers)"),
            found: quote(value),
        })
}
