//! Standard output.

use std::io::{self, ErrorKind, Write as _};

/// Writes a whole report. A reader that closed the pipe early, as `head` does, is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
