//! Rows of cached state, packed at the precision the model was trained with (spec §7.1).

use crate::formats::{bf16, e2m1, e4m3, ue8m0};
use crate::isa::Isa;
use crate::matmul;
use crate::quant::KV_BLOCK;

/// How a row is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// `width` little-endian binary32.
    F32 {
        /// Elements of a row.
        width: usize,
    },
    /// A KV entry: `nope` E4M3 codes, `rope` BF16, one UE8M0 scale for each 64 codes, padding to a multiple of eight
    /// bytes; 584 bytes for 448 + 64.
    Kv {
        /// Elements that are not rotated.
        nope: usize,
        /// Rotated elements.
        rope: usize,
    },
    /// An indexer key: `width / 2` bytes of E2M1 codes, one UE8M0 scale for each 32; 68 bytes for 128.
    IndexKey {
        /// Elements of a key.
        width: usize,
    },
}

impl RowFormat {
    /// Elements of a row.
    pub fn width(self) -> usize {
        match self {
            Self::F32 { width } | Self::IndexKey { width } => width,
            Self::Kv { nope, rope } => nope + rope,
        }
    }

    /// Bytes of a row.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 { width } => 4 * width,
            Self::Kv { nope, rope } => (nope + 2 * rope + nope.div_ceil(KV_BLOCK)).next_multiple_of(8),
            Self::IndexKey { width } => width.div_ceil(2) + width.div_ceil(e2m1::GROUP),
        }
    }

    /// Packs a row. Values that have been through the format's round trip come back bit for bit; the sign of a zero
    /// under E2M1 and E4M3 is kept.
    pub fn pack(self, row: &[f32], out: &mut [u8]) {
        assert_eq!((row.len(), out.len()), (self.width(), self.bytes()));
        match self {
            Self::F32 { .. } => {
                for (bytes, x) in out.chunks_exact_mut(4).zip(row) {
                    bytes.copy_from_slice(&x.to_le_bytes());
                }
            }
            Self::Kv { nope, rope } => {
                let (codes, rest) = out.split_at_mut(nope);
                let (rotated, scales) = rest.split_at_mut(2 * rope);
                let blocks = row[..nope].chunks(KV_BLOCK).zip(codes.chunks_mut(KV_BLOCK));
                for ((x, codes), scale) in blocks.zip(scales.iter_mut()) {
                    *scale = e4m3::block_scale(x.iter().fold(0.0f32, |m, x| m.max(x.abs())));
                    let down = ue8m0::reciprocal(*scale);
                    for (code, x) in codes.iter_mut().zip(x) {
                        *code = e4m3::encode(x * down);
                    }
                }
                scales[nope.div_ceil(KV_BLOCK)..].fill(0);
                for (bytes, x) in rotated.chunks_exact_mut(2).zip(&row[nope..]) {
                    bytes.copy_from_slice(&bf16::to_bits(*x).to_le_bytes());
                }
            }
            Self::IndexKey { width } => {
                let (codes, scales) = out.split_at_mut(width.div_ceil(2));
                codes.fill(0);
                for ((g, x), scale) in row.chunks(e2m1::GROUP).enumerate().zip(scales) {
                    *scale = e2m1::group_scale(x.iter().fold(0.0f32, |m, x| m.max(x.abs())));
                    let down = ue8m0::reciprocal(*scale);
                    for (i, x) in x.iter().enumerate() {
                        let at = g * e2m1::GROUP + i;
                        codes[at / 2] |= e2m1::encode(x * down) << (4 * (at % 2));
                    }
                }
            }
        }
    }

    /// Unpacks a row; exact.
    pub(crate) fn unpack(self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 { .. } => {
                for (bytes, x) in bytes.chunks_exact(4).zip(out) {
                    *x = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
            Self::Kv { nope, rope } => {
                let (codes, rotated, scales) = kv_parts(nope, rope, bytes);
                let blocks = out[..nope].chunks_mut(KV_BLOCK).zip(codes.chunks(KV_BLOCK));
                for ((x, codes), &scale) in blocks.zip(scales) {
                    matmul::decode_e4m3(isa, codes, ue8m0::value(scale), x);
                }
                for (x, bytes) in out[nope..].iter_mut().zip(rotated.chunks_exact(2)) {
                    *x = bf16::from_bits(u16::from_le_bytes([bytes[0], bytes[1]]));
                }
            }
            Self::IndexKey { width } => {
                let (codes, scales) = bytes.split_at(width.div_ceil(2));
                for ((g, x), &scale) in out.chunks_mut(e2m1::GROUP).enumerate().zip(scales) {
                    let scale = ue8m0::value(scale);
                    for (i, x) in x.iter_mut().enumerate() {
                        let at = g * e2m1::GROUP + i;
                        *x = e2m1::VALUES[(codes[at / 2] >> (4 * (at % 2)) & 15) as usize] * scale;
                    }
                }
            }
        }
    }
}

/// E4M3 codes, BF16 values and scales of a packed KV entry.
pub(crate) fn kv_parts(nope: usize, rope: usize, row: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (codes, rest) = row.split_at(nope);
    let (rotated, scales) = rest.split_at(2 * rope);
    (codes, rotated, scales)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa;
    use crate::quant::{hadamard_e2m1_round_trip, kv_round_trip};
    use crate::team::Team;

    fn noise(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|i| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                bf16::round(unit * ((i % 23) as f32 - 12.0).exp2())
            })
            .collect()
    }

    /// Spec §7.1.
    #[test]
    fn the_sizes_of_the_specification() {
        assert_eq!(RowFormat::Kv { nope: 448, rope: 64 }.bytes(), 584);
        assert_eq!(RowFormat::IndexKey { width: 128 }.bytes(), 68);
    }

    #[test]
    fn packing_keeps_what_the_round_trip_left() {
        let mut team = Team::new(1);
        for (seed, (nope, rope)) in [(448, 64), (96, 32), (48, 16), (7, 2)].into_iter().enumerate() {
            for round in 0..50 {
                let mut row = noise(nope + rope, (seed * 100 + round) as u64);
                if round == 0 {
                    row.fill(0.0);
                }
                kv_round_trip(&mut team, &mut row, nope + rope, nope);
                let format = RowFormat::Kv { nope, rope };
                let mut packed = vec![9; format.bytes()];
                format.pack(&row, &mut packed);
                for isa in isa::available() {
                    let mut back = vec![0.0; nope + rope];
                    format.unpack(isa, &packed, &mut back);
                    assert_eq!(back, row);
                }
            }
        }
        for width in [16, 32, 64, 128] {
            for seed in 0..50 {
                let mut row = noise(width, seed);
                hadamard_e2m1_round_trip(&mut team, &mut row, width);
                let format = RowFormat::IndexKey { width };
                let mut packed = vec![9; format.bytes()];
                format.pack(&row, &mut packed);
                let mut back = vec![0.0; width];
                format.unpack(isa::detected(), &packed, &mut back);
                assert_eq!(back, row);
            }
        }
    }
}
