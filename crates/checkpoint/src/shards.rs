//! All tensors of a checkpoint directory: one file, or shards and their index.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use fathom_kernels::mapping::MappedFile;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::data::Data;
use crate::error::CheckpointError;
use crate::header::Header;
use crate::tensor::Tensor;

/// File name of the index of a sharded checkpoint.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// File name of a checkpoint in one file.
pub const SINGLE_FILE: &str = "model.safetensors";

/// Largest JSON side file read, in bytes. The index of a V4-Pro is about 15 MB.
const JSON_BYTES_MAX: u64 = 256 << 20;

/// Reads a whole side file (never a shard) of `dir`; `None` if it does not exist.
pub(crate) fn read_side_file(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = dir.join(name);
    let size = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::Io { path, source }),
    };
    if size > JSON_BYTES_MAX {
        return Err(CheckpointError::TooLarge {
            path,
            found: size,
            limit: JSON_BYTES_MAX,
        });
    }
    std::fs::read(&path)
        .map(Some)
        .map_err(|source| CheckpointError::Io { path, source })
}

/// Opens every tensor of `dir`. Files are mapped once each and only their headers are read.
pub(crate) fn open(dir: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    if let Some(bytes) = read_side_file(dir, INDEX_FILE)? {
        return open_sharded(dir, &Index::parse(&bytes)?);
    }
    match map(dir, SINGLE_FILE) {
        Ok(data) => tensors_of(SINGLE_FILE, &data).map(Iterator::collect),
        Err((_, source)) if source.kind() == ErrorKind::NotFound => {
            Err(CheckpointError::NoWeights { path: dir.to_owned() })
        }
        Err((path, source)) => Err(CheckpointError::Io { path, source }),
    }
}

fn map(dir: &Path, file: &str) -> Result<Data, (PathBuf, io::Error)> {
    let path = dir.join(file);
    // Mapping a directory fails with a message about devices; say the plain thing instead.
    if path.is_dir() {
        return Err((
            path,
            io::Error::other("it is a directory, expected a safetensors file"),
        ));
    }
    match MappedFile::open(&path) {
        Ok(file) => Ok(Data::from(file)),
        Err(error) => Err((path, error)),
    }
}

/// The tensors of one safetensors file.
pub(crate) fn tensors_of(
    file: &str,
    data: &Data,
) -> Result<impl Iterator<Item = (String, Tensor)> + use<>, CheckpointError> {
    let header = Header::parse(data).map_err(|source| CheckpointError::Header {
        file: file.to_owned(),
        source,
    })?;
    let data = data.clone();
    Ok(header.tensors.into_iter().filter_map(move |(name, info)| {
        // The header was checked against the file, so every range is inside it.
        let data = data.slice(info.range.start, info.range.end)?;
        Some((
            name,
            Tensor {
                dtype: info.dtype,
                shape: info.shape,
                data,
            },
        ))
    }))
}

fn open_sharded(dir: &Path, index: &Index) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let mut expected_per_shard: BTreeMap<&str, usize> = BTreeMap::new();
    for shard in index.weight_map.values() {
        *expected_per_shard.entry(shard).or_default() += 1;
    }
    let mut tensors = BTreeMap::new();
    let mut total: u64 = 0;
    for (&shard, &expected) in &expected_per_shard {
        let data = map(dir, shard).map_err(|(path, source)| match source.kind() {
            ErrorKind::NotFound => CheckpointError::MissingShard {
                shard: shard.to_owned(),
                dir: dir.to_owned(),
                tensors: expected,
            },
            _ => CheckpointError::Io { path, source },
        })?;
        let mut found = 0;
        for (name, tensor) in tensors_of(shard, &data)? {
            let placed = index.weight_map.get(&name);
            if placed.map(String::as_str) != Some(shard) {
                return Err(CheckpointError::NotInIndex {
                    tensor: name,
                    shard: shard.to_owned(),
                    placed: placed.cloned(),
                });
            }
            found += 1;
            total += tensor.data.len() as u64;
            tensors.insert(name, tensor);
        }
        if found < expected {
            let missing = index
                .weight_map
                .iter()
                .find(|(name, placed)| placed.as_str() == shard && !tensors.contains_key(*name));
            return Err(CheckpointError::NotInShard {
                tensor: missing.map_or_else(String::new, |(name, _)| name.clone()),
                shard: shard.to_owned(),
            });
        }
    }
    match index.total_size {
        Some(expected) if expected != total => Err(CheckpointError::TotalSize {
            expected,
            found: total,
        }),
        _ => Ok(tensors),
    }
}

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    /// `metadata.total_size`: bytes of all tensors together.
    pub total_size: Option<u64>,
    /// Tensor name → file name.
    pub weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Parses an index. Refuses names listed twice and shards outside the directory.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let file: IndexFile = serde_json::from_slice(bytes).map_err(|error| CheckpointError::Index {
            reason: error.to_string(),
        })?;
        if file.weight_map.0.is_empty() {
            return Err(CheckpointError::Index {
                reason: "its weight_map is empty".to_owned(),
            });
        }
        for (tensor, shard) in &file.weight_map.0 {
            // A file name, not a path: an index must not make us open anything outside its directory.
            let plain = Path::new(shard)
                .file_name()
                .is_some_and(|name| name.to_str() == Some(shard.as_str()));
            if !plain {
                return Err(CheckpointError::Index {
                    reason: format!(
                        "tensor {tensor} is placed in {shard:?}; expected the name of a file in the same directory"
                    ),
                });
            }
        }
        let total_size = file.metadata.and_then(|metadata| metadata.total_size);
        if total_size.is_some_and(|size| size.fract() != 0.0 || !(0.0..9e15).contains(&size)) {
            return Err(CheckpointError::Index {
                reason: "metadata.total_size must be a whole number of bytes".to_owned(),
            });
        }
        Ok(Self {
            total_size: total_size.map(|size| size as u64),
            weight_map: file.weight_map.0,
        })
    }
}

#[derive(Deserialize)]
struct IndexFile {
    metadata: Option<IndexMetadata>,
    weight_map: WeightMap,
}

#[derive(Deserialize)]
struct IndexMetadata {
    /// Some writers emit a float.
    total_size: Option<f64>,
}

struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;

        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut weight_map = BTreeMap::new();
                while let Some((name, shard)) = map.next_entry::<String, String>()? {
                    if weight_map.contains_key(&name) {
                        return Err(de::Error::custom(format_args!("tensor {name} is listed twice")));
                    }
                    weight_map.insert(name, shard);
                }
                Ok(WeightMap(weight_map))
            }
        }

        deserializer.deserialize_map(WeightMapVisitor)
    }
}
