//! A file on its way into the next message.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fathom_prompt::{Tokenizer, TokenizerError};

/// Bytes per token that no text exceeds in practice: a file longer than the context times this is not even read.
const BYTES_PER_TOKEN_MAX: u64 = 64;

/// A file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// Its text, as it is.
    pub(crate) text: String,
    /// Tokens the text takes by itself.
    pub(crate) tokens: usize,
}

/// A file that cannot go into a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachmentError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a device.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Too long for any prompt of this model.
    #[error("{} has {}, far more than a context of {context} tokens can hold", path.display(), crate::units::bytes(*bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The model's context.
        context: usize,
    },
    /// Not text.
    #[error("{} is not UTF-8 text (from byte {offset} on); convert it first", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is wrong.
        offset: usize,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Nothing in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Attachment {
    /// Reads a file and counts its tokens. `context` is the model's context in tokens.
    pub(crate) fn read(path: &Path, tokenizer: &Tokenizer, context: usize) -> Result<Self, AttachmentError> {
        let failed = |source| AttachmentError::Io {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(AttachmentError::NotAFile {
                path: path.to_owned(),
            });
        }
        let too_large = |bytes| AttachmentError::TooLarge {
            path: path.to_owned(),
            bytes,
            context,
        };
        let bytes_max = (context as u64).saturating_mul(BYTES_PER_TOKEN_MAX);
        if metadata.len() > bytes_max {
            return Err(too_large(metadata.len()));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        // The limit again: the file may grow, and some files do not know their length.
        let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes));
        if read.map_err(failed)? as u64 > bytes_max {
            return Err(too_large(bytes_max + 1));
        }
        let text = String::from_utf8(bytes).map_err(|error| AttachmentError::NotText {
            path: path.to_owned(),
            offset: error.utf8_error().valid_up_to(),
        })?;
        if text.trim().is_empty() {
            return Err(AttachmentError::Empty {
                path: path.to_owned(),
            });
        }
        let tokens = tokenizer.encode_plain(&text)?.len();
        Ok(Self {
            path: path.to_owned(),
            text,
            tokens,
        })
    }
}
