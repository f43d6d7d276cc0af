//! A safetensors file, written tensor by tensor.

use serde_json::{Map, Value, json};

/// Tensors so far.
pub(super) struct Shard {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Shard {
    pub(super) fn new() -> Self {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        Self {
            header,
            data: Vec::new(),
        }
    }

    /// Adds a tensor whose bytes `fill` appends.
    pub(super) fn add(
        &mut self,
        name: String,
        dtype: &str,
        shape: &[usize],
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.data.len();
        fill(&mut self.data);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, self.data.len()]});
        self.header.insert(name, entry);
    }

    /// The file: header length, header padded with spaces so that data starts at a multiple of eight, data.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut header = Value::Object(self.header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.reserve_exact(header.len() + self.data.len());
        file.extend_from_slice(&header);
        file.extend_from_slice(&self.data);
        file
    }
}
