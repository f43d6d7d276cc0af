//! Small checkpoints on disk, whole or damaged.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::path::Path;

use fathom_checkpoint::{Config, Kind, announced_draft, parts};
use serde_json::{Value, json};

/// dtype name, shape, bytes.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) type Tensors = BTreeMap<String, Stored>;

pub(crate) fn stored(dtype: &'static str, shape: &[usize]) -> Stored {
    let size = match dtype {
        "F8_E4M3" | "F8_E8M0" | "I8" | "U8" => 1,
        "BF16" | "F16" => 2,
        "F32" | "I32" => 4,
        _ => 8,
    };
    Stored {
        dtype,
        shape: shape.to_vec(),
        bytes: vec![0; shape.iter().product::<usize>() * size],
    }
}

/// Every kind of layer at sizes that are no multiples of 128.
pub(crate) fn tiny_config() -> Value {
    serde_json::from_str(include_str!("../configs/tiny.json")).unwrap()
}

/// All tensors of a configuration in the official storage, zero everywhere.
pub(crate) fn official_tensors(config: &Value) -> Tensors {
    let config = Config::from_json(config.to_string().as_bytes()).unwrap();
    let mut tensors = Tensors::new();
    for part in parts(&config, announced_draft(&config)) {
        let name = part.name;
        match part.kind {
            Kind::Projection { rows, cols } => {
                tensors.insert(format!("{name}.weight"), stored("F8_E4M3", &[rows, cols]));
                let blocks = [rows.div_ceil(128), cols.div_ceil(128)];
                tensors.insert(format!("{name}.scale"), stored("F8_E8M0", &blocks));
            }
            Kind::Expert { rows, cols } => {
                tensors.insert(format!("{name}.weight"), stored("I8", &[rows, cols / 2]));
                tensors.insert(format!("{name}.scale"), stored("F8_E8M0", &[rows, cols / 32]));
            }
            Kind::Dense { rows, cols } => {
                tensors.insert(format!("{name}.weight"), stored("BF16", &[rows, cols]));
            }
            Kind::Norm { len } => {
                tensors.insert(name, stored("BF16", &[len]));
            }
            Kind::Float { shape } => {
                tensors.insert(name, stored("F32", &shape));
            }
            Kind::Table { rows, cols } => {
                tensors.insert(name, stored("I64", &[rows, cols]));
            }
        }
    }
    tensors
}

/// A safetensors file.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend_from_slice(&tensor.bytes);
        header.insert(
            name.clone(),
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]}),
        );
    }
    with_header(&Value::Object(header).to_string(), &data)
}

/// A file with this header, whatever it says.
pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

/// A checkpoint in one file.
pub(crate) fn write_single(dir: &Path, config: &Value, tensors: &Tensors) {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.join("model.safetensors"), safetensors(tensors)).unwrap();
}

pub(crate) const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// A checkpoint in two shards, tensors dealt out alternately, with a correct index. Returns the index.
pub(crate) fn write_sharded(dir: &Path, config: &Value, tensors: &Tensors) -> Value {
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut weight_map = serde_json::Map::new();
    let mut parts = [Tensors::new(), Tensors::new()];
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        weight_map.insert(name.clone(), json!(SHARDS[i % 2]));
        parts[i % 2].insert(name.clone(), tensor.clone());
    }
    for (shard, part) in SHARDS.iter().zip(&parts) {
        std::fs::write(dir.join(shard), safetensors(part)).unwrap();
    }
    let total: usize = tensors.values().map(|tensor| tensor.bytes.len()).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    write_index(dir, &index);
    index
}

pub(crate) fn write_index(dir: &Path, index: &Value) {
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// Asserts that `error` says all of `phrases`.
pub(crate) fn assert_says(case: &str, error: &dyn std::error::Error, phrases: &[&str]) {
    let text = error.to_string();
    for phrase in phrases {
        assert!(
            text.contains(phrase),
            "{case}: the message\n  {text}\nshould say\n  {phrase}"
        );
    }
}
