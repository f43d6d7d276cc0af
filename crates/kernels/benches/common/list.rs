//! A list of rows as it lies in a model's pages.

use std::sync::Arc;

use fathom_kernels::pages::{PagedRows, RowList, new_page};
use fathom_kernels::rows::RowFormat;

/// Bytes of a page of Flash: 128 tokens' entries of all layers.
const PAGE_BYTES: usize = 449_824;
const PAGE_TOKENS: usize = 128;

pub(crate) struct List {
    place: RowList,
    pages: Vec<Arc<[u8]>>,
    len: usize,
}

impl List {
    /// An empty list of a layer that compresses `ratio` tokens to a row.
    pub(crate) fn new(format: RowFormat, ratio: usize) -> Self {
        let place = RowList {
            format,
            offset: PAGE_BYTES / 2 / 8 * 8,
            rows_per_page: PAGE_TOKENS / ratio,
        };
        Self {
            place,
            pages: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn push(&mut self, row: &[f32]) {
        if self.len == self.pages.len() * self.place.rows_per_page {
            self.pages.push(new_page(PAGE_BYTES));
        }
        self.place.write(&mut self.pages, self.len, row);
        self.len += 1;
    }

    pub(crate) fn rows(&self) -> PagedRows<'_> {
        self.place.rows(&self.pages, self.len)
    }
}
