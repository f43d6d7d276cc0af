use super::*;
use crate::formats::grouped::Bits;
use crate::formats::ue8m0;
use crate::isa;
use crate::matrix::{Elements, Fp8Scales, Matrix};
use crate::team::Team;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.next() as f32 / (1u64 << 30) as f32 - 1.0) * (1.0 + (self.next() % 7) as f32))
            .collect()
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// A matrix in every kind of storage, as owned bytes.
struct Stored {
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    row_scales: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fp4,
    Fp8,
    Fp8UnderFloats,
    Grouped(Bits),
}

impl Kind {
    /// All that can have so many columns.
    fn all(cols: usize) -> impl Iterator<Item = Self> {
        let grouped = Bits::ALL.into_iter().map(Self::Grouped);
        [Self::Fp4, Self::Fp8, Self::Fp8UnderFloats]
            .into_iter()
            .chain(grouped)
            .filter(move |kind| cols.is_multiple_of(128) || !matches!(kind, Self::Grouped(_)))
    }
}

impl Stored {
    fn new(noise: &mut Noise, rows: usize, cols: usize, kind: Kind) -> Self {
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

    fn matrix(&self) -> Matrix<'_> {
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

/// The product by one version, in items of the size it chooses or of the size given.
fn run(isa: isa::Isa, matrix: Matrix<'_>, x: Int8View<'_>, scratch: &mut Scratch) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.rows() * matrix.rows];
    let product = Int8Product {
        matrix,
        first_row: 0,
        x,
        y: Disjoint::new(&mut y),
        y_stride: matrix.rows,
    };
    let step = product.rows_per_item();
    for from in (0..matrix.rows).step_by(step) {
        product.compute(isa, from, step.min(matrix.rows - from), scratch);
    }
    y
}

#[test]
fn every_version_gives_the_same_bits_for_any_number_of_inputs() {
    let mut noise = Noise(3);
    let mut scratch = Scratch::default();
    for (rows, cols) in [
        (1, 32),
        (5, 96),
        (37, 128),
        (70, 1024),
        (33, 1216),
        (130, 2080),
        (16, 4096),
        (200, 64),
    ] {
        for kind in Kind::all(cols) {
            let stored = Stored::new(&mut noise, rows, cols, kind);
            let x = noise.floats(15 * cols);
            let mut inputs = Int8Inputs::default();
            inputs.quantise(&mut Team::new(1), &x, cols);
            let expected = run(isa::Isa::Scalar, stored.matrix(), inputs.all(), &mut scratch);
            for isa in isa::available() {
                let found = run(isa, stored.matrix(), inputs.all(), &mut scratch);
                assert_eq!(found, expected, "{isa:?}, {kind:?}, {rows} x {cols}");
                for chosen in [&[3u32][..], &[7, 2], &[0, 14, 3], &[1, 2, 3, 4, 5, 6, 7, 8]] {
                    let mut some = Int8Inputs::default();
                    some.gather(&mut Team::new(1), &inputs, chosen, &[0, chosen.len() as u32]);
                    let found = run(isa, stored.matrix(), some.all(), &mut scratch);
                    for (i, &row) in chosen.iter().enumerate() {
                        assert_eq!(
                            found[i * rows..][..rows],
                            expected[row as usize * rows..][..rows],
                            "{isa:?}, {kind:?}, {rows} x {cols}, {chosen:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Against float64 on the dequantised weights: what remains is the rounding of inputs to eight bits and, for E4M3, of
/// weights to a quarter of their value.
#[test]
fn products_are_close_to_the_exact_ones() {
    let mut noise = Noise(5);
    let (rows, cols) = (24, 2048);
    for kind in Kind::all(cols) {
        let stored = Stored::new(&mut noise, rows, cols, kind);
        let x = noise.floats(cols);
        let mut inputs = Int8Inputs::default();
        inputs.quantise(&mut Team::new(1), &x, cols);
        let found = run(
            isa::detected(),
            stored.matrix(),
            inputs.all(),
            &mut Scratch::default(),
        );
        let mut row = vec![0.0; cols];
        let (mut error, mut size) = (0.0, 0.0);
        for (r, found) in found.iter().enumerate() {
            stored.matrix().decode(r, 0, &mut row);
            let exact: f64 = row
                .iter()
                .zip(&x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            error += (f64::from(*found) - exact).powi(2);
            size += exact.powi(2);
        }
        assert!(
            (error / size).sqrt() < 0.02,
            "{kind:?}: {}",
            (error / size).sqrt()
        );
    }
}

/// A sum of many products that float32 could not hold exactly at once is still the same in every order of groups.
#[test]
fn a_scale_beyond_range_shows() {
    let stored = Stored {
        rows: 4,
        cols: 128,
        codes: vec![0x22; 4 * 64],
        scales: vec![255; 16],
        row_scales: Vec::new(),
        kind: Kind::Fp4,
    };
    assert!(ue8m0::value(255).is_nan());
    let mut inputs = Int8Inputs::default();
    inputs.quantise(&mut Team::new(1), &[1.0; 128], 128);
    for isa in isa::available() {
        let y = run(isa, stored.matrix(), inputs.all(), &mut Scratch::default());
        assert!(y.iter().all(|y| !y.is_finite()), "{isa:?}");
    }
}
