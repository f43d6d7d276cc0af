//! Queries as rows of integers, and their scores.

use super::codes::{BIAS, Kernel, MAX_EXPONENT, MAX_WIDTH, MAX_WORDS, MIN_EXPONENT, OFFSET, power};
use super::keys::{KEYS, KeyBlock};
use crate::isa::{Isa, multiversion};

/// Rows of a tile: with [`KEYS`] keys, sixteen AVX-512 accumulators.
pub(super) const ROWS: usize = 4;

/// Largest magnitude in a row of a query. Two products with a key's unsigned integers, at most 224, then fit sixteen
/// bits, which is where AVX2 adds them.
const MAX_CODE: f32 = 72.0;

/// Largest distance of a head's two exponents: float64 then holds its dots exactly too, so that it does not matter
/// where the line to [`super::general`] is drawn.
const MAX_GAP: u32 = 24;

/// Largest head weight with its head's power of two, and reciprocal of the smallest: as [`MAX_EXPONENT`].
const MAX_WEIGHT: f32 = (1u64 << 40) as f32;

/// 1.5 · 2^23: here float32 are the integers.
const FAR: f32 = 12_582_912.0;

/// [`ROWS`] rows of a query.
#[derive(Clone, Default)]
#[repr(C, align(64))]
pub(super) struct Tile {
    /// Signed integers in the order of [`KeyBlock::codes`].
    pub(super) codes: [[u32; ROWS]; MAX_WORDS],
    /// What takes [`OFFSET`] off again: the sums begin here.
    pub(super) initial: [i32; ROWS],
    /// Factor of the row before this one: the small elements of the same head. Zero for most.
    pub(super) carry: [f32; ROWS],
    /// Head weights with the row's power of two. Zero for small elements, and for rows that only fill the tile.
    pub(super) weights: [f32; ROWS],
}

/// A query's heads as rows of integers.
#[derive(Default)]
pub(super) struct IntegerQuery {
    tiles: Vec<Tile>,
    rows: usize,
    /// Whether some head takes two rows.
    split: bool,
}

impl IntegerQuery {
    /// Takes the heads of one query: `q` is `[heads, width]`, `weights` is `[heads]`. False if they have no integer
    /// form.
    pub(super) fn set(&mut self, isa: Isa, q: &[f32], weights: &[f32], width: usize) -> bool {
        self.tiles.clear();
        // Enough for two rows a head, so that no later query needs more.
        self.tiles.reserve((2 * weights.len()).div_ceil(ROWS));
        (self.rows, self.split) = (0, false);
        set_query(isa, self, q, weights, width)
    }

    #[inline(always)]
    fn push_head(&mut self, head: &[f32], weight: f32) -> bool {
        let Some(range) = Range::of(head, 0.0) else {
            return false;
        };
        if range.fits() {
            let unit = range.unit;
            return in_bounds(unit, weight) && self.push_row(head, |_| true, unit, 0.0, weight * power(unit));
        }
        let largest_small = MAX_CODE * power(range.unit);
        let Some(large) = Range::of(head, largest_small) else {
            return false;
        };
        let gap = large.unit - range.unit;
        if !large.fits() || gap > MAX_GAP || !in_bounds(large.unit, weight) {
            return false;
        }
        self.split = true;
        self.push_row(head, |x| x.abs() <= largest_small, range.unit, 0.0, 0.0)
            && self.push_row(
                head,
                |x| x.abs() > largest_small,
                large.unit,
                power(BIAS - gap),
                weight * power(large.unit),
            )
    }

    /// Adds the elements that `belong`, in units of `power(unit)`.
    #[inline(always)]
    fn push_row(
        &mut self,
        head: &[f32],
        belong: impl Fn(f32) -> bool,
        unit: u32,
        carry: f32,
        weight: f32,
    ) -> bool {
        let (mut codes, mut sum) = ([0; MAX_WIDTH], 0);
        let per_unit = power(2 * BIAS - unit);
        for (code, &x) in codes.iter_mut().zip(head) {
            let x = if belong(x) { x * per_unit } else { 0.0 };
            // Far from zero, an integer's bits are its float's; a cast would not be vectorised.
            let integer = (x + FAR).to_bits() as i32 - FAR.to_bits() as i32;
            sum += integer;
            *code = integer as u8;
        }
        let mut words = [[0; 2]; MAX_WORDS / 2];
        for (words, codes) in words.iter_mut().zip(codes.as_chunks::<8>().0) {
            let codes = u64::from_le_bytes(*codes);
            *words = [even_bytes(codes), even_bytes(codes >> 8)];
        }
        let at = self.rows % ROWS;
        if at == 0 {
            self.tiles.push(Tile::default());
        }
        self.rows += 1;
        let Some(tile) = self.tiles.last_mut() else {
            return false;
        };
        for (to, word) in tile.codes.iter_mut().zip(words.as_flattened()) {
            to[at] = *word;
        }
        tile.initial[at] = -OFFSET * sum;
        (tile.carry[at], tile.weights[at]) = (carry, weight);
        true
    }

    /// Scores of a block's keys, `[KEYS]`; meaningless for those that are irregular.
    pub(super) fn score(&self, kernel: Kernel, keys: &KeyBlock, width: usize, scores: &mut [f32; KEYS]) {
        let words = width / 4;
        assert!(words <= MAX_WORDS);
        match (kernel, self.split) {
            // SAFETY: `Kernel::of` found AVX-512 with VNNI.
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512, false) => unsafe {
                super::avx512::score::<false>(&self.tiles, keys, words, scores);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx512, true) => unsafe {
                super::avx512::score::<true>(&self.tiles, keys, words, scores);
            },
            // SAFETY: `Kernel::of` found AVX2 with AVX-VNNI.
            #[cfg(target_arch = "x86_64")]
            (Kernel::AvxVnni, _) => unsafe { super::avx2::score_vnni(&self.tiles, keys, words, scores) },
            // SAFETY: `Kernel::of` found AVX2.
            #[cfg(target_arch = "x86_64")]
            (Kernel::Avx2, _) => unsafe { super::avx2::score(&self.tiles, keys, words, scores) },
            (Kernel::Scalar, _) => score_scalar(&self.tiles, keys, words, scores),
        }
    }
}

/// Every other byte, the lowest first.
#[inline(always)]
fn even_bytes(x: u64) -> u32 {
    let x = x & 0x00FF_00FF_00FF_00FF;
    let x = (x | x >> 8) & 0x0000_FFFF_0000_FFFF;
    (x | x >> 16) as u32
}

multiversion! {
    fn set_query = set_query_body(query: &mut IntegerQuery, q: &[f32], weights: &[f32], width: usize) -> bool
}

#[inline(always)]
fn set_query_body(query: &mut IntegerQuery, q: &[f32], weights: &[f32], width: usize) -> bool {
    // A loop, since an adaptor's closure would not be compiled for the instruction set.
    for (head, &weight) in q.chunks_exact(width).zip(weights) {
        if !query.push_head(head, weight) {
            return false;
        }
    }
    true
}

/// The range of a head's elements.
struct Range {
    /// Biased exponent of the largest power of two of which every element is a multiple.
    unit: u32,
    largest: f32,
}

impl Range {
    /// Of the elements whose magnitude is above `floor`; none if one of them is not 1 or 3 times a power of two, as
    /// E2M1 values are.
    #[inline(always)]
    fn of(head: &[f32], floor: f32) -> Option<Self> {
        // On bit patterns, which order as magnitudes do, and without branches: this is vectorised.
        let (mut unit, mut largest, mut finer) = (u32::MAX, 0, 0);
        for x in head {
            let bits = x.to_bits() & (u32::MAX >> 1);
            let counts = bits > floor.to_bits();
            // Of three times a power of two, 1.5 in binary, the unit is one less than the exponent says.
            let own = bits.saturating_sub((bits & (1 << 22)) << 1) >> 23;
            unit = unit.min(if counts { own } else { u32::MAX });
            largest = largest.max(if counts { bits } else { 0 });
            finer |= if counts { bits & ((1 << 22) - 1) } else { 0 };
        }
        let unit = if unit == u32::MAX { BIAS } else { unit };
        let largest = f32::from_bits(largest);
        (finer == 0 && unit > 0 && largest < f32::INFINITY).then_some(Self { unit, largest })
    }

    fn fits(&self) -> bool {
        self.largest <= MAX_CODE * power(self.unit)
    }
}

/// Whether sums with a row of this unit and weight stay clear of overflow and subnormals.
fn in_bounds(unit: u32, weight: f32) -> bool {
    let weights = MAX_WEIGHT.recip()..=MAX_WEIGHT;
    (MIN_EXPONENT..=MAX_EXPONENT).contains(&unit)
        && (weight == 0.0 || weights.contains(&(weight.abs() * power(unit))))
}

/// The scalar twin of the vector kernels.
fn score_scalar(tiles: &[Tile], keys: &KeyBlock, words: usize, scores: &mut [f32; KEYS]) {
    let mut sums = [0.0f32; KEYS];
    let mut carried = [0.0f32; KEYS];
    for tile in tiles {
        for row in 0..ROWS {
            let mut dots = [tile.initial[row]; KEYS];
            for (codes, keys) in tile.codes.iter().zip(&keys.codes).take(words) {
                let q = codes[row].to_le_bytes().map(|byte| byte as i8 as i32);
                for (dot, key) in dots.iter_mut().zip(keys) {
                    for (i, q) in q.iter().enumerate() {
                        *dot += q * (key >> (8 * i) & 255) as i32;
                    }
                }
            }
            for ((sum, carried), dot) in sums.iter_mut().zip(&mut carried).zip(dots) {
                *carried = carried.mul_add(tile.carry[row], dot as f32);
                *sum = tile.weights[row].mul_add(carried.max(0.0), *sum);
            }
        }
    }
    for ((score, sum), scale) in scores.iter_mut().zip(sums).zip(keys.scales) {
        *score = sum * scale;
    }
}
