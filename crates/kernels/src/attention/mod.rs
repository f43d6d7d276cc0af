//! Core attention over window rows and compressed rows with a sink (spec §5.4).
//!
//! Keys and values are the same vectors, one head of them for all query heads. The softmax runs once over the union of
//! a query's rows, window rows by position and then compressed rows by index: an order that the query's position alone
//! decides. The reference walks tiles of 64 with a running maximum; one pass with the true maximum is the same sum
//! with fewer roundings.
//!
//! Two ways lead there: [`Arithmetic`].

mod float;
mod packed;
mod rows;
mod softmax;
mod tiles;

use crate::isa::{self, Isa};
use crate::pages::PagedRows;
use crate::scratch::Scratch;
use crate::team::Team;

/// Compressed rows a layer offers.
#[derive(Clone, Copy)]
pub struct Compressed<'a> {
    /// The entries.
    pub rows: PagedRows<'a>,
    /// Tokens of a window.
    pub ratio: usize,
    /// For a sparse layer, each query's chosen entries, ascending, `[t, k]`; a query with fewer visible entries uses as
    /// many as it has. A heavy layer uses all that are visible.
    pub chosen: Option<(&'a [u32], usize)>,
}

impl<'a> Compressed<'a> {
    /// Entries that the query at `position` uses: windows whose last token is not after it.
    fn count(&self, position: usize) -> usize {
        let visible = visible(position, self.ratio);
        self.chosen.map_or(visible, |(_, k)| visible.min(k))
    }

    /// The entries that a sparse layer's query uses, where `count` of its choices count.
    fn chosen(&self, query: usize, count: usize) -> Option<&'a [u32]> {
        self.chosen.map(|(chosen, k)| &chosen[query * k..][..count])
    }
}

/// Compressed entries that a query at `position` may see: a window that completes at it is visible (spec §5.4).
pub fn visible(position: usize, ratio: usize) -> usize {
    (position + 1) / ratio
}

/// How attention multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Float32 throughout.
    Float32,
    /// Rows are what packing leaves of them, BF16 numbers, and compressed ones are stored as
    /// [`RowFormat::Kv`](crate::rows::RowFormat::Kv). Queries and probabilities are rounded to BF16 too; sums are float32.
    Bf16 {
        /// Whether results are rounded to BF16.
        round: bool,
    },
}

/// One layer's attention for consecutive queries.
pub struct Attention<'a> {
    /// `[t, heads · head_dim]`.
    pub q: &'a [f32],
    /// Query heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Position of the first query.
    pub start: usize,
    /// Rows of consecutive positions, `[_, head_dim]`, the queries' own included.
    pub window_rows: &'a [f32],
    /// Position of the first window row.
    pub window_start: usize,
    /// Positions a query sees uncompressed, its own included.
    pub window: usize,
    /// Compressed rows, if the layer has any.
    pub compressed: Option<Compressed<'a>>,
    /// Extra logit per head that takes probability and gives no value; not scaled.
    pub sinks: &'a [f32],
    /// How rows, queries and probabilities are multiplied.
    pub arithmetic: Arithmetic,
}

/// Memory that attention reuses from call to call. It grows with the context and stays.
#[derive(Default)]
pub struct Workspace {
    /// Compressed rows in float32.
    unpacked: Vec<f32>,
    /// Panels of BF16 pairs, scores.
    words: Scratch,
}

impl<'a> Attention<'a> {
    /// Attends; `out` is `[t, heads · head_dim]`.
    ///
    /// # Panics
    /// When shapes do not fit together, or compressed rows are not stored as [`Arithmetic::Bf16`] wants them.
    pub fn attend(&self, team: &mut Team, workspace: &mut Workspace, out: &mut [f32]) {
        self.attend_with(isa::detected(), team, workspace, out);
    }

    fn attend_with(&self, isa: Isa, team: &mut Team, workspace: &mut Workspace, out: &mut [f32]) {
        let row = self.heads * self.head_dim;
        assert_eq!(
            (self.q.len(), self.sinks.len(), out.len() % row),
            (out.len(), self.heads, 0),
            "queries, sinks and results of {} heads of {}",
            self.heads,
            self.head_dim
        );
        match self.arithmetic {
            Arithmetic::Float32 => float::attend(isa, self, team, &mut workspace.unpacked, out),
            Arithmetic::Bf16 { round } => packed::attend(isa, self, team, &mut workspace.words, round, out),
        }
    }

    /// Factor of the logits.
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Position of the first row in a query's window.
    fn window_first(&self, query: usize) -> usize {
        (self.start + query + 1).saturating_sub(self.window)
    }

    /// A query's window rows.
    fn window_of(&self, query: usize) -> &'a [f32] {
        let end = self.start + query + 1;
        let rows = self.window_first(query) - self.window_start..end - self.window_start;
        &self.window_rows[rows.start * self.head_dim..rows.end * self.head_dim]
    }

    /// A query's compressed entries.
    fn count(&self, query: usize) -> usize {
        self.compressed
            .map_or(0, |compressed| compressed.count(self.start + query))
    }
}

#[cfg(test)]
mod tests;
