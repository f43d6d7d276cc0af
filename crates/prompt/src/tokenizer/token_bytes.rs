//! The table from token id to bytes.

use std::collections::HashMap;

use super::TokenizerError;

/// Bytes of every token, in one allocation.
pub(super) struct TokenBytes {
    /// `ends[id]` is the end of token `id` in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl TokenBytes {
    /// Build the table from the BPE vocabulary (byte-level spellings) and the added tokens (literal spellings).
    ///
    /// An added token may repeat an entry of the vocabulary; its literal spelling counts then.
    pub(super) fn build(
        vocabulary: &HashMap<String, u32>,
        added: &HashMap<String, u32>,
        vocab_size: usize,
    ) -> Result<Self, TokenizerError> {
        let in_range = |token: &String, id: u32| {
            if (id as usize) < vocab_size {
                Ok(())
            } else {
                Err(TokenizerError::BeyondVocabulary {
                    token: token.clone(),
                    id,
                    vocab_size,
                })
            }
        };
        let mut tokens: Vec<Option<&str>> = Vec::new();
        for (token, &id) in vocabulary
            .iter()
            .filter(|(token, _)| !added.contains_key(*token))
            .chain(added)
        {
            in_range(token, id)?;
            let id = id as usize;
            if tokens.len() <= id {
                tokens.resize(id + 1, None);
            }
            if let Some(first) = tokens[id].replace(token) {
                let (first, second) = (first.to_owned(), token.clone());
                return Err(TokenizerError::Duplicate {
                    id: id as u32,
                    first,
                    second,
                });
            }
        }

        let byte_of = byte_level_alphabet();
        let mut table = Self {
            ends: Vec::with_capacity(tokens.len()),
            bytes: Vec::with_capacity(tokens.len() * 8),
        };
        for (id, token) in tokens.iter().enumerate() {
            let token = token.ok_or(TokenizerError::Hole {
                id,
                len: tokens.len(),
            })?;
            if added.contains_key(token) {
                table.bytes.extend_from_slice(token.as_bytes());
            } else {
                for character in token.chars() {
                    let byte = byte_of
                        .get(&character)
                        .ok_or_else(|| TokenizerError::NotByteLevel {
                            token: token.to_owned(),
                            id: id as u32,
                        })?;
                    table.bytes.push(*byte);
                }
            }
            table.ends.push(table.bytes.len() as u32);
        }
        for (character, byte) in byte_of {
            let spelling = character.to_string();
            if !vocabulary.contains_key(&spelling) {
                return Err(TokenizerError::MissingByte { byte });
            }
        }
        Ok(table)
    }

    /// Number of ids.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of `id`.
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        Some(&self.bytes[start..end])
    }
}

/// The byte-level alphabet: printable Latin-1 bytes stand for themselves, the other 68 for U+0100 and up, in byte order.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let mut next_stand_in = 0x100_u32;
    (0..=u8::MAX)
        .map(|byte| {
            let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
            let character = if printable {
                char::from(byte)
            } else {
                next_stand_in += 1;
                char::from_u32(next_stand_in - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
            };
            (character, byte)
        })
        .collect()
}
