//! One process writes to a directory at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

const NAME: &str = "lock";

/// The right to write to a directory, held until dropped. The operating system takes it back from a process that dies.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file would do, but for a child process that another thread is just starting: until it runs its own
        // program it holds a copy of the open file, and with it the lock.
        let _ = self.0.unlock();
    }
}

/// Why a directory can only be read.
#[derive(Debug)]
pub(super) enum NoLock {
    /// By whom, as far as it said.
    Held(Option<u32>),
    NotWritable(std::io::Error),
}

impl DirectoryLock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, NoLock> {
        let path = dir.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(NoLock::NotWritable)?;
        match file.try_lock() {
            Ok(()) => {
                // For the message that another process prints; nobody relies on it.
                let written = file
                    .set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()));
                match written {
                    Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                        Err(NoLock::NotWritable(error))
                    }
                    _ => Ok(Self(file)),
                }
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.take(16).read_to_string(&mut text);
                Err(NoLock::Held(text.trim().parse().ok()))
            }
            Err(TryLockError::Error(error)) => Err(NoLock::NotWritable(error)),
        }
    }

    /// Whether a file of the directory is the lock.
    pub(super) fn is_lock(name: &str) -> bool {
        name == NAME
    }
}
