//! What can go wrong while a model is loaded or run.

use fathom_checkpoint::CheckpointError;

/// A checkpoint that does not make a model.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A tensor is missing, malformed or holds values that cannot be.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Compression ratios so different that a page of all layers' entries is too large.
    #[error(
        "a sequence's state is kept in pages of {tokens} tokens, a common multiple of all compression ratios, and such a \
         page would take more than {max} bytes; the ratios of a V4 model are 4 and 128: check compress_ratios (or \
         compress_rates) in config.json"
    )]
    PageTooLarge {
        /// Tokens of a page.
        tokens: usize,
        /// Bytes it may have.
        max: usize,
    },
}

/// A step that could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// A token id is not in the vocabulary. Nothing was appended.
    #[error(
        "token id {token} at position {position} is out of range: this model's vocabulary has ids 0 to {}; check that \
         the ids were made with this checkpoint's tokenizer",
        vocab_size - 1
    )]
    TokenOutOfRange {
        /// The id.
        token: u32,
        /// Its position in the sequence, from 0.
        position: usize,
        /// Ids are below this.
        vocab_size: usize,
    },
    /// The sequence would be longer than the model's context. Nothing was appended.
    #[error(
        "{adding} more tokens after {len} make {}, but this model's context ends at {max}; shorten the prompt or start \
         a new session",
        len + adding
    )]
    ContextFull {
        /// Tokens in the sequence.
        len: usize,
        /// Tokens to append.
        adding: usize,
        /// `max_position_embeddings`.
        max: usize,
    },
    /// More tokens at once than the workspace was made for. Nothing was appended.
    #[error(
        "a chunk of {tokens} tokens is longer than the {max} this workspace was made for; append fewer at a time"
    )]
    ChunkTooLong {
        /// Tokens to append.
        tokens: usize,
        /// The workspace's size.
        max: usize,
    },
    /// No tokens were given.
    #[error("there is nothing to append: a chunk needs at least one token")]
    EmptyChunk,
    /// A value became NaN or infinite. The state is left broken: go back to an earlier copy of it or start again.
    #[error(
        "the result of {stage} is not finite (position {from} to {to}): the weights hold a NaN or the input drives \
         them out of range; verify the checkpoint's files, then try the other numerics"
    )]
    NotFinite {
        /// Which part of the network, for example `layer 3 experts`.
        stage: String,
        /// First position of the chunk.
        from: usize,
        /// Last position of the chunk.
        to: usize,
    },
    /// Logits of a position that is only [replayed](crate::Model::replay) were asked for. Nothing was appended.
    #[error(
        "the logits of position {position} were asked for, but this state is being replayed up to position {known} and has \
         none before; ask for the logits of later tokens only"
    )]
    Replaying {
        /// The position, from 0.
        position: usize,
        /// [`State::known`](crate::State::known).
        known: usize,
    },
    /// An earlier step on this state failed half-way.
    #[error("this sequence's state is unusable since an earlier step failed; start again from the prompt")]
    Broken,
    /// State, workspace and model do not belong together.
    #[error("the state or workspace was made by another model or with other numerics")]
    Foreign,
}
