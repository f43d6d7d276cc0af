//! Why a checkpoint could not be opened or read.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::dtype::Dtype;
use crate::header::HeaderError;
use crate::profile::ProfileError;

/// Why a checkpoint was refused. The text says what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is not a directory.
    #[error(
        "{} is not a directory; expected a checkpoint directory with config.json, tokenizer.json and safetensors \
         files. Pass the directory, not a file in it",
        path.display()
    )]
    NotADirectory {
        /// What was passed.
        path: PathBuf,
    },
    /// The directory holds no weights.
    #[error(
        "{} holds neither model.safetensors.index.json nor model.safetensors; expected a complete checkpoint \
         directory. Finish the download, or pass the directory that holds these files",
        path.display()
    )]
    NoWeights {
        /// The directory.
        path: PathBuf,
    },
    /// A file that every checkpoint has does not exist.
    #[error(
        "{file} is missing from {}; expected a complete checkpoint directory. Finish the download of this file",
        dir.display()
    )]
    MissingFile {
        /// The file name.
        file: &'static str,
        /// The directory.
        dir: PathBuf,
    },
    /// A small file is implausibly large.
    #[error("{} is {found} bytes; expected at most {limit}. Restore the file that came with the checkpoint", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The profile could not be told.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The index is not what it should be.
    #[error("model.safetensors.index.json is not valid: {reason}. Download it again")]
    Index {
        /// What is wrong.
        reason: String,
    },
    /// A shard that the index names does not exist.
    #[error(
        "shard {shard} is missing from {}: the index places {tensors} tensors in it. Finish the download of this file",
        dir.display()
    )]
    MissingShard {
        /// The file name.
        shard: String,
        /// The directory.
        dir: PathBuf,
        /// Tensors the index expects in it.
        tensors: usize,
    },
    /// A shard's header was refused.
    #[error("{file}: {source}")]
    Header {
        /// The file name.
        file: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// The index promises a tensor that the shard does not hold.
    #[error(
        "the index places tensor {tensor} in {shard}, but that file does not hold it. Index and shards are of \
         different versions, or the download is incomplete: download both again"
    )]
    NotInShard {
        /// Tensor name.
        tensor: String,
        /// File name.
        shard: String,
    },
    /// A shard holds a tensor that the index does not place there.
    #[error(
        "{shard} holds tensor {tensor}, which the index {}. Index and shards are of different versions: download \
         both again",
        match placed { Some(other) => format!("places in {other}"), None => "does not list".to_owned() }
    )]
    NotInIndex {
        /// Tensor name.
        tensor: String,
        /// The file that holds it.
        shard: String,
        /// Where the index places it, if anywhere.
        placed: Option<String>,
    },
    /// The sizes of the tensors do not add up to the index's total.
    #[error(
        "the tensors take {found} bytes, but model.safetensors.index.json announces {expected} (metadata.total_size). \
         Index and shards are of different versions: download both again"
    )]
    TotalSize {
        /// By the index.
        expected: u64,
        /// By the headers.
        found: u64,
    },
    /// The tensors carry neither official nor transformers names.
    #[error(
        "no tensor is named embed.weight (official layout) or model.embed_tokens.weight (transformers layout); found \
         {count} tensors, for example {example}. This is not a complete DeepSeek-V4 checkpoint"
    )]
    UnknownLayout {
        /// How many tensors there are.
        count: usize,
        /// One of their names.
        example: String,
    },
    /// A tensor that the model needs does not exist.
    #[error(
        "tensor {tensor} is missing. The checkpoint is incomplete: `fathom inspect` lists everything that is"
    )]
    MissingTensor {
        /// Name in the checkpoint's layout.
        tensor: String,
    },
    /// A quantised tensor without its scales.
    #[error(
        "tensor {tensor} is {dtype}, which needs scales, but {expected} is missing. The checkpoint is incomplete"
    )]
    MissingScale {
        /// The quantised tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
        /// Name of the scale tensor.
        expected: String,
    },
    /// Grouped integers in a checkpoint that does not say so.
    #[error(
        "tensor {tensor} is U8, as `fathom quantize` writes grouped integers, but config.json has no \
         fathom_quantization. Restore the config.json that was written with these weights, or quantise again"
    )]
    NotQuantized {
        /// Tensor name.
        tensor: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error(
        "tensor {tensor} has shape {found:?}; config.json implies {expected}. Configuration and weights do not belong \
         together"
    )]
    Shape {
        /// Tensor name.
        tensor: String,
        /// What would fit.
        expected: String,
        /// What is there.
        found: Vec<usize>,
    },
    /// A tensor has a type that cannot be used in its place.
    #[error(
        "tensor {tensor} is {found}; expected {expected}. Use the official checkpoint or convert the tensor"
    )]
    Dtype {
        /// Tensor name.
        tensor: String,
        /// What would do.
        expected: &'static str,
        /// What is there.
        found: Dtype,
    },
    /// A NaN or an infinity among the weights.
    #[error("tensor {tensor} holds {value} at element {index}. The file is damaged: download it again")]
    NotFinite {
        /// Tensor name.
        tensor: String,
        /// Flat index of the first bad element.
        index: usize,
        /// The element.
        value: f32,
    },
    /// A routing table names an expert that does not exist.
    #[error(
        "tensor {tensor} routes token {token} to expert {found}, but the experts are 0 to {}. The file is damaged: \
         download it again",
        experts - 1
    )]
    ExpertOutOfRange {
        /// Tensor name.
        tensor: String,
        /// Row of the table.
        token: usize,
        /// The entry.
        found: i64,
        /// Number of experts.
        experts: usize,
    },
}
