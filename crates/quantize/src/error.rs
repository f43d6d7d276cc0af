//! Why a checkpoint could not be re-quantised.

use std::io;
use std::path::PathBuf;

use fathom_checkpoint::CheckpointError;
use fathom_model::{ForwardError, LoadError};

/// Why a checkpoint was not re-quantised. Nothing is left under the result's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The source was quantised by us before.
    #[error(
        "the source was re-quantised before ({found}); errors would add up and the receipt would compare with the wrong \
         model. Quantise the original instead"
    )]
    AlreadyQuantized {
        /// What was done to it.
        found: String,
    },
    /// The head is the embedding table.
    #[error(
        "this model's head is its embedding table (tie_word_embeddings), which is not re-quantised; leave --head at keep"
    )]
    TiedHead,
    /// Experts that lie fused in one tensor.
    #[error(
        "the routed experts of a checkpoint in the transformers layout are fused into one tensor per layer and can only be \
         kept; leave --experts at keep, or save the checkpoint in its original format"
    )]
    FusedExperts,
    /// Nothing would change.
    #[error(
        "nothing would change: {reason}. Name a format with --dense, --head or --experts (q8, q6, q5, q4, fp8)"
    )]
    NothingToDo {
        /// Why.
        reason: &'static str,
    },
    /// A NaN or an infinity among the weights.
    #[error(
        "tensor {tensor} holds a value that is not finite in row {row}. The file is damaged: download it again"
    )]
    NotFinite {
        /// Name in the file.
        tensor: String,
        /// The row.
        row: usize,
    },
    /// The result's place is taken.
    #[error("{} exists and is not an empty directory; choose another place or remove it", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The result's parent does not exist.
    #[error("cannot write {}: {} is no directory. Create it first", path.display(), parent.display())]
    NoParent {
        /// The result.
        path: PathBuf,
        /// Its parent.
        parent: PathBuf,
    },
    /// The result would not fit.
    #[error(
        "not enough space for {}: it takes {needed} bytes, and {available} are free. Free some, or choose another place",
        path.display()
    )]
    DiskFull {
        /// The result.
        path: PathBuf,
        /// Bytes it takes.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// A file cannot be written or read.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The source or the result was refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The source or the result is no model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A forward pass failed.
    #[error("the {model} model failed on prompt {prompt}: {source}")]
    Forward {
        /// `source` or `re-quantised`.
        model: &'static str,
        /// Number of the prompt.
        prompt: usize,
        /// What went wrong.
        source: ForwardError,
    },
    /// The caller asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
}

impl QuantizeError {
    /// Says which file an I/O error concerns.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
