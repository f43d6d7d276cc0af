//! What both models read for the comparison: the same token ids every time.

use fathom_checkpoint::Checkpoint;
use fathom_prompt::Tokenizer;

/// Prose and code, English; mathematics and prose, Chinese. Ours, so that they may be part of the program.
const TEXTS: [&str; 2] = [
    include_str!("../prompts/english.txt"),
    include_str!("../prompts/chinese.txt"),
];

/// Tokens of one prompt, the first of which marks the beginning: twice the sliding window of the releases, so that
/// compressed entries count.
const TOKENS: usize = 256;

/// From this share of tokens per byte on, a tokenizer is taken to have learnt nothing: it would only ever use a few of
/// the model's ids.
const BYTE_LEVEL_SHARE: f64 = 0.8;

/// Where the prompts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptSource {
    /// Fixed texts through the checkpoint's tokenizer.
    Text,
    /// Random ids from a fixed seed.
    Generated {
        /// Why not text.
        because: String,
    },
}

/// Token ids that both models read.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// Where they come from.
    pub source: PromptSource,
    /// The ids.
    pub ids: Vec<Vec<u32>>,
}

impl Prompts {
    /// The prompts for a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let config = checkpoint.config();
        let length = TOKENS.min(config.max_position_embeddings);
        match from_texts(checkpoint, length) {
            Ok(ids) => Self {
                source: PromptSource::Text,
                ids,
            },
            Err(because) => Self {
                source: PromptSource::Generated { because },
                ids: (0..TEXTS.len() as u64)
                    .map(|seed| generated(seed, length, config.bos_token_id, config.vocab_size))
                    .collect(),
            },
        }
    }

    /// Positions in all.
    pub fn positions(&self) -> usize {
        self.ids.iter().map(Vec::len).sum()
    }

    /// FNV-1a over the ids as little-endian 32-bit integers, in hexadecimal: two receipts with the same one read the
    /// same prompts.
    pub fn fingerprint(&self) -> String {
        let bytes = self.ids.iter().flatten().flat_map(|id| id.to_le_bytes());
        let hash = bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        format!("{hash:016x}")
    }
}

fn from_texts(checkpoint: &Checkpoint, length: usize) -> Result<Vec<Vec<u32>>, String> {
    let json = checkpoint
        .tokenizer_json()
        .map_err(|_| "the checkpoint has no tokenizer".to_owned())?;
    let tokenizer = Tokenizer::from_json(&json, checkpoint.config().vocab_size)
        .map_err(|error| format!("its tokenizer was refused: {error}"))?;
    let mut prompts = Vec::new();
    let (mut tokens, mut bytes) = (0, 0);
    for text in TEXTS {
        let ids = tokenizer
            .encode_plain(text)
            .map_err(|error| format!("its tokenizer cannot encode the texts: {error}"))?;
        (tokens, bytes) = (tokens + ids.len(), bytes + text.len());
        let start = std::iter::once(tokenizer.bos_id());
        prompts.push(start.chain(ids).take(length).collect());
    }
    if tokens as f64 >= BYTE_LEVEL_SHARE * bytes as f64 {
        return Err("its tokenizer knows little more than single bytes".to_owned());
    }
    Ok(prompts)
}

/// Ids of a `SplitMix64` sequence, uniform over the vocabulary.
fn generated(seed: u64, length: usize, bos: u32, vocab_size: usize) -> Vec<u32> {
    let mut state = seed;
    let random = std::iter::from_fn(|| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Some(((z ^ (z >> 31)) % vocab_size as u64) as u32)
    });
    std::iter::once(bos).chain(random).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_fixed_and_in_range() {
        let ids = generated(1, 6, 0, 1000);
        assert_eq!(ids, generated(1, 6, 0, 1000));
        assert_ne!(ids, generated(2, 6, 0, 1000));
        assert!(ids.iter().all(|&id| id < 1000) && ids[0] == 0);
        assert!(generated(0, 500, 3, 7).iter().all(|&id| id < 7));
    }

    #[test]
    fn texts_are_long_enough() {
        for text in TEXTS {
            assert!(text.chars().count() > 500, "{text}");
        }
    }
}
