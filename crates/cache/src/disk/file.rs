//! Files read and written at positions, by several threads at once.

use std::fs::File;
use std::io;

/// A file without a cursor.
#[derive(Debug)]
pub(super) struct PositionedFile(pub(super) File);

impl PositionedFile {
    pub(super) fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_exact_at(&self.0, into, at);
        #[cfg(windows)]
        {
            let (mut into, mut at) = (into, at);
            while !into.is_empty() {
                match std::os::windows::fs::FileExt::seek_read(&self.0, into, at) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => {
                        into = &mut into[read..];
                        at += read as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }

    pub(super) fn write_all_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_all_at(&self.0, from, at);
        #[cfg(windows)]
        {
            let (mut from, mut at) = (from, at);
            while !from.is_empty() {
                match std::os::windows::fs::FileExt::seek_write(&self.0, from, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        from = &from[written..];
                        at += written as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }
}
