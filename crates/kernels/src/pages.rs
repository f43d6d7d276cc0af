//! Pages of rows: the cached rows of a run of tokens as one buffer, whose bytes in memory are its bytes on disk.
//!
//! A page holds many lists of rows, each at the same place in every page ([`RowList`]). Row `i` of a list lies in page
//! `i / rows_per_page`; kernels read a list through [`PagedRows`]. A page is shared by whoever holds its `Arc`, and
//! copied when one of them writes to it.

use std::ops::Range;
use std::sync::Arc;

use crate::isa::{self, Isa};
use crate::matmul;
use crate::rows::RowFormat;

/// A page of zeros. Memory that is never written is never touched either: a page of a short sequence costs little more
/// than its rows.
pub fn new_page(bytes: usize) -> Arc<[u8]> {
    // SAFETY: zero is a `u8`.
    unsafe { Arc::new_zeroed_slice(bytes).assume_init() }
}

/// Rows of a list, at most; see [`PagedRows::place`].
const ROWS_MAX: u64 = 1 << 32;

/// Where the rows of one list lie in each page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowList {
    /// How a row is stored.
    pub format: RowFormat,
    /// Bytes of a page before the list.
    pub offset: usize,
    /// Rows of the list in a page.
    pub rows_per_page: usize,
}

impl RowList {
    /// Bytes that the list takes in a page.
    pub fn bytes(self) -> usize {
        self.rows_per_page * self.format.bytes()
    }

    /// The first `len` rows, to be read.
    ///
    /// # Panics
    /// When the pages are too few for so many, or rows are more than 2^32.
    #[inline]
    pub fn rows(self, pages: &[Arc<[u8]>], len: usize) -> PagedRows<'_> {
        let per_page = self.rows_per_page;
        assert!(
            len <= pages.len() * per_page
                && (len as u64) <= ROWS_MAX
                && (1..=ROWS_MAX).contains(&(per_page as u64)),
            "{len} rows in {} pages of {per_page}",
            pages.len(),
        );
        PagedRows {
            list: self,
            pages,
            len,
            row_bytes: self.format.bytes(),
            reciprocal: u64::MAX / per_page as u64,
        }
    }

    /// The bytes of row `index`, to be written. A page that others hold too is copied first.
    ///
    /// # Panics
    /// When the row's page is not there.
    pub fn slot(self, pages: &mut [Arc<[u8]>], index: usize) -> &mut [u8] {
        let (page, row) = (index / self.rows_per_page, index % self.rows_per_page);
        let bytes = self.format.bytes();
        &mut Arc::make_mut(&mut pages[page])[self.offset + row * bytes..][..bytes]
    }

    /// Packs a row into its place; see [`slot`](Self::slot).
    pub fn write(self, pages: &mut [Arc<[u8]>], index: usize, row: &[f32]) {
        self.format.pack(row, self.slot(pages, index));
    }
}

/// The rows of a list, in pages.
#[derive(Clone, Copy, Debug)]
pub struct PagedRows<'a> {
    list: RowList,
    pages: &'a [Arc<[u8]>],
    len: usize,
    row_bytes: usize,
    /// 2^64 over the rows of a page, rounded down.
    reciprocal: u64,
}

impl<'a> PagedRows<'a> {
    /// Rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How rows are stored.
    pub fn format(&self) -> RowFormat {
        self.list.format
    }

    /// Rows in a page.
    pub(crate) fn rows_per_page(&self) -> usize {
        self.list.rows_per_page
    }

    /// Row `index` as it is stored.
    pub fn packed(&self, index: usize) -> &'a [u8] {
        assert!(index < self.len, "row {index} of {}", self.len);
        let (page, row) = self.place(index);
        &self.pages[page][self.list.offset + row * self.row_bytes..][..self.row_bytes]
    }

    /// A row's page, and which row of it it is: a division, by multiplication, since attention asks for row after row.
    ///
    /// With `m = ⌊(2^64 − 1) / d⌋`, `(i + 1) · m / 2^64` is less than `(i + 1) / d`, by `(i + 1) / 2^64` at most. For `i`
    /// below and `d` up to 2^32 that is at most `1 / d`, so its whole part is that of `i / d`.
    #[inline]
    fn place(&self, index: usize) -> (usize, usize) {
        let page = (((index as u128 + 1) * u128::from(self.reciprocal)) >> 64) as usize;
        (page, index - page * self.list.rows_per_page)
    }

    /// The bytes of rows `range`, page by page, as far as there are pages; rows beyond the last are any bytes.
    pub(crate) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Self {
            list,
            pages,
            row_bytes: bytes,
            ..
        } = *self;
        let (mut page, mut row) = self.place(range.start);
        let (per_page, mut left) = (list.rows_per_page, range.len());
        std::iter::from_fn(move || {
            let rows = left.min(per_page - row);
            if rows == 0 {
                return None;
            }
            let run = &pages.get(page)?[list.offset + row * bytes..][..rows * bytes];
            (page, row, left) = (page + 1, 0, left - rows);
            Some(run)
        })
    }

    /// Asks for row `index` to be brought into the cache.
    pub(crate) fn prefetch(&self, index: usize) {
        matmul::prefetch(self.packed(index));
    }

    /// Asks for the place of row `index` in memory to be looked up.
    pub(crate) fn look_up(&self, index: usize) {
        let row = self.packed(index);
        matmul::prefetch(&row[..1]);
        matmul::prefetch(&row[row.len() - 1..]);
    }

    /// Unpacks row `index` into `out`.
    pub(crate) fn read(&self, isa: Isa, index: usize, out: &mut [f32]) {
        self.list.format.unpack(isa, self.packed(index), out);
    }

    /// Unpacks rows `indices` one after the other into `out`.
    pub fn gather(&self, indices: impl Iterator<Item = usize>, out: &mut [f32]) {
        let isa = isa::detected();
        for (index, out) in indices.zip(out.chunks_exact_mut(self.list.format.width())) {
            self.read(isa, index, out);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A list in pages, as other modules' tests fill it: something lies before and after it.
    pub(crate) struct Rows {
        list: RowList,
        pages: Vec<Arc<[u8]>>,
        len: usize,
    }

    impl Rows {
        pub(crate) fn new(format: RowFormat, rows_per_page: usize) -> Self {
            let list = RowList {
                format,
                offset: 24,
                rows_per_page,
            };
            Self {
                list,
                pages: Vec::new(),
                len: 0,
            }
        }

        pub(crate) fn push(&mut self, row: &[f32]) {
            if self.len == self.pages.len() * self.list.rows_per_page {
                let page = vec![0xFF; self.list.offset + self.list.bytes() + 8];
                self.pages.push(page.into());
            }
            self.list.write(&mut self.pages, self.len, row);
            self.len += 1;
        }

        pub(crate) fn view(&self) -> PagedRows<'_> {
            self.list.rows(&self.pages, self.len)
        }
    }

    fn row(rows: PagedRows<'_>, index: usize) -> [f32; 2] {
        let mut out = [0.0; 2];
        rows.gather(std::iter::once(index), &mut out);
        out
    }

    #[test]
    fn rows_lie_where_they_were_written_and_touch_nothing_else() {
        for rows_per_page in [1, 2, 3, 8, 32, 300] {
            let mut rows = Rows::new(RowFormat::F32 { width: 2 }, rows_per_page);
            for i in 0..300 {
                rows.push(&[i as f32, 0.5]);
            }
            assert_eq!(rows.pages.len(), 300usize.div_ceil(rows_per_page));
            for i in 0..300 {
                assert_eq!(row(rows.view(), i), [i as f32, 0.5]);
                let end = 300.min(i + 70);
                let runs: Vec<&[u8]> = rows.view().runs(i..end).collect();
                let expected: Vec<&[u8]> = (i..end).map(|i| rows.view().packed(i)).collect();
                assert_eq!(runs.concat(), expected.concat());
                assert_eq!(runs.len(), (end - 1) / rows_per_page - i / rows_per_page + 1);
            }
            assert!(rows.view().runs(900..950).next().is_none());
            for page in &rows.pages {
                let (before, rest) = page.split_at(24);
                let after = &rest[rows.list.bytes()..];
                assert!([before, after].concat().iter().all(|&byte| byte == 0xFF));
            }
        }
    }

    #[test]
    fn a_fork_shares_pages_until_it_writes_and_is_not_disturbed() {
        let mut rows = Rows::new(RowFormat::F32 { width: 2 }, 64);
        for i in 0..100 {
            rows.push(&[i as f32, 0.5]);
        }
        let (list, mut fork) = (rows.list, rows.pages.clone());
        list.write(&mut fork, 99, &[-1.0, -1.0]);
        rows.push(&[100.0, 0.5]);
        assert!(Arc::ptr_eq(&fork[0], &rows.pages[0]) && !Arc::ptr_eq(&fork[1], &rows.pages[1]));
        assert_eq!(row(rows.view(), 99), [99.0, 0.5]);
        assert_eq!(row(list.rows(&fork, 100), 99), [-1.0, -1.0]);
        assert_eq!(row(list.rows(&fork, 100), 98), [98.0, 0.5]);
    }

    #[test]
    fn places_are_quotient_and_remainder() {
        let format = RowFormat::F32 { width: 1 };
        for rows_per_page in [
            1,
            2,
            3,
            7,
            32,
            641,
            65_535,
            65_536,
            (1 << 31) + 1,
            (1 << 32) - 1,
            1 << 32,
        ] {
            let list = RowList {
                format,
                offset: 0,
                rows_per_page,
            };
            let view = list.rows(&[], 0);
            let near = |n: usize| n.saturating_sub(2)..n + 2;
            let multiples = [1, 2, 1000, (1 << 32) / rows_per_page].map(|n| n * rows_per_page);
            for index in multiples.into_iter().chain([0, 1 << 31]).flat_map(near) {
                if index < 1 << 32 {
                    assert_eq!(view.place(index), (index / rows_per_page, index % rows_per_page));
                }
            }
        }
    }

    #[test]
    fn a_new_page_is_zero() {
        assert!(new_page(5000).iter().all(|&byte| byte == 0));
        assert!(new_page(0).is_empty());
    }
}
