//! Where the official names are found in a checkpoint: as they are, or under the names transformers gives them
//! (spec §10.6), or under the mixture of both that its `save_pretrained` writes unless told otherwise.

use std::collections::BTreeMap;

use crate::tensor::Tensor;

/// The naming scheme of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Official names, one tensor per expert and projection.
    Official,
    /// transformers names, the experts of a layer fused into two tensors (`save_original_format=False`).
    Transformers,
    /// What transformers 5 saves by default: official names below `model.layers`, one tensor per expert, but its own
    /// names around them, and `attn.kv_norm` turned into `attn.norm`.
    Saved,
}

/// One of the three projections of a routed expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpertPart {
    /// `w1`, the gate.
    Gate,
    /// `w3`.
    Up,
    /// `w2`.
    Down,
}

/// A module of a routed expert, for example `layers.3.ffn.experts.7.w1`.
pub(crate) struct ExpertModule<'a> {
    /// `layers.3.ffn.experts`.
    pub(crate) stem: &'a str,
    pub(crate) expert: usize,
    pub(crate) part: ExpertPart,
}

impl<'a> ExpertModule<'a> {
    /// Takes `…ffn.experts.E.wN` apart; `None` for any other module.
    pub(crate) fn parse(module: &'a str) -> Option<Self> {
        let (rest, part) = module.rsplit_once('.')?;
        let (stem, expert) = rest.rsplit_once('.')?;
        if !stem.ends_with("ffn.experts") {
            return None;
        }
        let part = match part {
            "w1" => ExpertPart::Gate,
            "w2" => ExpertPart::Down,
            "w3" => ExpertPart::Up,
            _ => return None,
        };
        Some(Self {
            stem,
            expert: expert.parse().ok()?,
            part,
        })
    }

    /// The fused tensor of the transformers layout that holds it.
    pub(crate) fn fused_name(&self) -> String {
        let suffix = match self.part {
            ExpertPart::Gate | ExpertPart::Up => "gate_up_proj",
            ExpertPart::Down => "down_proj",
        };
        Layout::Transformers.tensor_name(&format!("{}.{suffix}", self.stem))
    }
}

impl Layout {
    /// Tells the layout by the name of the embedding table.
    pub(crate) fn detect(tensors: &BTreeMap<String, Tensor>) -> Option<Self> {
        if tensors.contains_key("embed.weight") {
            Some(Self::Official)
        } else if !tensors.contains_key("model.embed_tokens.weight") {
            None
        } else if tensors.contains_key("model.layers.0.attn.wq_a.weight") {
            Some(Self::Saved)
        } else {
            Some(Self::Transformers)
        }
    }

    /// The name in this layout of a tensor with this official name. Routed experts are not covered: transformers
    /// fuses them.
    pub(crate) fn tensor_name(self, official: &str) -> String {
        match self {
            Self::Official => official.to_owned(),
            Self::Transformers => transformers_name(official),
            Self::Saved => saved_name(official),
        }
    }

    /// Names the scales of `weight` (a name in this layout, with or without `.weight`) may have, most likely first.
    pub(crate) fn scale_names(self, weight: &str) -> [String; 2] {
        let module = weight.strip_suffix(".weight");
        let inverse = match module {
            Some(module) => format!("{module}.weight_scale_inv"),
            // Fused experts are parameters, not modules.
            None => format!("{weight}_scale_inv"),
        };
        let plain = format!("{}.scale", module.unwrap_or(weight));
        match self {
            Self::Official => [plain, inverse],
            Self::Transformers | Self::Saved => [inverse, plain],
        }
    }
}

/// The name of a grouped matrix's row scales in every layout, by the name of its weight.
pub(crate) fn row_scale_name(weight: &str) -> String {
    format!("{}.row_scale", weight.strip_suffix(".weight").unwrap_or(weight))
}

/// `layers.3.attn.wq_a.weight` → `model.layers.3.self_attn.q_a_proj.weight`, by the table of spec §10.6.
fn transformers_name(official: &str) -> String {
    let Some((layer, rest)) = official
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return match official {
            "embed.weight" => "model.embed_tokens.weight".to_owned(),
            "head.weight" => "lm_head.weight".to_owned(),
            _ => match official.strip_prefix("hc_head_") {
                Some(part) => format!("model.hc_head.hc_{part}"),
                None => format!("model.{official}"),
            },
        };
    };
    let renamed = if let Some(part) = rest.strip_prefix("hc_attn_") {
        format!("attn_hc.{part}")
    } else if let Some(part) = rest.strip_prefix("hc_ffn_") {
        format!("ffn_hc.{part}")
    } else if let Some(part) = rest.strip_prefix("attn.indexer.compressor.") {
        format!("self_attn.compressor.indexer.{}", compressor_part(part))
    } else if let Some(part) = rest.strip_prefix("attn.indexer.wq_b.") {
        format!("self_attn.compressor.indexer.q_b_proj.{part}")
    } else if let Some(part) = rest.strip_prefix("attn.indexer.weights_proj.") {
        format!("self_attn.compressor.indexer.scorer.weights_proj.{part}")
    } else if let Some(part) = rest.strip_prefix("attn.compressor.") {
        format!("self_attn.compressor.{}", compressor_part(part))
    } else if let Some(part) = rest.strip_prefix("attn.") {
        format!("self_attn.{}", renamed_head(part, &ATTENTION))
    } else if let Some(part) = rest.strip_prefix("ffn.shared_experts.") {
        format!("mlp.shared_experts.{}", renamed_head(part, &SHARED_EXPERT))
    } else if let Some(part) = rest.strip_prefix("ffn.") {
        let part = if part == "gate.bias" {
            "gate.e_score_correction_bias"
        } else {
            part
        };
        format!("mlp.{part}")
    } else {
        renamed_head(rest, &BLOCK)
    };
    format!("model.layers.{layer}.{renamed}")
}

/// What transformers calls a tensor outside the layers and the head.
fn outer_name(official: &str) -> String {
    if official == "embed.weight" {
        return "model.embed_tokens.weight".to_owned();
    }
    match official.strip_prefix("hc_head_") {
        Some(part) => format!("model.hc_head.hc_{part}"),
        None => format!("model.{official}"),
    }
}

fn saved_name(official: &str) -> String {
    match official.strip_suffix(".attn.kv_norm.weight") {
        _ if official == "head.weight" => official.to_owned(),
        Some(layer) => format!("model.{layer}.attn.norm.weight"),
        None => outer_name(official),
    }
}

const BLOCK: [(&str, &str); 2] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
];

const ATTENTION: [(&str, &str); 8] = [
    ("attn_sink", "sinks"),
    ("wq_a", "q_a_proj"),
    ("q_norm", "q_a_norm"),
    ("wq_b", "q_b_proj"),
    ("wkv", "kv_proj"),
    ("kv_norm", "kv_norm"),
    ("wo_a", "o_a_proj"),
    ("wo_b", "o_b_proj"),
];

const COMPRESSOR: [(&str, &str); 4] = [
    ("wkv", "kv_proj"),
    ("wgate", "gate_proj"),
    ("ape", "position_bias"),
    ("norm", "kv_norm"),
];

const SHARED_EXPERT: [(&str, &str); 3] = [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")];

fn compressor_part(part: &str) -> String {
    renamed_head(part, &COMPRESSOR)
}

/// Replaces the first component of a dotted name by the table; leaves it alone if the table does not list it.
fn renamed_head(name: &str, table: &[(&str, &str)]) -> String {
    let (head, tail) = match name.split_once('.') {
        Some((head, tail)) => (head, Some(tail)),
        None => (name, None),
    };
    let head = table
        .iter()
        .find(|(official, _)| *official == head)
        .map_or(head, |(_, renamed)| renamed);
    match tail {
        Some(tail) => format!("{head}.{tail}"),
        None => head.to_owned(),
    }
}
