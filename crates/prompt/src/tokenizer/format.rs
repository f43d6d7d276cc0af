//! Checks on the file before Hugging Face `tokenizers` sees it.
//!
//! That library accepts many kinds of tokenizer; V4 has one. Refusing the others here gives a message in our words, and keeps
//! code paths that a V4 checkpoint never needs away from untrusted files.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::TokenizerError;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

/// One entry of `added_tokens`.
#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(rename = "vocab")]
    _vocab: IgnoredAny,
}

/// Check that `json` is a byte-level BPE and return its added tokens as declared.
pub(super) fn check(json: &[u8]) -> Result<Vec<AddedToken>, TokenizerError> {
    let file: File = serde_json::from_slice(json).map_err(|error| TokenizerError::Malformed {
        detail: error.to_string(),
    })?;
    let unsupported = |field, expected, found| {
        Err(TokenizerError::Unsupported {
            field,
            expected,
            found,
        })
    };

    // Files older than 2021 leave the model's type out; no V4 file does.
    if file.model.kind.as_deref() != Some("BPE") {
        return unsupported("model.type", "\"BPE\"", format!("{:?}", file.model.kind));
    }
    // Dropout makes encoding random; affixes make token bytes differ from token text.
    if let Some(dropout) = file.model.dropout.filter(|&dropout| dropout != 0.0) {
        return unsupported("model.dropout", "none", dropout.to_string());
    }
    for (field, affix) in [
        (
            "model.continuing_subword_prefix",
            &file.model.continuing_subword_prefix,
        ),
        ("model.end_of_word_suffix", &file.model.end_of_word_suffix),
    ] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return unsupported(field, "none", format!("{affix:?}"));
        }
    }
    // A normalizer would change the text, and decoding could not give it back.
    if !file.normalizer.is_null()
        && !members(&file.normalizer, "normalizers").is_some_and(<[Value]>::is_empty)
    {
        return unsupported("normalizer", "none", shown(&file.normalizer));
    }
    if kind(&file.decoder) != Some("ByteLevel") {
        return unsupported("decoder", "ByteLevel", shown(&file.decoder));
    }
    let steps = members(&file.pre_tokenizer, "pretokenizers")
        .unwrap_or_else(|| std::slice::from_ref(&file.pre_tokenizer));
    let byte_level = steps.last().filter(|step| kind(step) == Some("ByteLevel"));
    if !byte_level.is_some_and(|step| step["add_prefix_space"] == false) {
        return unsupported(
            "pre_tokenizer",
            "splits followed by ByteLevel without a prefix space",
            shown(&file.pre_tokenizer),
        );
    }
    for split in &steps[..steps.len() - 1] {
        // Any other behaviour drops or joins text.
        if kind(split) != Some("Split") || split["behavior"] != "Isolated" || split["invert"] == true {
            return unsupported("pre_tokenizer", "isolating splits before ByteLevel", shown(split));
        }
    }
    Ok(file.added_tokens)
}

fn kind(component: &Value) -> Option<&str> {
    component.get("type")?.as_str()
}

/// The list a `Sequence` component holds under `key`.
fn members<'a>(component: &'a Value, key: &str) -> Option<&'a [Value]> {
    if kind(component)? != "Sequence" {
        return None;
    }
    component.get(key)?.as_array().map(Vec::as_slice)
}

/// A short form of a component for a message.
fn shown(component: &Value) -> String {
    const CHARS_MAX: usize = 120;
    let text = component.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
