//! DeepSeek-V4 checkpoints: configuration, profiles, tensor names and mapped tensor data.
//!
//! [`Checkpoint::open`] maps the files of a directory, reads their headers and nothing else, and tells which release
//! it is. The model then asks for matrices, vectors and tables by their official names (spec §10.2) and the shapes it
//! needs; a wrong name, shape, type or value is an error that says what to do about it.
//!
//! This crate knows no arithmetic: quantised weights are handed out as they lie in the file.

mod audit;
pub mod budget;
mod census;
mod checkpoint;
mod config;
mod data;
mod dtype;
mod error;
mod header;
mod identity;
mod layout;
mod parts;
mod plan;
mod profile;
mod quantization;
mod shards;
mod tensor;

pub use audit::{Audit, Names, Stored};
pub use census::{Census, Storage, Tally};
pub use checkpoint::{Checkpoint, EmbeddedParts, OpenOptions};
pub use config::{Attention, Config, ConfigError, Dspark, Layer, Routing, Yarn};
pub use data::Data;
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use header::{HEADER_BYTES_MAX, Header, HeaderError, RANK_MAX, SizeOrOverflow, TensorInfo};
pub use layout::Layout;
pub use parts::{Group, Kind, Part, announced_draft, parts};
pub use plan::{Decode, Demand, Memory, Plan};
pub use profile::{
    Difference, Draft, EffortTable, Encoder, ExpertStorage, KvPacking, Profile, ProfileError, ProfileName,
    PromptEncoding, Size,
};
pub use quantization::{Quantization, UnknownWeightFormat, WeightFormat};
pub use shards::{INDEX_FILE, Index, SINGLE_FILE};
pub use tensor::{Encoding, FP4_BLOCK, FP8_BLOCK, Matrix, Tensor};
