//! One sequence's state: what later tokens need of earlier ones (spec §6.1).

use std::sync::Arc;

use fathom_kernels::pages::{PagedRows, new_page};

use crate::layout::Layout;
use crate::weights::{Model, ModelId};

/// One timeline of tokens. A clone is a fork: it shares what is stored and diverges from there.
///
/// *Growing*: compressed entries and indexer keys in [`pages`](Self::pages), each for
/// [`page_tokens`](Model::page_tokens) tokens, packed as the model was trained with them under `reference`. A complete
/// page never changes.
/// *At fixed size*: the last KV rows of every layer, and the tokens of open compressor windows. With the rows of the page
/// that is not complete they are the [`live`](Self::live) state. Pages and live state are all there is:
/// [`Model::restore`] makes the same state of them.
#[derive(Clone)]
pub struct State {
    pub(crate) len: usize,
    /// Tokens whose entries were there before they were appended: see [`Model::replay`].
    pub(crate) replayed: usize,
    pub(crate) broken: bool,
    pub(crate) model: ModelId,
    pub(crate) layout: Arc<Layout>,
    /// One for every `page_tokens` tokens begun.
    pub(crate) pages: Vec<Arc<[u8]>>,
    /// The rings of window rows, one page.
    pub(crate) window: Arc<[u8]>,
    /// For each list of the pages.
    pub(crate) pending: Vec<Pending>,
}

/// Keys and gates (position bias included) of a compressor's tokens that are still needed, `[_, token_width]`.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) keys: Vec<f32>,
    pub(crate) gates: Vec<f32>,
}

impl Model {
    /// The state of an empty sequence.
    pub fn new_state(&self) -> State {
        let layout = self.layout();
        let pending = layout.lists.iter().map(|list| {
            let floats = list.pending_tokens_max() * list.token_width;
            Pending {
                keys: Vec::with_capacity(floats),
                gates: Vec::with_capacity(floats),
            }
        });
        State {
            len: 0,
            replayed: 0,
            broken: false,
            model: self.id(),
            layout: Arc::clone(layout),
            pages: Vec::new(),
            window: new_page(layout.window_bytes),
            pending: pending.collect(),
        }
    }

    /// Tokens of a page: the smallest common multiple of all compression ratios that is at least 128.
    pub fn page_tokens(&self) -> usize {
        self.layout().page_tokens
    }

    /// Bytes of a page; none if no layer compresses.
    pub fn page_bytes(&self) -> usize {
        self.layout().page_bytes
    }
}

impl State {
    /// Tokens in the sequence.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens whose compressed entries are there: [`len`](Self::len), and more only while [replaying](Model::replay).
    pub fn known(&self) -> usize {
        self.len.max(self.replayed)
    }

    /// The complete pages: the compressed entries of the first tokens, [`Model::page_tokens`] a page.
    pub fn pages(&self) -> &[Arc<[u8]>] {
        &self.pages[..self.known() / self.layout.page_tokens]
    }

    /// Bytes of memory: pages, the one begun included, and window rows. Forks share some of them.
    pub fn kv_bytes(&self) -> usize {
        self.pages.len() * self.layout.page_bytes + self.window.len()
    }

    /// Makes room for the entries of the first `len` tokens.
    pub(crate) fn grow(&mut self, len: usize) {
        while self.pages.len() * self.layout.page_tokens < len {
            self.pages.push(new_page(self.layout.page_bytes));
        }
    }

    /// The entries in one of the layout's lists after `len` tokens.
    pub(crate) fn entries(&self, list: usize, len: usize) -> PagedRows<'_> {
        let list = &self.layout.lists[list];
        list.rows.rows(&self.pages, len.max(self.replayed) / list.ratio)
    }
}
