//! Bytes that stay where they are: a range of a mapped file or of the program itself.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::SystemTime;

use fathom_kernels::mapping::MappedFile;

/// A shared, immutable range of bytes. Cloning copies a pointer and a range, never the bytes, and keeps the mapping
/// alive; the offset has no particular alignment.
#[derive(Clone)]
pub struct Data {
    source: Source,
    range: Range<usize>,
}

#[derive(Clone)]
enum Source {
    Mapped(Arc<MappedFile>),
    Embedded(&'static [u8]),
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Embedded(bytes) => bytes,
        }
    }
}

impl Data {
    /// The bytes from `start` to `end`, counted from the start of this range; `None` if they are not all inside it.
    pub fn slice(&self, start: usize, end: usize) -> Option<Self> {
        if start > end || end > self.range.len() {
            return None;
        }
        let range = self.range.start + start..self.range.start + end;
        Some(Self {
            source: self.source.clone(),
            range,
        })
    }
}

impl Data {
    /// Lets go of the memory that holds the range's bytes, if they are mapped; they are read again when touched.
    pub fn release(&self) {
        if let Source::Mapped(file) = &self.source {
            file.release(self.range.clone());
        }
    }
}

/// What a range of bytes is a part of.
pub(crate) struct File<'a> {
    pub(crate) bytes: &'a [u8],
    /// Whether it is a file, and not part of the program.
    pub(crate) mapped: bool,
    pub(crate) modified: Option<SystemTime>,
}

impl Data {
    pub(crate) fn file(&self) -> File<'_> {
        let modified = match &self.source {
            Source::Mapped(file) => file.modified(),
            Source::Embedded(_) => None,
        };
        File {
            bytes: self.source.bytes(),
            mapped: matches!(self.source, Source::Mapped(_)),
            modified,
        }
    }

    /// Where in [`file`](Self::file) the range begins.
    pub(crate) fn start(&self) -> usize {
        self.range.start
    }
}

impl From<MappedFile> for Data {
    fn from(file: MappedFile) -> Self {
        let range = 0..file.len();
        Self {
            source: Source::Mapped(Arc::new(file)),
            range,
        }
    }
}

impl From<&'static [u8]> for Data {
    fn from(bytes: &'static [u8]) -> Self {
        Self {
            source: Source::Embedded(bytes),
            range: 0..bytes.len(),
        }
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.source {
            Source::Mapped(_) => "mapped",
            Source::Embedded(_) => "embedded",
        };
        write!(f, "Data({kind}, {} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_relative_and_stay_inside() {
        let data = Data::from(&b"0123456789"[..]);
        let middle = data.slice(2, 8).unwrap();
        assert_eq!(&*middle, b"234567");
        assert_eq!(&*middle.slice(1, 3).unwrap(), b"34");
        assert_eq!(&*middle.slice(6, 6).unwrap(), b"");
        for (start, end) in [(0, 7), (7, 7), (4, 3), (0, usize::MAX), (usize::MAX, usize::MAX)] {
            assert!(
                middle.slice(start, end).is_none(),
                "{start}..{end} is not inside 0..6"
            );
        }
    }
}
