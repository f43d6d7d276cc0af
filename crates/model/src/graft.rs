//! States of great depth without the hours it would take to read so many tokens: for measuring speed, and nothing else.
//!
//! A graft lengthens the state of a short real prompt. Decoding on it costs exactly what it costs on a real state:
//!
//! * every list has the rows, the packing and the memory layout of a real state of that depth;
//! * window rows and the tokens of open compressor windows are the prompt's own;
//! * indexer keys are the prompt's own in random order, an eighth of their signs turned over, so that their scores spread
//!   as scores do and the entries chosen lie all over the list;
//! * compressed entries are the prompt's own in random order.
//!
//! What a graft computes means nothing: its entries belong to no text, and keep the rotation of the position they were
//! made at. Entries chosen on a real text lie closer together than random ones, which a graft's do not imitate.

use fathom_kernels::rows::RowFormat;

use crate::error::ForwardError;
use crate::layout::{Stored, least_common_multiple};
use crate::state::State;
use crate::weights::Model;

/// A state that cannot be lengthened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraftError {
    /// The donor is broken or another model's, or the depth is beyond the model's context.
    #[error(transparent)]
    State(#[from] ForwardError),
    /// The donor has too few tokens to have a row of every kind, or already more than asked for.
    #[error(
        "a state of {len} tokens cannot be lengthened to {depth}: it needs {period} tokens at least, and at most {depth}"
    )]
    Length {
        /// Tokens of the donor.
        len: usize,
        /// Tokens asked for.
        depth: usize,
        /// [`Model::graft_period`].
        period: usize,
    },
    /// Ring and open windows of the donor lie otherwise than at the depth asked for.
    #[error("a state of {len} tokens can be lengthened by multiples of {period} tokens only, not to {depth}")]
    Alignment {
        /// Tokens of the donor.
        len: usize,
        /// Tokens asked for.
        depth: usize,
        /// [`Model::graft_period`].
        period: usize,
    },
}

impl Model {
    /// Tokens after which everything that a state keeps in fixed places lies the same again: the least common multiple
    /// of the window and of all compression ratios.
    pub fn graft_period(&self) -> usize {
        let layout = self.layout();
        let ratios = layout.lists.iter().map(|list| list.ratio);
        ratios.fold(layout.window_slots, least_common_multiple)
    }

    /// A state of `depth` tokens for measuring: `donor`, lengthened as the [module](self) describes. `donor` holds at
    /// least [`graft_period`](Self::graft_period) tokens and `depth` is a multiple of them away. Complete pages
    /// are shared with the donor. The same seed gives the same state.
    pub fn graft(&self, donor: &State, depth: usize, seed: u64) -> Result<State, GraftError> {
        let (len, period) = (donor.len, self.graft_period());
        if donor.model != self.id() {
            return Err(ForwardError::Foreign.into());
        }
        if donor.broken {
            return Err(ForwardError::Broken.into());
        }
        if len < donor.known() {
            let known = donor.known();
            return Err(ForwardError::Replaying { position: len, known }.into());
        }
        if len > depth || (len < period && len != depth) {
            return Err(GraftError::Length { len, depth, period });
        }
        let max = self.config().max_position_embeddings;
        if depth > max {
            let adding = depth - len;
            return Err(ForwardError::ContextFull { len, adding, max }.into());
        }
        if !(depth - len).is_multiple_of(period) {
            return Err(GraftError::Alignment { len, depth, period });
        }
        let mut state = donor.clone();
        state.grow(depth);
        let mut random = Random(seed);
        let layout = self.layout();
        // Page after page, so that each is touched once.
        for page in len / layout.page_tokens..state.pages.len() {
            for (index, list) in layout.lists.iter().enumerate() {
                let models = donor.entries(index, len);
                let first = page * list.rows.rows_per_page;
                let end = (first + list.rows.rows_per_page).min(depth / list.ratio);
                for row in first.max(models.len())..end {
                    let model = models.packed((random.next() % models.len() as u64) as usize);
                    let row = list.rows.slot(&mut state.pages, row);
                    row.copy_from_slice(model);
                    if list.stored == Stored::IndexKey {
                        turn_signs(list.rows.format, row, &mut random);
                    }
                }
            }
        }
        state.len = depth;
        Ok(state)
    }
}

/// Turns over an eighth of an indexer key's signs.
fn turn_signs(format: RowFormat, key: &mut [u8], random: &mut Random) {
    let (codes, signs) = match format {
        // Two codes in a byte, the sign their highest bit; scales follow the codes.
        RowFormat::IndexKey { width } => (width.div_ceil(2), 0x8888_8888_8888_8888),
        RowFormat::F32 { width } => (4 * width, 0x8000_0000_8000_0000),
        // No key is stored so.
        RowFormat::Kv { .. } => return,
    };
    for bytes in key[..codes].chunks_mut(8) {
        let turned: u64 = signs & random.next() & random.next() & random.next();
        for (byte, turn) in bytes.iter_mut().zip(turned.to_le_bytes()) {
            *byte ^= turn;
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
