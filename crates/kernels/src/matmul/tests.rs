use super::*;
use crate::formats::e4m3;
use crate::formats::grouped::{self, Bits};
use crate::matrix::{Elements, Fp8Scales};
use proptest::prelude::*;

/// Random bytes of every format for a `[rows, cols]` matrix, NaN codes included where asked.
struct Bytes {
    f32: Vec<u8>,
    bf16: Vec<u8>,
    fp8: Vec<u8>,
    fp4: Vec<u8>,
    block_scales: Vec<u8>,
    group_scales: Vec<u8>,
    /// Long enough for every width, with scales per group and per row.
    grouped: Vec<u8>,
    grouped_scales: Vec<u8>,
    row_scales: Vec<u8>,
}

fn noise(seed: &mut u64) -> u64 {
    // SplitMix64: small, seedable, good enough to fill weights.
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn floats(seed: &mut u64, n: usize) -> Vec<f32> {
    (0..n)
        .map(|_| (noise(seed) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

impl Bytes {
    fn new(seed: u64, rows: usize, cols: usize) -> Self {
        let mut seed = seed;
        let weights = floats(&mut seed, rows * cols);
        let bytes = |seed: &mut u64, n: usize| (0..n).map(|_| noise(seed) as u8).collect::<Vec<u8>>();
        let scales =
            |seed: &mut u64, n: usize| (0..n).map(|_| 120 + (noise(seed) % 8) as u8).collect::<Vec<u8>>();
        Self {
            f32: weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
            bf16: weights
                .iter()
                .flat_map(|&w| bf16::to_bits(w).to_le_bytes())
                .collect(),
            fp8: bytes(&mut seed, rows * cols)
                .into_iter()
                .map(|code| if code & 0x7F == 0x7F { code ^ 1 } else { code })
                .collect(),
            fp4: bytes(&mut seed, rows * cols / 2),
            block_scales: scales(&mut seed, rows.div_ceil(128) * cols.div_ceil(128)),
            group_scales: scales(&mut seed, rows * cols / 32),
            grouped: bytes(&mut seed, rows * cols),
            grouped_scales: bytes(&mut seed, rows * cols / 32),
            row_scales: floats(&mut seed, rows)
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
        }
    }

    fn matrices(&self, rows: usize, cols: usize) -> Vec<Matrix<'_>> {
        let mut elements = vec![
            Elements::F32(&self.f32),
            Elements::Bf16(&self.bf16),
            Elements::Fp8 {
                codes: &self.fp8,
                scales: Fp8Scales::Ue8m0(&self.block_scales),
            },
        ];
        if cols.is_multiple_of(32) {
            elements.push(Elements::Fp4 {
                codes: &self.fp4,
                scales: &self.group_scales,
            });
        }
        if cols.is_multiple_of(grouped::BLOCK) {
            elements.extend(Bits::ALL.map(|bits| Elements::Grouped {
                bits,
                codes: &self.grouped[..rows * bits.row_bytes(cols)],
                scales: &self.grouped_scales,
                row_scales: &self.row_scales,
            }));
        }
        elements
            .into_iter()
            .map(|elements| Matrix { rows, cols, elements })
            .collect()
    }
}

fn product(isa: Isa, threads: usize, matrix: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / matrix.cols * matrix.rows];
    multiply_with(isa, &mut Team::new(threads), &[Product::new(matrix, x, &mut y)]);
    y
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The numeric contract: a row's bits depend on neither instruction set, threads nor company.
    #[test]
    fn a_row_has_the_same_bits_in_any_company(seed: u64, rows in 1usize..70, cols in 1usize..1400, t in 1usize..11) {
        let bytes = Bytes::new(seed, rows, cols);
        let mut seed = seed ^ 1;
        let x = floats(&mut seed, t * cols);
        for matrix in bytes.matrices(rows, cols) {
            let alone: Vec<f32> = x.chunks(cols).flat_map(|row| product(Isa::Scalar, 1, matrix, row)).collect();
            for isa in isa::available() {
                for threads in [1, 2, 3] {
                    prop_assert_eq!(&product(isa, threads, matrix, &x), &alone, "{:?}, {} threads", isa, threads);
                }
            }
        }
    }

    #[test]
    fn the_product_is_close_to_float64(seed: u64, rows in 1usize..20, blocks in 1usize..40) {
        let cols = blocks * 32;
        let bytes = Bytes::new(seed, rows, cols);
        let mut seed = seed ^ 2;
        let x = floats(&mut seed, cols);
        for matrix in bytes.matrices(rows, cols) {
            let y = product(isa::detected(), 2, matrix, &x);
            let mut row = vec![0.0; cols];
            for r in 0..rows {
                matrix.decode(r, 0, &mut row);
                let exact: f64 = row.iter().zip(&x).map(|(&w, &x)| w as f64 * x as f64).sum();
                let size: f64 = row.iter().zip(&x).map(|(&w, &x)| (w as f64 * x as f64).abs()).sum();
                prop_assert!((y[r] as f64 - exact).abs() <= size * 1e-6 + 1e-12);
            }
        }
    }
}

#[test]
fn vector_decoding_gives_the_scalar_bits() {
    let (rows, cols) = (130, 384);
    let mut bytes = Bytes::new(7, rows, cols);
    // All FP8 codes, NaN too, and all scale bytes.
    for (i, code) in bytes.fp8.iter_mut().enumerate() {
        *code = i as u8;
    }
    for (i, scale) in bytes.group_scales.iter_mut().enumerate() {
        *scale = i as u8;
    }
    for scales in [vec![0u8; 6], vec![1, 119, 127, 128, 253, 254], vec![255; 6]] {
        bytes.block_scales = scales;
        for matrix in bytes.matrices(rows, cols) {
            for row in 0..rows {
                let (mut expected, mut found) = (vec![0.0; 256], vec![0.0; 256]);
                matrix.decode(row, 128, &mut expected);
                for isa in isa::available() {
                    decode(isa, &matrix, row, 128, &mut found);
                    let same =
                        |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                    assert!(expected.iter().zip(&found).all(same), "{isa:?} row {row}");
                }
            }
        }
    }
    assert!(e4m3::VALUES[0x7F].is_nan());
}

#[test]
fn a_block_diagonal_product_keeps_groups_apart() {
    let (groups, r, cols, t) = (3, 20, 64, 5);
    let bytes = Bytes::new(3, groups * r, cols);
    let mut seed = 4;
    let x = floats(&mut seed, t * groups * cols);
    for matrix in bytes.matrices(groups * r, cols) {
        let mut y = vec![0.0; t * groups * r];
        let products: Vec<_> = Product::block_diagonal(matrix, groups, &x, &mut y).collect();
        multiply(&mut Team::new(2), &products);
        drop(products);
        for row in 0..t {
            for group in 0..groups {
                let x = &x[(row * groups + group) * cols..][..cols];
                let all = product(Isa::Scalar, 1, matrix, x);
                assert_eq!(y[(row * groups + group) * r..][..r], all[group * r..][..r]);
            }
        }
    }
}

#[test]
fn rounding_happens_once_at_the_end() {
    let (rows, cols) = (9, 2080);
    let bytes = Bytes::new(11, rows, cols);
    let mut seed = 12;
    let x = floats(&mut seed, 2 * cols);
    let matrix = bytes.matrices(rows, cols)[0];
    let exact = product(isa::detected(), 1, matrix, &x);
    let mut rounded = vec![0.0; exact.len()];
    multiply(
        &mut Team::new(2),
        &[Product::new(matrix, &x, &mut rounded).rounded(true)],
    );
    assert_eq!(rounded, exact.iter().map(|&y| bf16::round(y)).collect::<Vec<_>>());
}
