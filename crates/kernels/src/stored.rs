//! Matrices of noise in every kind of storage, for tests.

use crate::formats::grouped::Bits;
use crate::matrix::{Elements, Fp8Scales, Matrix};

/// Noise that is the same in every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.next() as f32 / (1u64 << 30) as f32 - 1.0) * (1.0 + (self.next() % 7) as f32))
            .collect()
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A matrix in every kind of storage, as owned bytes.
pub(crate) struct Stored {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<u8>,
    pub(crate) row_scales: Vec<u8>,
    pub(crate) kind: Kind,
}

/// The kinds of storage that products with quantised weights know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Fp4,
    Fp8,
    Fp8UnderFloats,
    Grouped(Bits),
}

impl Kind {
    /// All that can have so many columns.
    pub(crate) fn all(cols: usize) -> impl Iterator<Item = Self> {
        let grouped = Bits::ALL.into_iter().map(Self::Grouped);
        [Self::Fp4, Self::Fp8, Self::Fp8UnderFloats]
            .into_iter()
            .chain(grouped)
            .filter(move |kind| cols.is_multiple_of(128) || !matches!(kind, Self::Grouped(_)))
    }
}

impl Stored {
    pub(crate) fn new(noise: &mut Noise, rows: usize, cols: usize, kind: Kind) -> Self {
        let blocks = rows.div_ceil(128) * cols.div_ceil(128);
        let exponents =
            |noise: &mut Noise, n: usize| (0..n).map(|_| 120 + (noise.next() % 8) as u8).collect();
        let mut row_scales = Vec::new();
        let (codes, scales) = match kind {
            Kind::Fp4 => (noise.bytes(rows * cols / 2), exponents(noise, rows * cols / 32)),
            Kind::Fp8 | Kind::Fp8UnderFloats => {
                let mut codes = noise.bytes(rows * cols);
                // NaN has no place in a checkpoint.
                codes
                    .iter_mut()
                    .filter(|code| **code & 0x7F == 0x7F)
                    .for_each(|code| *code -= 1);
                let scales = if kind == Kind::Fp8 {
                    exponents(noise, blocks)
                } else {
                    (0..blocks)
                        .flat_map(|_| (0.1f32 + (noise.next() % 100) as f32).to_le_bytes())
                        .collect()
                };
                (codes, scales)
            }
            Kind::Grouped(bits) => {
                row_scales = (0..rows)
                    .flat_map(|_| (0.3f32 + (noise.next() % 9) as f32).to_le_bytes())
                    .collect();
                let mut codes = noise.bytes(rows * bits.row_bytes(cols));
                if bits == Bits::Eight {
                    // Code 0, −128, is not written.
                    codes.iter_mut().for_each(|code| *code = (*code).max(1));
                }
                (codes, noise.bytes(rows * cols / 32))
            }
        };
        Self {
            rows,
            cols,
            codes,
            scales,
            row_scales,
            kind,
        }
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let (codes, scales) = (&*self.codes, &*self.scales);
        let elements = match self.kind {
            Kind::Fp4 => Elements::Fp4 { codes, scales },
            Kind::Fp8 => Elements::Fp8 {
                codes,
                scales: Fp8Scales::Ue8m0(scales),
            },
            Kind::Fp8UnderFloats => Elements::Fp8 {
                codes,
                scales: Fp8Scales::F32(scales),
            },
            Kind::Grouped(bits) => Elements::Grouped {
                bits,
                codes,
                scales,
                row_scales: &self.row_scales,
            },
        };
        Matrix {
            rows: self.rows,
            cols: self.cols,
            elements,
        }
    }
}
