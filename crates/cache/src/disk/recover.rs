//! Opening a directory: which files are segments, and which records in them can be used.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::file::PositionedFile;
use super::format::{BadSegment, Found, SEGMENT_HEADER, SegmentHeader, Walk, walk};
use super::lock::DirectoryLock;
use super::stats::Skipped;

/// Headers are small and far apart: what their reading waits for, several threads wait for together.
const THREADS: usize = 4;

/// A segment that could be read.
pub(super) struct Recovered {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<PositionedFile>,
    pub(super) header: SegmentHeader,
    pub(super) len: u64,
    pub(super) found: Vec<Found>,
    /// Ends with a whole record.
    pub(super) clean: bool,
}

/// A segment of ours that holds nothing that can be used: its header is torn or damaged.
pub(super) struct Useless {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<PositionedFile>,
    pub(super) len: u64,
}

/// What is in a directory, in order of segment numbers.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) segments: Vec<Recovered>,
    pub(super) useless: Vec<Useless>,
    /// Segments of ours in a format of another version.
    pub(super) other_versions: Vec<PathBuf>,
    pub(super) skipped: Skipped,
    /// No new segment may have a number below it.
    pub(super) next_number: u64,
}

/// The file name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:08}.seg")
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|&number| number < u64::MAX)
}

/// Reads all headers below `dir`. Only a directory that cannot be listed is an error.
pub(super) fn recover(dir: &Path, writable: bool) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(entry) = entry else {
            contents.skipped.unreadable += 1;
            continue;
        };
        let name = entry.file_name();
        match name.to_str().and_then(segment_number) {
            Some(number) if entry.file_type().is_ok_and(|kind| kind.is_file()) => {
                files.push((number, entry.path()));
            }
            _ if name.to_str().is_some_and(DirectoryLock::is_lock) => {}
            _ => contents.skipped.foreign += 1,
        }
    }
    files.sort_unstable();
    contents.next_number = files.last().map_or(0, |(number, _)| number + 1);
    for ((number, path), read) in files.iter().zip(read_all(&files, writable)) {
        match read {
            Err(_) => contents.skipped.unreadable += 1,
            Ok(Read::Bad { file, bad, len }) => {
                let useless = Useless {
                    number: *number,
                    path: path.clone(),
                    file: Arc::new(file),
                    len,
                };
                // Another version's records are somebody's; what is not ours stays where it is.
                match bad {
                    BadSegment::Foreign => contents.skipped.foreign += 1,
                    BadSegment::Version => {
                        contents.skipped.version += 1;
                        contents.other_versions.push(useless.path);
                    }
                    BadSegment::Torn => {
                        contents.skipped.torn += 1;
                        contents.useless.push(useless);
                    }
                    BadSegment::Checksum => {
                        contents.skipped.checksum += 1;
                        contents.useless.push(useless);
                    }
                }
            }
            Ok(Read::Good {
                file,
                header,
                len,
                walk,
            }) => {
                contents.skipped.torn += walk.torn;
                contents.skipped.checksum += walk.damaged;
                contents.skipped.misnamed += walk.misnamed;
                contents.segments.push(Recovered {
                    number: *number,
                    path: path.clone(),
                    file: Arc::new(file),
                    header,
                    len,
                    found: walk.found,
                    clean: walk.clean,
                });
            }
        }
    }
    Ok(contents)
}

enum Read {
    Bad {
        file: PositionedFile,
        bad: BadSegment,
        len: u64,
    },
    Good {
        file: PositionedFile,
        header: SegmentHeader,
        len: u64,
        walk: Walk,
    },
}

/// Reads all files, each result in the place of its file.
fn read_all(files: &[(u64, PathBuf)], writable: bool) -> Vec<io::Result<Read>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut read = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, path)) = files.get(index) else {
                return read;
            };
            read.push((index, read_segment(path, writable)));
        }
    };
    let mut results: Vec<io::Result<Read>> = files
        .iter()
        .map(|_| Err(io::Error::other("it was not read")))
        .collect();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS.min(files.len()))
            // Without them, this thread reads everything.
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut read = work();
        for other in others {
            read.extend(other.join().unwrap_or_default());
        }
        for (index, result) in read {
            results[index] = result;
        }
    });
    results
}

fn read_segment(path: &Path, writable: bool) -> io::Result<Read> {
    let file = if writable {
        // A single file may be write-protected; its records can still be read.
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .or_else(|_| File::open(path))?
    } else {
        File::open(path)?
    };
    let len = file.metadata()?.len();
    let file = PositionedFile(file);
    let mut bytes = [0; SEGMENT_HEADER];
    let bytes = &mut bytes[..(SEGMENT_HEADER as u64).min(len) as usize];
    file.read_exact_at(bytes, 0)?;
    match SegmentHeader::decode(bytes) {
        Err(bad) => Ok(Read::Bad { file, bad, len }),
        Ok(header) => {
            let walk = walk(&file, len, &header.identity)?;
            Ok(Read::Good {
                file,
                header,
                len,
                walk,
            })
        }
    }
}
