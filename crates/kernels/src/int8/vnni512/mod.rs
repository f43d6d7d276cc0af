//! The AVX-512 versions: weights multiplied as they stream past, in strips of sixteen rows, and in tiles of panels.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes, so one side carries an offset of 128 that makes it unsigned; 128 times
//! the sum of the other side's integers is taken off again, exactly. Streamed weights carry it, whose sums begin at the
//! inputs' `starts`; elsewhere the inputs do, as they are stored, and what to take off is one number for a row's group.

mod integers;
mod panel;
mod stream;
mod strips;
mod tiles;

pub(crate) use integers::{E2M1, Kind, group_integers, scale_values};
pub(super) use stream::stream;
pub(super) use tiles::multiply;

use crate::int8::BLOCK;

/// Blocks taken together: those of a panel, and those that four streamed rows finish at once.
const BLOCKS: usize = 4;

/// Lanes of a register: rows of half a panel.
const LANES: usize = 16;

/// Registers of weight rows of a tile.
const TILE_ROWS: usize = 2;

/// Weight rows of a panel.
const WIDTH: usize = TILE_ROWS * LANES;

/// Quads of columns of a block.
const QUADS: usize = BLOCK / 4;
