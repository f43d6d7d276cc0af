//! Read-only files mapped into memory.
//!
//! Here and not in `checkpoint` because a mapping is the one other thing in Fathom that needs `unsafe`, and because the
//! kernels decide how weights are best paged in.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::time::SystemTime;

/// A whole file, mapped read-only. Pages come from the page cache on first touch: opening a 160 GB checkpoint reads
/// nothing, and two processes share one copy.
///
/// The file must not be shortened while it is mapped: the kernel then answers a read with `SIGBUS`. Checkpoints are
/// written once, so Fathom accepts that, as every engine that maps weights does.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
    modified: Option<SystemTime>,
}

impl MappedFile {
    /// Maps `path`. An empty file is an empty slice.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let modified = file.metadata()?.modified().ok();
        // SAFETY: the mapping is private to this value, read-only, and handed out as `&[u8]` that cannot outlive it.
        // Its bytes are only ever interpreted as integers and floats for which every bit pattern is valid, so a
        // foreign writer could change results but not break memory safety; shortening the file is excluded above.
        let map = unsafe { memmap2::MmapOptions::new().map(&file)? };
        // Where the file system keeps large pieces (ext4, xfs, btrfs on recent kernels), pages of two megabytes: a token
        // reads gigabytes once, and fewer pages are fewer look-ups of their places (streams from anonymous memory ran
        // 8 % faster). What is in the page cache in small pieces already stays so. Advice: refused, it changes nothing.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, modified })
    }

    /// When the file was last modified before it was mapped, where the system tells.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// Gives the pages that lie wholly inside `range` back to the page cache: for who has read a part of a large file
    /// and will not soon read it again. They return when they are touched.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            // A page that is only partly inside belongs to the neighbours too. 64 KiB is the largest usual page.
            const PAGE: usize = 64 << 10;
            let (start, end) = (
                range.start.min(self.map.len()).next_multiple_of(PAGE),
                range.end.min(self.map.len()) / PAGE * PAGE,
            );
            if start < end {
                // SAFETY: dropping pages is unsafe where it can lose what was written to them. This mapping is
                // read-only and of a file: the same bytes are read again.
                let released = unsafe {
                    self.map
                        .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
                };
                // Advice: without it the pages stay, and that is all.
                drop(released);
            }
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_pages_come_back_unchanged() {
        let path = std::env::temp_dir().join(format!("fathom-mapping-{}", std::process::id()));
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(&*file, &bytes[..]);
        for range in [
            0..bytes.len(),
            1..200_000,
            70_000..70_001,
            0..0,
            250_000..usize::MAX,
        ] {
            file.release(range);
            assert_eq!(&*file, &bytes[..]);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
