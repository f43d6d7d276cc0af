//! How the input rows of one product lie together: one after the other where they are few, else in tiles.

use std::ops::Range;

/// Inputs up to which weights are multiplied as they stream past, rather than rearranged into panels first.
pub(crate) const STREAMED_INPUTS: usize = 8;

/// Where a row's block lies within its segment, in units that each array multiplies by its own size.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Rows before the row's tile.
    pub(crate) before: usize,
    /// Rows of the tile, and the row's number among them.
    pub(crate) tile: usize,
    pub(crate) lane: usize,
}

impl Place {
    /// Of row `row` of a segment of `rows`, in tiles of at most `most`.
    pub(crate) fn of(rows: usize, row: usize, most: usize) -> Self {
        let Tiles { wide, width, .. } = Tiles::of(rows, most);
        // The first `wide` tiles have one row more than the others.
        let (before, tile) = if row < wide * (width + 1) {
            (row - row % (width + 1), width + 1)
        } else {
            (row - (row - wide * (width + 1)) % width, width)
        };
        Self {
            before,
            tile,
            lane: row - before,
        }
    }
}

/// How a segment's rows are kept together: in tiles that differ by one row at most, because a narrow tile costs nearly
/// as much as a full one.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    pub(crate) count: usize,
    /// Tiles of `width + 1` rows, before those of `width`.
    pub(crate) wide: usize,
    pub(crate) width: usize,
}

impl Tiles {
    /// Of a segment of `rows` rows, at least one tile, of at most `most` rows if they are many.
    pub(crate) fn of(rows: usize, most: usize) -> Self {
        let most = if rows <= STREAMED_INPUTS { 1 } else { most };
        let count = rows.div_ceil(most).max(1);
        Self {
            count,
            wide: rows % count,
            width: rows / count,
        }
    }

    /// The rows of each tile; none of an empty segment.
    pub(crate) fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let Self { count, wide, width } = self;
        (0..count)
            .map(move |tile| {
                let first = tile * width + tile.min(wide);
                first..first + width + usize::from(tile < wide)
            })
            .filter(|rows| !rows.is_empty())
    }
}
