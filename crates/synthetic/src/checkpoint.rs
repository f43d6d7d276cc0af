//! A checkpoint in the official layout with random weights.

mod shard;
mod tokenizer;
mod weights;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use fathom_checkpoint::{Checkpoint, CheckpointError, Config, ConfigError, EmbeddedParts, SINGLE_FILE};
use serde_json::json;

/// Flash's proportions at 14 MB: six layers with ratios 0/0/4/128/4/128, three of them hash-routed, window 32, 16 experts
/// (4 used), 4,096 tokens. The sizes are those of `tiny` in `tools/oracle/presets.py`; the weights are others.
pub const TINY: &str = include_str!("../configs/tiny.json");

/// The seed of [`Synthetic::tiny_checkpoint`].
const TINY_SEED: u64 = 4;

/// The files of a checkpoint, in memory: FP8 projections, FP4 experts, everything else as the official releases have it.
///
/// Weights are random, spread so that activations keep their size from layer to layer, every choice (router, indexer) is
/// exercised and logits have a standard deviation near 2: sampled text varies. They mean nothing. A tensor's bytes depend
/// on its name, its shape and the seed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    config: Vec<u8>,
    tokenizer: Vec<u8>,
    tokenizer_config: Vec<u8>,
    weights: Vec<u8>,
}

impl Synthetic {
    /// A model of the sizes in [`TINY`].
    pub fn tiny(seed: u64) -> Self {
        Self::new(TINY.as_bytes(), seed).expect("the preset is valid")
    }

    /// A model of the sizes in `config`, a `config.json` in any spelling; the draft module it announces is made too.
    ///
    /// A vocabulary too small for the 256 bytes and the control tokens (below 275) gets an empty `tokenizer.json`: such
    /// models are fed ids.
    pub fn new(config: &[u8], seed: u64) -> Result<Self, ConfigError> {
        let sizes = Config::from_json(config)?;
        Ok(Self {
            config: config.to_vec(),
            tokenizer: tokenizer::json(sizes.vocab_size).unwrap_or_default(),
            tokenizer_config: json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": tokenizer::BOS,
                "eos_token": tokenizer::EOS,
                "add_bos_token": false,
                "model_max_length": sizes.max_position_embeddings,
            })
            .to_string()
            .into_bytes(),
            weights: weights::shard(&sizes, seed),
        })
    }

    /// The model that most tests want, [`tiny`](Self::tiny) with a fixed seed. Made once in a process: every call opens
    /// the same bytes.
    pub fn tiny_checkpoint() -> Checkpoint {
        static PARTS: OnceLock<EmbeddedParts> = OnceLock::new();
        let parts = PARTS.get_or_init(|| Self::tiny(TINY_SEED).embed());
        Checkpoint::from_embedded(*parts).expect("the preset is valid")
    }

    /// Ids of the made-up tokenizer that are text: the rest are control tokens.
    pub fn text_ids(vocab_size: usize) -> Range<u32> {
        tokenizer::text_ids(vocab_size)
    }

    /// Opens it where it lies in memory, which is then never freed: what a test process can afford a few times.
    pub fn checkpoint(self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_embedded(self.embed())
    }

    /// Bytes that live as long as the process.
    pub fn embed(self) -> EmbeddedParts {
        EmbeddedParts {
            config: self.config.leak(),
            tokenizer: self.tokenizer.leak(),
            tokenizer_config: self.tokenizer_config.leak(),
            weights: self.weights.leak(),
        }
    }

    /// Writes the files into a directory that exists.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        for (file, bytes) in [
            ("config.json", &self.config),
            ("tokenizer.json", &self.tokenizer),
            ("tokenizer_config.json", &self.tokenizer_config),
            (SINGLE_FILE, &self.weights),
        ] {
            std::fs::write(dir.join(file), bytes)?;
        }
        Ok(())
    }
}
