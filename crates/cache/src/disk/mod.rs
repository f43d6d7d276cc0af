//! The disk tier: records by key, found again after a restart.
//!
//! A directory holds *segments*, files named `00000000.seg`, `00000001.seg`, …, to whose end records are appended, and
//! a file `lock`. There is no index on disk: opening a directory reads the header of every record, so nothing can
//! disagree with the records themselves. Numbers are little-endian; segment headers, records and payloads begin at
//! multiples of 64 bytes.
//!
//! | segment: bytes | what |
//! |---|---|
//! | 0..8 | `FATHOMSG` |
//! | 8..12 | version, 1 |
//! | 12..16 | zero |
//! | 16..48 | identity of the model, the same for all records of the segment |
//! | 48..56 | when it was made, Unix seconds |
//! | 56..112 | name of the model for people, UTF-8, filled up with zeros |
//! | 112..120 | zero |
//! | 120..128 | XXH3-64 of bytes 0..120 |
//! | 128.. | records |
//!
//! | record: bytes | what |
//! |---|---|
//! | 0..8 | `FATHOMRC` |
//! | 8 | 1 page, 2 snapshot |
//! | 9..16 | zero |
//! | 16..20 | number of token ids, *n* (at most 16,384) |
//! | 20..24 | zero |
//! | 24..32 | position: tokens from the beginning to the record's end |
//! | 32..40 | bytes of the payload, *p* (at most 1 GiB) |
//! | 40..48 | when it was written, Unix seconds |
//! | 48..80 | key |
//! | 80..112 | parent: key of the page (or root) before it |
//! | 112..128 | XXH3-128 of the payload, seeded with the first 8 bytes of the key |
//! | 128..128 + 4*n* | token ids |
//! | 8 bytes | XXH3-64 of everything before, seeded with the first 8 bytes of the identity |
//! | 16 bytes | stamp, rewritten in place: count of its last use (8), Unix seconds of it (4), pinned (1), dropped (1), lowest 16 bits of the XXH3-64 of these 14 |
//! | zeros | up to a multiple of 64 from the record's beginning |
//! | *p* bytes | payload |
//! | zeros | up to a multiple of 64 |
//!
//! A page of Flash (128 tokens, 449,824 bytes) takes 450,560: 0.16 % more.
//!
//! **What is protected.** A header counts only if its checksum is right *and* its key is the BLAKE3 hash of parent and
//! ids ([`crate::page_key`]), so a record can't pass for another prefix or, through its parents, for another model's. A
//! payload is checked on every read; the seed ties it to its key. This finds every kind of *damage*: torn and misplaced
//! writes, flipped bits, truncated, spliced and exchanged files. It does not stop an *attacker* who may write to the
//! directory and computes the checksums anew; protect the directory as you would the model's weights. A record
//! whose stamp is damaged counts as never used.
//!
//! **What survives.** Killing the process loses what was queued and the record being written, which opening then reports
//! as torn. Segments are synchronised to the medium when they are full and on closing, not after every record: a
//! power failure may lose what was written since. Either way what is read is right or is not returned.
//!
//! **Budget.** Records go in order of their last use, but never before what follows them, and pinned ones not at all. Their
//! room is reclaimed by segment: whatever is still in use in the emptiest one is copied to the end, the file deleted.

mod error;
mod file;
mod format;
mod index;
mod loaded;
mod lock;
mod options;
mod prune;
mod record;
mod recover;
mod shared;
mod stats;
mod survey;
mod tier;
mod writer;

pub use error::{DiskOpenError, Unreadable};
pub use options::DiskOptions;
pub use prune::{Prune, PruneError, Pruned, prune};
pub use record::{Event, Foreign, Kind, NewRecord, Queued, Record};
pub use stats::{DiskStats, Skipped};
pub use survey::{Survey, SurveyedModel, SurveyedRecord, Verdict, survey};
pub use tier::Disk;
