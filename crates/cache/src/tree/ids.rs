//! Token ids of all pages, by node number.

/// Pages in a piece of memory: ids of nodes that were made one after another lie one after another, so that walking a long
/// prefix reads memory in order.
const PAGES_PER_PIECE: usize = 64;

#[derive(Debug)]
pub(super) struct Ids {
    page_tokens: usize,
    pieces: Vec<Box<[u32]>>,
}

impl Ids {
    pub(super) fn new(page_tokens: usize) -> Ids {
        Ids {
            page_tokens,
            pieces: Vec::new(),
        }
    }

    /// `[page_tokens]` ids of node `index`.
    pub(super) fn page(&self, index: u32) -> &[u32] {
        let at = index as usize % PAGES_PER_PIECE * self.page_tokens;
        &self.pieces[index as usize / PAGES_PER_PIECE][at..at + self.page_tokens]
    }

    pub(super) fn set(&mut self, index: u32, ids: &[u32]) {
        let (piece, at) = (
            index as usize / PAGES_PER_PIECE,
            index as usize % PAGES_PER_PIECE * self.page_tokens,
        );
        while self.pieces.len() <= piece {
            self.pieces
                .push(vec![0; PAGES_PER_PIECE * self.page_tokens].into());
        }
        self.pieces[piece][at..at + self.page_tokens].copy_from_slice(ids);
    }
}
