//! A session in a file of its own: saved today, gone on with tomorrow, without computing anything again.
//!
//! The file is complete in itself and belongs to nobody's budget. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `FATHOMST` |
//! | 8..12 | version, 1 |
//! | 12..16 | zero |
//! | 16..48 | identity of the model |
//! | 48..56 | number of token ids, *n* |
//! | 56..64 | number of pages, *k* |
//! | 64..72 | bytes of a page, *b* |
//! | 72..80 | bytes of the live state, *l* |
//! | 80..88 | bytes of the user's own data, *u* |
//! | 88..96 | when it was written, Unix seconds |
//! | 96..120 | zero |
//! | 120..128 | XXH3-64 of bytes 0..120 |
//! | *u* + 16 | the user's own data, its checksum |
//! | 4*n* + 16 | token ids, their checksum |
//! | *l* + 16 | live state, its checksum |
//! | *k* times *b* + 16 | pages, each with its checksum |
//!
//! A checksum is the XXH3-128 of its part, seeded with the header's checksum plus the number of the part (0, 1, 2, and
//! 3 + index for pages): a part of another file, or in another place, does not pass. As for the cache, this finds damage,
//! not forgery.
//!
//! What [`read`] checks at once is small: header, user's data, ids. The state is read by [`Saved::state`], so that a
//! transcript can be had even if its state is damaged or was computed by another model.

mod read;
mod write;

use std::io;
use std::path::PathBuf;

pub use read::{Saved, SavedState, read};
pub use write::{ToSave, write};

const MAGIC: &[u8; 8] = b"FATHOMST";
const VERSION: u32 = 1;
const HEADER: usize = 128;
const SUM: usize = 16;
const USER_PART: u64 = 0;
const TOKENS_PART: u64 = 1;
const LIVE_PART: u64 = 2;
const FIRST_PAGE_PART: u64 = 3;

/// The checksum of a part.
fn part_sum(header_sum: u64, part: u64, bytes: &[u8]) -> [u8; SUM] {
    xxhash_rust::xxh3::xxh3_128_with_seed(bytes, header_sum.wrapping_add(part)).to_le_bytes()
}

/// A session that could not be saved. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The operating system refused.
    #[error("cannot save the session to {}: {error}. What was there before is untouched", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A page of another length than the first.
    #[error(
        "page {index} has {found} bytes, the first one {expected}; all pages of a session have one length"
    )]
    PageSize {
        /// Which page.
        index: usize,
        /// Bytes of the first one.
        expected: usize,
        /// Its bytes.
        found: usize,
    },
}

/// A saved session that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The operating system refused.
    #[error("cannot read the saved session {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Something else.
    #[error("{} is not a saved session: expected it to begin with FATHOMST. Name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of the program.
    #[error(
        "{} is a saved session of format {found}, expected {expected}; read it with the program that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What this program reads.
        expected: u32,
        /// What the file says.
        found: u32,
    },
    /// The file is shorter or longer than its header says.
    #[error(
        "the saved session {} has {found} bytes, expected {expected}; it was cut off or changed. Start a new one",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// What the header adds up to.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A checksum is wrong.
    #[error("the saved session {} is damaged: the checksum of its {part} is wrong. Start a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part.
        part: String,
    },
    /// Its state belongs to another model.
    #[error(
        "the saved session {} was computed by another model or in other numerics: expected {}, found {}. \
         Open it with that model, or compute its state again from its tokens",
        path.display(), hex(expected), hex(found)
    )]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Identity of the model at hand.
        expected: [u8; 32],
        /// Identity in the file.
        found: [u8; 32],
    },
}

/// Enough of an identity to tell it from others.
fn hex(identity: &[u8; 32]) -> String {
    let [a, b, c, d, e, f, ..] = identity;
    format!("{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}")
}
