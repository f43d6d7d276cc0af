//! Telling checkpoints apart without reading them whole.

use std::time::UNIX_EPOCH;

use crate::checkpoint::Checkpoint;
use crate::data::File;

/// Files up to this size are hashed whole.
const WHOLE_MAX: usize = 16 << 20;

/// Of larger files, so many samples are, evenly spread from the first byte to the last.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 4096;

impl Checkpoint {
    /// A BLAKE3 hash that is the same only for what computes the same: the configuration, every tensor's name, type,
    /// shape and place, and of each file the size, the time of its last modification and contents: of small files and
    /// those that are part of the program all, of others samples. Copies of a directory differ unless they keep the
    /// files' times.
    ///
    /// Reads up to 16 MiB a file; milliseconds, or what the disk takes for it.
    pub fn identity(&self) -> [u8; 32] {
        let mut hash = Parts(blake3::Hasher::new_derive_key("fathom checkpoint identity"));
        hash.part(self.config().raw.to_string().as_bytes());
        let mut files: Vec<File<'_>> = Vec::new();
        for (name, tensor) in self.tensors() {
            let file = tensor.data.file();
            let known = files
                .iter()
                .position(|other| std::ptr::eq(other.bytes, file.bytes));
            let index = known.unwrap_or_else(|| {
                files.push(file);
                files.len() - 1
            });
            hash.part(name.as_bytes());
            hash.part(tensor.dtype.name().as_bytes());
            hash.number(tensor.shape.len());
            tensor.shape.iter().for_each(|&size| hash.number(size));
            hash.number(index);
            hash.number(tensor.data.start());
            hash.number(tensor.data.len());
        }
        for file in files {
            let modified = file
                .modified
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hash.part(&modified.map_or(0, |since| since.as_nanos()).to_le_bytes());
            if !file.mapped || file.bytes.len() <= WHOLE_MAX {
                hash.part(file.bytes);
                continue;
            }
            hash.number(file.bytes.len());
            let last = file.bytes.len() - SAMPLE_BYTES;
            for sample in 0..SAMPLES {
                let from = (last as u128 * sample as u128 / (SAMPLES - 1) as u128) as usize;
                hash.part(&file.bytes[from..from + SAMPLE_BYTES]);
            }
        }
        hash.0.finalize().into()
    }
}

/// A hash of parts, each with its length, so that none can pass for a piece of another.
struct Parts(blake3::Hasher);

impl Parts {
    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn number(&mut self, n: usize) {
        self.0.update(&(n as u64).to_le_bytes());
    }
}
