//! Packed keys and their queries as eight-bit integers, so that a dot product is an exact integer sum.
//!
//! Twice an E2M1 value is an integer of at most 12, and its scale is a power of two. What shares one power of two is
//! then a row of integers: a key whose group scales are at most 2³ apart (twelve shifted by three is 96), and nearly
//! every head of a query. A head with a wider range becomes two rows, the small elements and the large ones. All that
//! falls outside this goes through [`super::general`], which gives what the exact sum would, only slower.
//!
//! `Σ_h w_h · relu(q_h · κ)` then takes one conversion of an exact integer, one maximum and one fused multiply-add a
//! head. Powers of two commute with each of them while nothing over- or underflows, which the bounds below make sure
//! of; so the score has the bits of the same sum of correctly rounded float32 dots.

use crate::formats::e2m1::GROUP;
use crate::isa::{self, Integers, Isa, multiversion};
use crate::rows::RowFormat;

/// Keys of a block. A block of [`crate::rows::RowStore`] holds a whole number of them.
pub(super) const KEYS: usize = 64;

/// Rows of a tile: with [`KEYS`] keys, sixteen AVX-512 accumulators.
pub(super) const ROWS: usize = 4;

/// The widest key that has an integer form.
const MAX_WIDTH: usize = 128;

/// Four codes each.
const MAX_WORDS: usize = MAX_WIDTH / 4;

/// Added to a key's integers, since the dot product instructions take one operand unsigned.
const OFFSET: i32 = 128;

/// Largest magnitude in a row of a query. Two products with a key's unsigned integers, at most 224, then fit sixteen
/// bits, which is where AVX2 adds them.
const MAX_CODE: f32 = 72.0;

/// Largest distance of a key's group exponents.
const MAX_SHIFT: u8 = 3;

/// Largest distance of a head's two exponents: float64 then holds its dots exactly too, so that it does not matter
/// where the line to [`super::general`] is drawn.
const MAX_GAP: u32 = 24;

/// Exponents, biased by [`BIAS`], between which nothing over- or underflows.
pub(super) const MIN_EXPONENT: u32 = BIAS - 20;
/// As above.
pub(super) const MAX_EXPONENT: u32 = BIAS + 20;

/// As above, for head weights with their head's power of two, and for their reciprocals.
const MAX_WEIGHT: f32 = (1u64 << 40) as f32;

/// 1.5 · 2^23: here float32 are the integers.
const FAR: f32 = 12_582_912.0;

/// The exponent of binary32 and UE8M0 that stands for 1.
const BIAS: u32 = 127;

/// E2M1 codes as integers, plus 16 to be positive.
pub(super) const TABLE: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];

/// How dots are computed. All ways give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// AVX-512 with VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Portable code.
    Scalar,
}

impl Kernel {
    pub(super) fn of(isa: Isa) -> Self {
        match isa::integers(isa) {
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni512 => Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Integers::Vnni256 => Self::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Integers::Plain if isa >= Isa::Avx2 => Self::Avx2,
            Integers::Plain => Self::Scalar,
        }
    }
}

/// Whether keys of this format have an integer form.
pub(super) fn have_integers(format: RowFormat) -> bool {
    matches!(format, RowFormat::IndexKey { width } if width.is_multiple_of(GROUP) && (1..=MAX_WIDTH).contains(&width))
}

/// [`KEYS`] keys as unsigned integers, transposed: a word of each key, then the next word of each.
///
/// Of every eight elements, the first word has those with an even index and the second the others, as the nibbles of
/// four bytes lie.
#[repr(C, align(64))]
pub(super) struct KeyBlock {
    pub(super) codes: [[u32; KEYS]; MAX_WORDS],
    /// The power of two of a key's integers.
    pub(super) scales: [f32; KEYS],
    /// A bit for each key without an integer form; its codes and scale are meaningless.
    pub(super) irregular: u64,
}

impl KeyBlock {
    pub(super) fn new() -> Self {
        Self {
            codes: [[0; KEYS]; MAX_WORDS],
            scales: [0.0; KEYS],
            irregular: 0,
        }
    }

    /// Takes [`KEYS`] packed rows.
    pub(super) fn load(&mut self, kernel: Kernel, bytes: &[u8], width: usize) {
        let rows = PackedKeys::new(bytes, width);
        match kernel {
            // SAFETY: `Kernel::of` found AVX-512 with VNNI.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { super::avx512::load(self, &rows) },
            // SAFETY: `Kernel::of` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni | Kernel::Avx2 => unsafe { super::avx2::load(self, &rows) },
            Kernel::Scalar => self.load_scalar(&rows),
        }
    }

    fn load_scalar(&mut self, rows: &PackedKeys<'_>) {
        self.irregular = 0;
        for key in 0..KEYS {
            let (codes, exponents) = rows.key(key);
            let lowest = exponents.into_iter().fold(u8::MAX, u8::min);
            let regular = exponents.iter().all(|e| e - lowest <= MAX_SHIFT)
                && (MIN_EXPONENT..=MAX_EXPONENT).contains(&(lowest as u32));
            self.irregular |= (!regular as u64) << key;
            // Integers are twice the E2M1 values.
            self.scales[key] = power((lowest as u32).max(1) - 1);
            for (word, codes) in codes.chunks_exact(4).enumerate() {
                let shift = (exponents[word / 4] - lowest).min(MAX_SHIFT);
                let integers = |high: u32| {
                    u32::from_le_bytes(std::array::from_fn(|i| {
                        let value = TABLE[(codes[i] >> high & 15) as usize] as i32 - 16;
                        ((value << shift) + OFFSET) as u8
                    }))
                };
                self.codes[2 * word][key] = integers(0);
                self.codes[2 * word + 1][key] = integers(4);
            }
        }
    }
}

/// [`KEYS`] packed rows, checked once.
pub(super) struct PackedKeys<'a> {
    bytes: &'a [u8],
    width: usize,
}

impl<'a> PackedKeys<'a> {
    fn new(bytes: &'a [u8], width: usize) -> Self {
        let format = RowFormat::IndexKey { width };
        assert!(have_integers(format) && bytes.len() >= KEYS * format.bytes());
        Self { bytes, width }
    }

    /// [`KEYS`] rows of [`Self::stride`] bytes.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Bytes of a row: [`Self::groups`] times sixteen of codes, and as many of scales as there are groups.
    pub(super) fn stride(&self) -> usize {
        self.width / 2 + self.groups()
    }

    /// Groups of 32 elements, one to four.
    pub(super) fn groups(&self) -> usize {
        self.width / GROUP
    }

    /// Which of a row's last four bytes is each group's scale; what is missing from four groups repeats the last.
    pub(super) fn scale_order(&self) -> [u8; 4] {
        let first = 4 - self.groups() as u8;
        [0, 1, 2, 3].map(|group| (first + group).min(3))
    }

    /// A key's codes, and its groups' scale bytes.
    fn key(&self, key: usize) -> (&'a [u8], [u8; 4]) {
        let row = &self.bytes[key * self.stride()..][..self.stride()];
        let last = &row[row.len() - 4..];
        (
            &row[..self.width / 2],
            self.scale_order().map(|i| last[i as usize]),
        )
    }
}

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
pub(super) struct Query {
    tiles: Vec<Tile>,
    rows: usize,
    /// Whether some head takes two rows.
    split: bool,
}

impl Query {
    /// Takes the heads of one query: `q` is `[heads, width]`, `weights` is `[heads]`. False if they have no integer
    /// form.
    pub(super) fn set(&mut self, isa: Isa, q: &[f32], weights: &[f32], width: usize) -> bool {
        self.tiles.clear();
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
    fn set_query = set_query_body(query: &mut Query, q: &[f32], weights: &[f32], width: usize) -> bool
}

#[inline(always)]
fn set_query_body(query: &mut Query, q: &[f32], weights: &[f32], width: usize) -> bool {
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
    let weight = weight.abs() * power(unit);
    (MIN_EXPONENT..=MAX_EXPONENT).contains(&unit)
        && (weight == 0.0 || (MAX_WEIGHT.recip()..=MAX_WEIGHT).contains(&weight))
}

/// 2^(`exponent` − 127), for exponents of normal numbers.
#[inline(always)]
fn power(exponent: u32) -> f32 {
    f32::from_bits(exponent << 23)
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
