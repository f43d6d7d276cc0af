//! What the disk tier is opened with.

use std::path::PathBuf;

/// Where records lie and how much they may take.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The directory; made if it is not there. Several models may share one.
    pub dir: PathBuf,
    /// What its files may take together, in bytes.
    pub bytes: u64,
    /// The model's name for people; the first 56 bytes are kept.
    pub label: String,
    /// What may wait to be written, in bytes of payload.
    pub queue_bytes: u64,
}

impl DiskOptions {
    /// No label, a queue of 128 MiB.
    pub fn new(dir: impl Into<PathBuf>, bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            bytes,
            label: String::new(),
            queue_bytes: 128 << 20,
        }
    }
}
