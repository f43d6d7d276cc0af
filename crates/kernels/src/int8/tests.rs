use super::*;
use crate::formats::ue8m0;
use crate::isa;
use crate::matrix::Matrix;
use crate::stored::{Kind, Noise, Stored};
use crate::team::Team;

/// A version: how integers are multiplied, and at what level the rest runs.
type Version = (Integers, Isa);

/// What the others are compared with.
const SCALAR: Version = (Integers::Plain, Isa::Scalar);

/// Every version that this machine can run, the ones that it would not choose too.
fn versions() -> Vec<Version> {
    let mut versions: Vec<_> = isa::available().map(|isa| (isa::integers(isa), isa)).collect();
    #[cfg(target_arch = "x86_64")]
    if isa::available().any(|isa| isa == Isa::Avx2) && !versions.contains(&(Integers::Avx2, Isa::Avx2)) {
        versions.push((Integers::Avx2, Isa::Avx2));
    }
    versions
}

/// The product by one version, in items of the size it chooses or of the size given.
fn run(version: Version, matrix: Matrix<'_>, x: Int8View<'_>, scratch: &mut Scratch) -> Vec<f32> {
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
        let rows = step.min(matrix.rows - from);
        product.compute_by(version.0, version.1, from, rows, scratch);
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
            let expected = run(SCALAR, stored.matrix(), inputs.all(), &mut scratch);
            for version in versions() {
                let found = run(version, stored.matrix(), inputs.all(), &mut scratch);
                assert_eq!(found, expected, "{version:?}, {kind:?}, {rows} x {cols}");
                for chosen in [
                    &[3u32][..],
                    &[7, 2],
                    &[0, 14, 3],
                    &[4, 4, 9, 1],
                    &[5, 0, 11, 2, 13],
                    &[8, 7, 6, 5, 4, 3],
                    &[10, 12, 14, 0, 2, 4, 6],
                    &[1, 2, 3, 4, 5, 6, 7, 8],
                ] {
                    let mut some = Int8Inputs::default();
                    some.gather(&mut Team::new(1), &inputs, chosen, &[0, chosen.len() as u32]);
                    let found = run(version, stored.matrix(), some.all(), &mut scratch);
                    for (i, &row) in chosen.iter().enumerate() {
                        assert_eq!(
                            found[i * rows..][..rows],
                            expected[row as usize * rows..][..rows],
                            "{version:?}, {kind:?}, {rows} x {cols}, {chosen:?}"
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
            (isa::integers(isa::detected()), isa::detected()),
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
    for version in versions() {
        let y = run(version, stored.matrix(), inputs.all(), &mut Scratch::default());
        assert!(y.iter().all(|y| !y.is_finite()), "{version:?}");
    }
}

/// Scales at both ends of what a vector kernel may take a short cut for, and beyond, beside ordinary ones.
#[test]
fn scales_of_any_size_give_the_same_bits() {
    let mut noise = Noise(7);
    let mut scratch = Scratch::default();
    let (rows, cols) = (45, 1152);
    let extremes = [0u8, 1, 2, 22, 104, 127, 230, 231, 232, 254, 255];
    for kind in [Kind::Fp4, Kind::Fp8] {
        for (first, &low) in extremes.iter().enumerate() {
            for &high in &extremes[first..] {
                let mut stored = Stored::new(&mut noise, rows, cols, kind);
                for scale in &mut stored.scales {
                    *scale = [low, high][noise.next() as usize % 2];
                }
                // Zeros of both signs, and groups of nothing else.
                for code in &mut stored.codes {
                    if noise.next().is_multiple_of(3) {
                        *code = [0x00, 0x80, 0x08, 0x88][noise.next() as usize % 4];
                    }
                }
                stored.codes[..cols / 4].fill(0);
                let mut x = noise.floats(13 * cols);
                x[cols..2 * cols].fill(0.0);
                x[2 * cols..3 * cols].iter_mut().for_each(|x| *x *= 1e30);
                x[3 * cols..4 * cols].iter_mut().for_each(|x| *x *= 1e-30);
                let mut inputs = Int8Inputs::default();
                inputs.quantise(&mut Team::new(1), &x, cols);
                let bits = |y: Vec<f32>| -> Vec<u32> {
                    y.iter()
                        .map(|y| if y.is_nan() { f32::NAN } else { *y }.to_bits())
                        .collect()
                };
                let expected = bits(run(SCALAR, stored.matrix(), inputs.all(), &mut scratch));
                for version in versions() {
                    let found = bits(run(version, stored.matrix(), inputs.all(), &mut scratch));
                    assert!(found == expected, "{version:?}, {kind:?}, {low} and {high}");
                }
            }
        }
    }
}
