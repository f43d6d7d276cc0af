//! Re-quantises a checkpoint: projections, head and experts in fewer bits, everything else as it was; and measures what
//! that changed.
//!
//! ```text
//! source ── Conversion ──► shards under a temporary name ── Comparison ──► Receipt ──► renamed to the result
//!           (what becomes what)     (streamed)              (logits of both)
//! ```
//!
//! Conversion streams: a band of rows at a time, and nothing depends on the number of threads. The comparison runs both
//! models over fixed prompts. This crate does not print.

mod compare;
mod convert;
mod encode;
mod error;
mod prompts;
mod receipt;
mod result_dir;
mod shards;

pub use compare::{Comparison, Distance, compare};
pub use convert::{Conversion, ConvertedTensor};
pub use encode::Error2;
pub use error::QuantizeError;
pub use prompts::{PromptSource, Prompts};
pub use receipt::{ModelBytes, RECEIPT_JSON, RECEIPT_TEXT, Receipt};
pub use result_dir::ResultDir;
