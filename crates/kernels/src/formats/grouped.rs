//! Grouped integers: our own format for re-quantised weights. Along a row, 32 integers of 4, 5, 6 or 8 bits share a
//! scale of one byte, and all groups of the row share a binary32:
//!
//! `value = (code − 2^(bits−1)) · (group scale · row scale)`
//!
//! with one rounding to binary32 at each product. [`encode_row`] makes the row scale a power of two, so neither rounds
//! in what Fathom writes. Rows have a multiple of 128 columns; a row's codes are planes, each as long as the row, and
//! where a plane splits even from odd columns it does so within blocks of 128 columns:
//!
//! | bits | planes |
//! |---|---|
//! | 8 | 64 bytes of even columns, then 64 bytes of odd ones, for each block |
//! | 4 | nibbles: byte i holds column 2i in its low half and column 2i + 1 in its high half |
//! | 5 | nibbles of the low four bits, then bit 4: 8 bytes of even columns (bit i: column 2i), then 8 of odd ones, for each block |
//! | 6 | as 5, then bit 5 in a third plane |
//!
//! Even and odd columns lie apart because that is how nibbles come out of a register.

/// Columns that share a group scale.
pub const GROUP: usize = 32;

/// Rows have a multiple of this many columns.
pub const BLOCK: usize = 128;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bits {
    /// −7 … 7.
    Four,
    /// −15 … 15.
    Five,
    /// −31 … 31.
    Six,
    /// −127 … 127.
    Eight,
}

impl Bits {
    /// Every width, narrowest first.
    pub const ALL: [Self; 4] = [Self::Four, Self::Five, Self::Six, Self::Eight];

    /// How many bits.
    pub const fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Five => 5,
            Self::Six => 6,
            Self::Eight => 8,
        }
    }

    /// The code of zero.
    pub const fn bias(self) -> u8 {
        1 << (self.count() - 1)
    }

    /// The largest magnitude that is written. The range is symmetric: code 0 stays unused.
    pub const fn max(self) -> u8 {
        self.bias() - 1
    }

    /// Bytes of the codes of a row of `cols` columns, scales apart.
    pub const fn row_bytes(self, cols: usize) -> usize {
        cols / 8 * self.count()
    }

    /// The width at which `cols` columns take so many bytes, if there is one.
    pub fn of_row(cols: usize, row_bytes: usize) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|bits| cols.is_multiple_of(BLOCK) && bits.row_bytes(cols) == row_bytes)
    }

    /// Bits above the nibble.
    const fn high_planes(self) -> usize {
        match self {
            Self::Four | Self::Eight => 0,
            Self::Five => 1,
            Self::Six => 2,
        }
    }
}

/// A group scale: five bits of exponent above three of mantissa, 2^(e−15) · (1 + m/8), no zero, nothing special.
/// From 2^−15 to 122,880.
#[inline(always)]
pub fn scale_value(byte: u8) -> f32 {
    f32::from_bits(((byte as u32) << 20) + (112 << 23))
}

/// The smallest group scale that is not below `x` (not NaN), or the largest there is.
fn scale_ceil(x: f32) -> u8 {
    let above_smallest = x.max(scale_value(0)).to_bits() - (112 << 23);
    above_smallest.div_ceil(1 << 20).min(255) as u8
}

/// Decodes `out.len()` columns of one row from column `from` on, both multiples of 128. `codes` and `scales` are the
/// whole row's.
#[inline(always)]
pub fn decode_row(bits: Bits, codes: &[u8], scales: &[u8], row_scale: f32, from: usize, out: &mut [f32]) {
    let cols = scales.len() * GROUP;
    debug_assert!(codes.len() == bits.row_bytes(cols) && from.is_multiple_of(BLOCK));
    let bias = bits.bias() as f32;
    for (block, out) in (from / BLOCK..).zip(out.chunks_exact_mut(BLOCK)) {
        let mut block_codes = [0; BLOCK];
        read_block(bits, codes, cols, block, &mut block_codes);
        let scales = &scales[block * (BLOCK / GROUP)..][..BLOCK / GROUP];
        for ((out, codes), &scale) in out
            .chunks_exact_mut(GROUP)
            .zip(block_codes.chunks_exact(GROUP))
            .zip(scales)
        {
            let scale = scale_value(scale) * row_scale;
            for (x, &code) in out.iter_mut().zip(codes) {
                *x = (code as f32 - bias) * scale;
            }
        }
    }
}

/// The codes of one block, in the order of columns.
#[inline(always)]
pub(crate) fn read_block(bits: Bits, codes: &[u8], cols: usize, block: usize, out: &mut [u8; BLOCK]) {
    const HALF: usize = BLOCK / 2;
    if bits == Bits::Eight {
        let (even, odd) = codes[block * BLOCK..][..BLOCK].split_at(HALF);
        for (pair, (&even, &odd)) in out.chunks_exact_mut(2).zip(even.iter().zip(odd)) {
            pair.copy_from_slice(&[even, odd]);
        }
        return;
    }
    let nibbles = &codes[block * HALF..][..HALF];
    for (pair, &byte) in out.chunks_exact_mut(2).zip(nibbles) {
        pair.copy_from_slice(&[byte & 15, byte >> 4]);
    }
    for plane in 0..bits.high_planes() {
        let [even, odd] = high_bits(codes, cols, plane, block);
        for (i, pair) in out.chunks_exact_mut(2).enumerate() {
            pair[0] |= ((even >> i) as u8 & 1) << (4 + plane);
            pair[1] |= ((odd >> i) as u8 & 1) << (4 + plane);
        }
    }
}

/// One bit plane's even and odd columns of a block.
#[inline(always)]
fn high_bits(codes: &[u8], cols: usize, plane: usize, block: usize) -> [u64; 2] {
    let at = high_bits_at(cols, plane, block);
    [at, at + 8].map(|at| {
        codes[at..at + 8]
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    })
}

/// Where [`high_bits`] start in a row's codes.
const fn high_bits_at(cols: usize, plane: usize, block: usize) -> usize {
    cols / 2 + plane * (cols / 8) + block * (BLOCK / 8)
}

fn write_block(bits: Bits, block_codes: &[u8; BLOCK], cols: usize, block: usize, codes: &mut [u8]) {
    const HALF: usize = BLOCK / 2;
    let pairs = block_codes.as_chunks::<2>().0;
    if bits == Bits::Eight {
        let (evens, odds) = codes[block * BLOCK..][..BLOCK].split_at_mut(HALF);
        for (&[even, odd], (to_even, to_odd)) in pairs.iter().zip(evens.iter_mut().zip(odds)) {
            (*to_even, *to_odd) = (even, odd);
        }
        return;
    }
    for (&[even, odd], byte) in pairs.iter().zip(&mut codes[block * HALF..][..HALF]) {
        *byte = even & 15 | odd << 4;
    }
    for plane in 0..bits.high_planes() {
        let mut words = [0u64; 2];
        for (i, pair) in pairs.iter().enumerate() {
            for (word, code) in words.iter_mut().zip(pair) {
                *word |= u64::from(code >> (4 + plane) & 1) << i;
            }
        }
        let at = high_bits_at(cols, plane, block);
        codes[at..at + 8].copy_from_slice(&words[0].to_le_bytes());
        codes[at + 8..at + 16].copy_from_slice(&words[1].to_le_bytes());
    }
}

/// Group scales tried around the one that reaches a group's largest weight: clipping the largest a little can pay by a
/// finer grid for all others, and the next grid may happen to fit.
const SCALES_BELOW: u8 = 5;
const SCALES_ABOVE: u8 = 1;

/// Quantises a row (a multiple of 128 finite weights) into `codes` ([`Bits::row_bytes`]) and `scales` (one per 32), and
/// returns the row scale: a power of two that puts the largest group scale near the top of its range. Each group takes
/// the scale of least squared error.
///
/// # Panics
/// When the lengths do not fit together.
pub fn encode_row(bits: Bits, weights: &[f32], codes: &mut [u8], scales: &mut [u8]) -> f32 {
    let cols = weights.len();
    assert!(
        cols.is_multiple_of(BLOCK),
        "{cols} columns are no multiple of {BLOCK}"
    );
    assert_eq!(codes.len(), bits.row_bytes(cols));
    assert_eq!(scales.len(), cols / GROUP);
    let row_scale = row_scale(bits, weights);
    let per_block = scales.chunks_exact_mut(BLOCK / GROUP);
    for (block, (weights, scales)) in weights.chunks_exact(BLOCK).zip(per_block).enumerate() {
        let mut block_codes = [0; BLOCK];
        for ((weights, codes), scale) in weights
            .as_chunks()
            .0
            .iter()
            .zip(block_codes.as_chunks_mut().0)
            .zip(scales)
        {
            *scale = encode_group(bits, weights, row_scale, codes);
        }
        write_block(bits, &block_codes, cols, block, codes);
    }
    row_scale
}

fn amax(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// The power of two that leaves the largest group scale in the upper half of its exponents' last but one octave.
fn row_scale(bits: Bits, weights: &[f32]) -> f32 {
    const TOP_EXPONENT: u32 = 15;
    let largest = amax(weights) / bits.max() as f32;
    if largest == 0.0 {
        return 1.0;
    }
    // The biased exponent, kept normal.
    let exponent = (largest.to_bits() >> 23).saturating_sub(TOP_EXPONENT).max(1);
    f32::from_bits(exponent << 23)
}

/// The best scale byte of a group, and its codes.
fn encode_group(bits: Bits, weights: &[f32; GROUP], row_scale: f32, codes: &mut [u8; GROUP]) -> u8 {
    let reaching = scale_ceil(amax(weights) / bits.max() as f32 / row_scale);
    let lowest = reaching.saturating_sub(SCALES_BELOW);
    let highest = reaching.saturating_add(SCALES_ABOVE);
    let (mut best, mut best_error) = (reaching, f32::INFINITY);
    for byte in (lowest..=highest).rev() {
        // In units of the largest scale's grid: the squares of small weights would vanish.
        let unit = scale_value(byte) / scale_value(reaching);
        let error = squared_error(bits, weights, scale_value(byte) * row_scale) * (unit * unit);
        if error < best_error {
            (best, best_error) = (byte, error);
        }
    }
    let scale = scale_value(best) * row_scale;
    for (code, &weight) in codes.iter_mut().zip(weights) {
        *code = (nearest(bits, weight, scale) + bits.bias() as f32) as u8;
    }
    best
}

/// The squared error of a group in units of `scale`.
fn squared_error(bits: Bits, weights: &[f32; GROUP], scale: f32) -> f32 {
    // Sixteen sums, so that a machine with vectors can use them; the order is fixed.
    const SUMS: usize = 16;
    let mut sums = [0.0f32; SUMS];
    for weights in weights.as_chunks::<SUMS>().0 {
        for (sum, &weight) in sums.iter_mut().zip(weights) {
            let error = weight / scale - nearest(bits, weight, scale);
            *sum += error * error;
        }
    }
    sums.iter().sum()
}

/// The integer nearest to `weight / scale` in range, ties to even.
#[inline(always)]
fn nearest(bits: Bits, weight: f32, scale: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds: an ulp of binary32 is 1 there.
    const ROUNDER: f32 = 12_582_912.0;
    let max = bits.max() as f32;
    ((weight / scale).clamp(-max, max) + ROUNDER) - ROUNDER
}

#[cfg(test)]
mod tests;
