//! Read-only files mapped into memory.
//!
//! Here and not in `checkpoint` because a mapping is the one other thing in Fathom that needs `unsafe`, and because the
//! kernels decide how weights are best paged in.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A whole file, mapped read-only. Pages come from the page cache on first touch: opening a 160 GB checkpoint reads
/// nothing, and two processes share one copy.
///
/// The file must not be shortened while it is mapped: the kernel then answers a read with `SIGBUS`. Checkpoints are
/// written once, so Fathom accepts that, as every engine that maps weights does.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps `path`. An empty file is an empty slice.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is private to this value, read-only, and handed out as `&[u8]` that cannot outlive it.
        // Its bytes are only ever interpreted as integers and floats for which every bit pattern is valid, so a
        // foreign writer could change results but not break memory safety; shortening the file is excluded above.
        let map = unsafe { memmap2::MmapOptions::new().map(&file)? };
        Ok(Self { map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
