//! What can be wrong with a `tokenizer.json`.

/// A tokenizer file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Not JSON, or not the shape Hugging Face `tokenizers` writes.
    #[error("tokenizer.json is malformed: {detail}; copy the file again from the model's repository")]
    Malformed {
        /// The parser's message.
        detail: String,
    },
    /// A well-formed tokenizer of another kind.
    #[error(
        "tokenizer.json: expected {expected} for `{field}`, found {found}; DeepSeek-V4 checkpoints carry a byte-level BPE"
    )]
    Unsupported {
        /// The field of the file.
        field: &'static str,
        /// What V4 tokenizers have there.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
    /// An added token whose declared id does not continue the vocabulary.
    #[error(
        "tokenizer.json: added token {token:?} declares id {declared}, but the vocabulary gives it {assigned:?}; ids must continue without holes"
    )]
    Renumbered {
        /// Its spelling.
        token: String,
        /// The id in the file.
        declared: u32,
        /// The id the library assigned.
        assigned: Option<u32>,
    },
    /// Some id below the highest one has no token.
    #[error(
        "tokenizer.json: expected every id below {len} to have a token, found none for id {id}; the file is incomplete"
    )]
    Hole {
        /// The first id without a token.
        id: usize,
        /// One more than the highest id.
        len: usize,
    },
    /// Two tokens share one id.
    #[error("tokenizer.json: id {id} is given to both {first:?} and {second:?}")]
    Duplicate {
        /// The shared id.
        id: u32,
        /// One token.
        first: String,
        /// The other token.
        second: String,
    },
    /// A token the model has no embedding for.
    #[error(
        "tokenizer.json: token {token:?} has id {id}, but config.json says vocab_size {vocab_size}; the two files belong to different models"
    )]
    BeyondVocabulary {
        /// Its spelling.
        token: String,
        /// Its id.
        id: u32,
        /// Embedding rows of the model.
        vocab_size: usize,
    },
    /// A plain token that is not written in the byte-level alphabet.
    #[error("tokenizer.json: token {token:?} (id {id}) is not written in the byte-level alphabet")]
    NotByteLevel {
        /// The entry in the file.
        token: String,
        /// Its id.
        id: u32,
    },
    /// A byte no single token stands for, so some text could not be encoded.
    #[error("tokenizer.json: no token stands for byte {byte:#04x}; a byte-level vocabulary needs all 256")]
    MissingByte {
        /// The byte.
        byte: u8,
    },
    /// Control tokens the prompt format needs.
    #[error("tokenizer.json has no added token for {missing}; expected the control tokens of DeepSeek-V4")]
    MissingControlTokens {
        /// Their spellings.
        missing: String,
    },
    /// The merges of the vocabulary build a control token out of plain text.
    #[error(
        "tokenizer.json encodes plain text to control token {token:?} (id {id}); with it, user text could forge prompt structure"
    )]
    ControlFromPlain {
        /// The id found.
        id: u32,
        /// Its spelling.
        token: String,
    },
    /// The library failed on a text.
    #[error("could not encode text: {detail}")]
    Encode {
        /// The library's message.
        detail: String,
    },
}
