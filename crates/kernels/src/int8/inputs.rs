//! Inputs of a product in eight bits.

use crate::int8::{BLOCK, GROUP, GROUPS, TILE_INPUTS};
use crate::isa::{self, Isa, multiversion};
use crate::segments::{Place, Tiles};
use crate::team::{Disjoint, Team};

/// Four columns of a row: what one lane of an integer dot product takes.
const QUAD: usize = 4;

/// Starts of a block: one for each group of 32, one for all.
pub(crate) const STARTS: usize = GROUPS + 1;

/// Added to a code, or to a weight, to make it unsigned, as one side of a vector dot product must be. The integers of
/// both fit into ±127.
pub(crate) const OFFSET: i32 = 128;

/// Rows of int8 codes with a power-of-two scale for each [`BLOCK`] columns; memory that is reused from step to step.
///
/// Rows belong to one or more *segments*, each the inputs of one product. A segment of more than eight rows is kept in
/// tiles of five or six rows or so, interleaved by fours of columns, so that a tile's inputs are read in one run; else rows lie
/// one after the other. Within a block the 64 even columns come first and then the 64 odd ones: the order in which the
/// nibbles of packed weights meet them. Rows are padded with zeros to whole blocks.
#[derive(Debug, Default)]
pub struct Int8Inputs {
    /// With [`OFFSET`].
    codes: Vec<u8>,
    scales: Vec<f32>,
    /// −[`OFFSET`] · Σ of the codes of each group of 32 columns and of each block, where rows lie one after the other:
    /// what takes the weights' offset off again, if they and not the inputs have it.
    starts: Vec<i32>,
    width: usize,
    rows: usize,
}

/// A segment of [`Int8Inputs`].
#[derive(Clone, Copy, Debug)]
pub struct Int8View<'a> {
    codes: &'a [u8],
    scales: &'a [f32],
    starts: &'a [i32],
    width: usize,
    rows: usize,
}

impl Int8Inputs {
    /// Memory for `rows` rows of `width` columns.
    pub fn with_capacity(rows: usize, width: usize) -> Self {
        let blocks = rows * width.div_ceil(BLOCK);
        Self {
            codes: Vec::with_capacity(blocks * BLOCK),
            scales: Vec::with_capacity(blocks),
            starts: Vec::with_capacity(blocks * STARTS),
            width,
            rows: 0,
        }
    }

    fn resize(&mut self, rows: usize, width: usize) {
        let blocks = rows * width.div_ceil(BLOCK);
        (self.rows, self.width) = (rows, width);
        // Only growth writes here; every element of the used part is written by the caller.
        self.codes.resize(blocks * BLOCK, 0);
        self.scales.resize(blocks, 0.0);
        self.starts.resize(blocks * STARTS, 0);
    }

    /// Quantises `x` `[rows, width]` into one segment: codes are `x / scale` rounded to nearest even, `scale` the
    /// smallest power of two that brings a block's largest magnitude to at most 127. A block with NaN or infinity gets a
    /// NaN scale, so that the product shows it.
    pub fn quantise(&mut self, team: &mut Team, x: &[f32], width: usize) {
        self.quantise_groups(team, x, width, 1);
    }

    /// As [`Int8Inputs::quantise`] for `x` `[rows, groups, width]`, into `groups` segments: the inputs of a
    /// block-diagonal product.
    pub fn quantise_groups(&mut self, team: &mut Team, x: &[f32], width: usize, groups: usize) {
        let rows = x.len() / width / groups;
        self.quantise_rows(team, x, width, |source| {
            let (row, group) = (source / groups, source % groups);
            (group * rows, Place::of(rows, row, TILE_INPUTS))
        });
    }

    /// As [`Int8Inputs::quantise`], into segments: segment `s` has rows `bounds[s]..bounds[s + 1]`.
    ///
    /// # Panics
    /// When the bounds do not ascend from 0 to the number of rows.
    pub fn quantise_segments(&mut self, team: &mut Team, x: &[f32], width: usize, bounds: &[u32]) {
        self.quantise_rows(team, x, width, |row| {
            let next = bounds.partition_point(|&first| first as usize <= row);
            let (first, end) = (bounds[next - 1] as usize, bounds[next] as usize);
            (first, Place::of(end - first, row - first, TILE_INPUTS))
        });
    }

    /// Quantises each row of `x` to the place in a segment, given with the segment's first row, that `place` says; it
    /// must give each row another.
    fn quantise_rows(
        &mut self,
        team: &mut Team,
        x: &[f32],
        width: usize,
        place: impl Fn(usize) -> (usize, Place) + Sync,
    ) {
        let (all, blocks) = (x.len() / width, width.div_ceil(BLOCK));
        assert_eq!(x.len(), all * width);
        self.resize(all, width);
        let out = Writer::new(self);
        // About a microsecond's work an item.
        let per_item = 64;
        team.run((all * blocks).div_ceil(per_item), |item, _| {
            for at in item * per_item..(all * blocks).min((item + 1) * per_item) {
                let (source, block) = (at / blocks, at % blocks);
                let from = block * BLOCK;
                let x = &x[source * width + from..][..BLOCK.min(width - from)];
                let mut codes = [0; BLOCK];
                let scale = quantise_block(out.isa, x, &mut codes);
                let (first, place) = place(source);
                // SAFETY: each block of each row is in exactly one item, and has a place of its own.
                unsafe { out.write(first, place, block, &codes, scale) };
            }
        });
    }

    /// Copies rows of `source`'s only segment: segment `s` becomes its rows `order[bounds[s]..bounds[s + 1]]`.
    ///
    /// # Panics
    /// When a row does not exist or the bounds do not ascend.
    pub fn gather(&mut self, team: &mut Team, source: &Self, order: &[u32], bounds: &[u32]) {
        let (width, blocks) = (source.width, source.width.div_ceil(BLOCK));
        self.resize(order.len(), width);
        let out = Writer::new(self);
        team.run(bounds.len() - 1, |segment, _| {
            let (first, end) = (bounds[segment] as usize, bounds[segment + 1] as usize);
            for (row, &from) in order[first..end].iter().enumerate() {
                let (from, to) = (
                    Place::of(source.rows, from as usize, TILE_INPUTS),
                    Place::of(end - first, row, TILE_INPUTS),
                );
                for block in 0..blocks {
                    // SAFETY: each row is in exactly one segment, and each segment is one item.
                    unsafe { out.copy(first, to, source, from, block) };
                }
            }
        });
    }

    /// The only segment.
    pub fn all(&self) -> Int8View<'_> {
        self.segment(0..self.rows)
    }

    /// The segment of these rows; it must be one that was made.
    pub fn segment(&self, rows: std::ops::Range<usize>) -> Int8View<'_> {
        let blocks = self.width.div_ceil(BLOCK);
        Int8View {
            codes: &self.codes[rows.start * blocks * BLOCK..rows.end * blocks * BLOCK],
            scales: &self.scales[rows.start * blocks..rows.end * blocks],
            starts: &self.starts[rows.start * blocks * STARTS..rows.end * blocks * STARTS],
            width: self.width,
            rows: rows.len(),
        }
    }
}

/// Lets threads write different rows.
struct Writer<'a> {
    codes: Disjoint<'a, u8>,
    scales: Disjoint<'a, f32>,
    starts: Disjoint<'a, i32>,
    blocks: usize,
    isa: Isa,
}

impl<'a> Writer<'a> {
    fn new(inputs: &'a mut Int8Inputs) -> Self {
        Self {
            blocks: inputs.width.div_ceil(BLOCK),
            isa: isa::detected(),
            codes: Disjoint::new(&mut inputs.codes),
            scales: Disjoint::new(&mut inputs.scales),
            starts: Disjoint::new(&mut inputs.starts),
        }
    }

    /// Writes one block of the row at `place` of the segment that begins at row `first`.
    ///
    /// # Safety
    /// No other thread may write this block of this row.
    unsafe fn write(&self, first: usize, place: Place, block: usize, codes: &[u8; BLOCK], scale: f32) {
        let before = (first + place.before) * self.blocks + block * place.tile;
        for (quad, codes) in codes.chunks_exact(QUAD).enumerate() {
            let at = before * BLOCK + (quad * place.tile + place.lane) * QUAD;
            // SAFETY: quads of different lanes, blocks and tiles are disjoint; one thread writes this block.
            unsafe { self.codes.part(at, QUAD) }.copy_from_slice(codes);
        }
        // SAFETY: as above.
        unsafe { self.scales.part(before + place.lane, 1) }.fill(scale);
        if place.tile == 1 {
            // SAFETY: as above.
            unsafe { self.starts.part(before * STARTS, STARTS) }.copy_from_slice(&starts_of(self.isa, codes));
        }
    }

    /// Copies one block of a row of `source`'s only segment.
    ///
    /// # Safety
    /// No other thread may write this block of this row.
    unsafe fn copy(&self, first: usize, to: Place, source: &Int8Inputs, from: Place, block: usize) {
        let origin = from.before * self.blocks + block * from.tile;
        let mut codes = [0; BLOCK];
        for (quad, codes) in codes.chunks_exact_mut(QUAD).enumerate() {
            let at = origin * BLOCK + (quad * from.tile + from.lane) * QUAD;
            codes.copy_from_slice(&source.codes[at..][..QUAD]);
        }
        // SAFETY: as the caller promised.
        unsafe { self.write(first, to, block, &codes, source.scales[origin + from.lane]) };
    }
}

/// Up to [`TILE_INPUTS`] rows of a segment, interleaved; one row in a segment of at most eight.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// First row within the segment.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    /// `[blocks][32 quads][rows]` quads, with [`OFFSET`].
    pub(crate) codes: &'a [u8],
    /// `[blocks][rows]`.
    pub(crate) scales: &'a [f32],
    /// `[blocks][`[`STARTS`]`]`; without meaning in a segment of more than eight rows.
    pub(crate) starts: &'a [i32],
}

impl Tile<'_> {
    /// The codes of one block of one row, in split order.
    pub(crate) fn codes_of(&self, lane: usize, block: usize) -> [i8; BLOCK] {
        let mut codes = [0; BLOCK];
        for (quad, codes) in codes.chunks_exact_mut(QUAD).enumerate() {
            let at = (block * BLOCK / QUAD + quad) * self.rows + lane;
            for (code, offset) in codes.iter_mut().zip(&self.codes[at * QUAD..][..QUAD]) {
                *code = (i32::from(*offset) - OFFSET) as i8;
            }
        }
        codes
    }
}

impl<'a> Int8View<'a> {
    /// Rows in the segment.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of a row, padding apart.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tiles that any rows are in, at least one.
    pub(crate) fn tile_count(&self) -> usize {
        Tiles::of(self.rows, TILE_INPUTS).count
    }

    /// The rows in tiles.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile<'a>> + use<'a> {
        let (view, blocks) = (*self, self.width.div_ceil(BLOCK));
        Tiles::of(self.rows, TILE_INPUTS).ranges().map(move |rows| {
            let (row, rows) = (rows.start, rows.len());
            let (from, to) = (row * blocks, (row + rows) * blocks);
            Tile {
                row,
                rows,
                codes: &view.codes[from * BLOCK..to * BLOCK],
                scales: &view.scales[from..to],
                starts: &view.starts[from * STARTS..to * STARTS],
            }
        })
    }
}

/// The scale for a largest magnitude given by its bits: 2^ceil(log2(amax / 127)), NaN where there is no such number.
#[inline(always)]
fn scale_of(amax_bits: u32) -> f32 {
    if amax_bits >= 0x7F80_0000 {
        return f32::NAN;
    }
    // The smallest normal number keeps the reciprocal finite; smaller inputs quantise to zero.
    let ratio = (f32::from_bits(amax_bits) * (1.0 / 127.0)).max(f32::MIN_POSITIVE);
    let bits = ratio.to_bits();
    f32::from_bits((bits + 0x007F_FFFF) & 0xFF80_0000)
}

fn quantise_block(isa: Isa, x: &[f32], codes: &mut [u8; BLOCK]) -> f32 {
    if let Ok(x) = x.try_into() {
        return quantise_whole(isa, x, codes);
    }
    let mut padded = [0.0; BLOCK];
    padded[..x.len()].copy_from_slice(x);
    quantise_whole(isa, &padded, codes)
}

multiversion! {
    fn quantise_whole = quantise_body(x: &[f32; BLOCK], codes: &mut [u8; BLOCK]) -> f32
}

#[inline(always)]
fn quantise_body(x: &[f32; BLOCK], codes: &mut [u8; BLOCK]) -> f32 {
    let mut amax = 0u32;
    for x in x {
        amax = amax.max(x.to_bits() & 0x7FFF_FFFF);
    }
    let scale = scale_of(amax);
    if scale.is_nan() {
        codes.fill(OFFSET as u8);
        return scale;
    }
    // A power of two, so dividing by it is multiplying by this.
    let down = 1.0 / scale;
    let mut rounded = [0i32; BLOCK];
    for (code, x) in rounded.iter_mut().zip(x) {
        // The magic number rounds to nearest even and leaves the integer in the low bits, on every machine alike.
        let shifted = x * down + 12_582_912.0;
        *code = shifted.to_bits() as i32 - (0x4B40_0000 - OFFSET);
    }
    let (even, odd) = codes.split_at_mut(BLOCK / 2);
    for ((even, odd), pair) in even.iter_mut().zip(odd).zip(rounded.chunks_exact(2)) {
        *even = pair[0] as u8;
        *odd = pair[1] as u8;
    }
    scale
}

multiversion! {
    /// The starts of a block with these codes.
    fn starts_of = starts_of_body(codes: &[u8; BLOCK]) -> [i32; STARTS]
}

#[inline(always)]
fn starts_of_body(codes: &[u8; BLOCK]) -> [i32; STARTS] {
    const HALF: usize = GROUP / 2;
    let mut starts = [0; STARTS];
    for (group, start) in starts[..GROUPS].iter_mut().enumerate() {
        for half in [group * HALF, BLOCK / 2 + group * HALF] {
            for &code in &codes[half..half + HALF] {
                *start -= OFFSET * (i32::from(code) - OFFSET);
            }
        }
    }
    starts[GROUPS] = starts[..GROUPS].iter().sum();
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_the_smallest_that_fit() {
        for amax in [1e-30f32, 0.5, 1.0, 126.9, 127.0, 127.01, 254.0, 3e38] {
            let scale = scale_of(amax.to_bits());
            assert_eq!(scale.to_bits() & 0x007F_FFFF, 0, "a power of two");
            assert!(
                amax / scale <= 127.0001 && (amax / scale > 63.4 || amax < 1e-30),
                "{amax} {scale}"
            );
        }
        assert!(scale_of(f32::INFINITY.to_bits()).is_nan());
        assert_eq!(scale_of(0), f32::MIN_POSITIVE);
    }

    fn wave(rows: usize, width: usize) -> Vec<f32> {
        (0..rows * width)
            .map(|i| (i as f32 * 0.7).sin() * (1.0 + (i / 128) as f32))
            .collect()
    }

    #[test]
    fn rows_come_back_from_tiles_and_segments() {
        let width = 200;
        let mut team = Team::new(2);
        for rows in [1, 2, 3, 6, 7, 20] {
            let x = wave(rows, width);
            let mut inputs = Int8Inputs::default();
            inputs.quantise(&mut team, &x, width);
            let order: Vec<u32> = (0..3 * rows as u32).map(|i| (i * 7 + 1) % rows as u32).collect();
            let bounds = [0, 1, 1, rows as u32, 3 * rows as u32];
            let mut gathered = Int8Inputs::default();
            gathered.gather(&mut team, &inputs, &order, &bounds);
            let segments = bounds
                .windows(2)
                .map(|b| (gathered.segment(b[0] as usize..b[1] as usize), b[0]));
            let views = std::iter::once((inputs.all(), None))
                .chain(segments.map(|(view, first)| (view, Some(first))));
            for (view, first) in views {
                for tile in view.tiles() {
                    for lane in 0..tile.rows {
                        let row = tile.row + lane;
                        let row = first.map_or(row, |first| order[first as usize + row] as usize);
                        for block in 0..2 {
                            let codes = tile.codes_of(lane, block);
                            let scale = tile.scales[block * tile.rows + lane];
                            let mut sums = [0; STARTS];
                            for k in 0..BLOCK {
                                let code = codes[k / 2 + k % 2 * 64];
                                let column = block * BLOCK + k;
                                let expected = if column < width {
                                    x[row * width + column]
                                } else {
                                    0.0
                                };
                                assert_eq!((expected / scale).round_ties_even() as i8, code);
                                sums[k / GROUP] -= OFFSET * i32::from(code);
                                sums[GROUPS] -= OFFSET * i32::from(code);
                            }
                            if tile.rows == 1 {
                                assert_eq!(tile.starts[block * STARTS..][..STARTS], sums);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_codes() {
        let x = wave(1, BLOCK);
        let block: &[f32; BLOCK] = x[..BLOCK].try_into().expect("128");
        let mut all = isa::available().map(|isa| {
            let mut codes = [0; BLOCK];
            let scale = quantise_whole(isa, block, &mut codes);
            (codes, starts_of(isa, &codes), scale)
        });
        let first = all.next().expect("scalar");
        assert!(all.all(|other| other == first));
    }

    #[test]
    fn what_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; BLOCK];
            x[77] = bad;
            let mut inputs = Int8Inputs::default();
            inputs.quantise(&mut Team::new(1), &x, BLOCK);
            assert!(inputs.scales[0].is_nan());
        }
    }
}
