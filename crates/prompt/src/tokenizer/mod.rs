//! The byte-level BPE tokenizer of V4 (spec §11), loaded from `tokenizer.json`.
//!
//! Encoding is Hugging Face `tokenizers`, driven through the vendor's `PromptTokenizer`, which keeps a copy of the tokenizer
//! *without* its added vocabulary for plain text. Decoding does not go through that library: a byte-level vocabulary is a table
//! from id to bytes, and the bytes are what streaming needs.
//!
//! Dependency note: the vendor's crates enable the default features of `tokenizers` plus `http`, which cargo cannot switch off
//! from here. So Oniguruma (C) is the regex engine, and `hf-hub`, `ureq` and `rustls` are compiled although nothing calls them.

mod error;
mod format;
mod token_bytes;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use deepseek_recipe_core::special_tokens::SpecialToken;
use deepseek_recipe_encoding::{PromptTokenizer, TokenizerEncoder};

pub use error::TokenizerError;
use token_bytes::TokenBytes;

/// Control tokens no V4 prompt or answer can do without.
const REQUIRED: [SpecialToken; 7] = [
    SpecialToken::Bos,
    SpecialToken::Eos,
    SpecialToken::User,
    SpecialToken::Assistant,
    SpecialToken::ThinkingStart,
    SpecialToken::ThinkingEnd,
    SpecialToken::Dsml,
];

/// A loaded tokenizer. Cloning is cheap: clones share one table.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

struct Shared {
    encoder: PromptTokenizer,
    bytes: TokenBytes,
    added: HashMap<String, u32>,
    is_added: Vec<bool>,
    control: ControlIds,
}

/// Ids of the tokens that structure an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ControlIds {
    pub(crate) bos: u32,
    pub(crate) eos: u32,
    pub(crate) user: u32,
    pub(crate) assistant: u32,
    pub(crate) think_start: u32,
    pub(crate) think_end: u32,
    pub(crate) dsml: u32,
}

impl Tokenizer {
    /// Load `tokenizer.json` for a model with `vocab_size` embedding rows.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] when the file is not JSON, is not a byte-level BPE, has holes in its ids, declares an id of
    /// `vocab_size` or above, cannot express some byte, lacks a control token, or would encode plain text to a control token.
    pub fn from_json(json: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let declared = format::check(json)?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| TokenizerError::Malformed {
                detail: error.to_string(),
            })?;
        // A padded or truncated prompt would be silently wrong; neither belongs to the vocabulary.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| TokenizerError::Malformed {
                detail: error.to_string(),
            })?;

        let mut added = HashMap::new();
        for token in &declared {
            // `tokenizers` renumbers added tokens whose declared id does not continue the vocabulary.
            let assigned = inner.token_to_id(&token.content);
            if assigned != Some(token.id) {
                return Err(TokenizerError::Renumbered {
                    token: token.content.clone(),
                    declared: token.id,
                    assigned,
                });
            }
            added.insert(token.content.clone(), token.id);
        }
        let bytes = TokenBytes::build(&inner.get_vocab(false), &added, vocab_size)?;
        let mut is_added = vec![false; bytes.len()];
        for &id in added.values() {
            is_added[id as usize] = true;
        }

        let missing: Vec<&str> = REQUIRED
            .iter()
            .map(|token| token.default_str())
            .filter(|spelling| !added.contains_key(*spelling))
            .collect();
        if !missing.is_empty() {
            return Err(TokenizerError::MissingControlTokens {
                missing: missing.join(", "),
            });
        }
        let id = |token: SpecialToken| added[token.default_str()];
        let control = ControlIds {
            bos: id(SpecialToken::Bos),
            eos: id(SpecialToken::Eos),
            user: id(SpecialToken::User),
            assistant: id(SpecialToken::Assistant),
            think_start: id(SpecialToken::ThinkingStart),
            think_end: id(SpecialToken::ThinkingEnd),
            dsml: id(SpecialToken::Dsml),
        };
        let encoder = PromptTokenizer::new(&inner);
        let tokenizer = Self {
            shared: Arc::new(Shared {
                encoder,
                bytes,
                added,
                is_added,
                control,
            }),
        };
        for token in &declared {
            tokenizer.encode_plain(&token.content)?;
        }
        Ok(tokenizer)
    }

    /// Encode `text` as one plain span: no token of the added vocabulary appears, whatever the text spells.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`] or [`TokenizerError::ControlFromPlain`] when the tokenizer file itself is unsound;
    /// [`Tokenizer::from_json`] refuses every case it can foresee.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        const NO_CONTROL_TOKENS: &[Range<usize>] = &[];
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self
            .shared
            .encoder
            .encode_ids(text, NO_CONTROL_TOKENS)
            .map_err(|detail| TokenizerError::Encode { detail })?;
        match ids.iter().find(|&&id| self.is_added(id)) {
            Some(&id) => Err(TokenizerError::ControlFromPlain {
                id,
                token: self.decode(&[id]),
            }),
            None => Ok(ids),
        }
    }

    /// Decode `ids` to text; control tokens appear as their spelling, invalid UTF-8 and unknown ids as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            bytes.extend_from_slice(self.token_bytes(id).unwrap_or("\u{FFFD}".as_bytes()));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes token `id` stands for: part of a character at times. `None` for an id the tokenizer does not define.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.shared.bytes.get(id)
    }

    /// Number of ids the tokenizer defines, `0..vocab_size()` without holes. A model may have more (padding) rows.
    pub fn vocab_size(&self) -> usize {
        self.shared.bytes.len()
    }

    /// The id of an added token by its exact spelling, such as `<｜User｜>`.
    pub fn special_id(&self, spelling: &str) -> Option<u32> {
        self.shared.added.get(spelling).copied()
    }

    /// Whether `id` belongs to the added vocabulary (control tokens and placeholders), which plain text never produces.
    pub fn is_added(&self, id: u32) -> bool {
        self.shared.is_added.get(id as usize).copied().unwrap_or(false)
    }

    /// The id that ends an assistant message: generation stops on it.
    pub fn eos_id(&self) -> u32 {
        self.shared.control.eos
    }

    /// The id every prompt starts with.
    pub fn bos_id(&self) -> u32 {
        self.shared.control.bos
    }

    /// The id that ends the reasoning.
    pub fn think_end_id(&self) -> u32 {
        self.shared.control.think_end
    }

    /// The id that makes a tag of the `<` or `</` before it.
    pub fn dsml_id(&self) -> u32 {
        self.shared.control.dsml
    }

    pub(crate) fn control(&self) -> ControlIds {
        self.shared.control
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}
