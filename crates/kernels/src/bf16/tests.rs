use super::*;
use crate::formats::e4m3;
use crate::isa;
use crate::stored::{Kind, Noise, Stored};
use crate::team::Team;

/// The product by one version, in items of the size it chooses.
fn run(isa: Isa, matrix: Matrix<'_>, x: Bf16View<'_>, round: bool) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.rows() * matrix.rows];
    let product = Bf16Product {
        matrix,
        first_row: 0,
        x,
        y: Disjoint::new(&mut y),
        y_stride: matrix.rows,
        round,
    };
    let step = product.rows_per_item();
    for from in (0..matrix.rows).step_by(step) {
        product.compute(isa, from, step.min(matrix.rows - from), &mut Scratch::default());
    }
    y
}

/// What the contract says, column by column.
fn by_the_contract(matrix: &Matrix<'_>, row: usize, x: &[f32]) -> f32 {
    let mut total = 0.0f32;
    for from in (0..matrix.cols).step_by(GROUP) {
        let mut numbers = [0.0; GROUP];
        matrix.numbers(row, from, &mut numbers);
        let mut dot = 0.0f32;
        for eight in (0..GROUP).step_by(EIGHT) {
            for column in ORDER.map(|column| eight + column) {
                let x = x.get(from + column).copied().unwrap_or(0.0);
                dot = numbers[column].mul_add(x, dot);
            }
        }
        total = dot.mul_add(matrix.scale_at(row, from), total);
    }
    match matrix.elements {
        Elements::Grouped { row_scales, .. } => total * f32_at(row_scales, row),
        _ => total,
    }
}

/// `x` as the inputs hold it.
fn rounded(x: &[f32], cols: usize) -> Vec<f32> {
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(cols) {
        row.chunks_mut(BLOCK).for_each(e4m3::round_trip);
    }
    y
}

#[test]
fn every_version_follows_the_contract_for_any_number_of_inputs() {
    let mut noise = Noise(11);
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
            let matrix = stored.matrix();
            let x = noise.floats(15 * cols);
            let mut inputs = Bf16Inputs::default();
            inputs.quantise(&mut Team::new(1), &x, cols);
            let x = rounded(&x, cols);
            let expected: Vec<f32> = x
                .chunks_exact(cols)
                .flat_map(|x| (0..rows).map(move |row| by_the_contract(&matrix, row, x)))
                .collect();
            for isa in isa::available() {
                let found = run(isa, matrix, inputs.all(), false);
                assert_eq!(found, expected, "{isa:?}, {kind:?}, {rows} x {cols}");
                let found = run(isa, matrix, inputs.all(), true);
                assert!(
                    found
                        .iter()
                        .zip(&expected)
                        .all(|(&y, &exact)| y == bf16::round(exact))
                );
                for chosen in [
                    &[3u32][..],
                    &[7, 2],
                    &[0, 14, 3],
                    &[1, 2, 3, 4, 5],
                    &[1, 2, 3, 4, 5, 6, 7, 8],
                ] {
                    let mut some = Bf16Inputs::default();
                    some.gather(&mut Team::new(1), &inputs, chosen, &[0, chosen.len() as u32]);
                    let found = run(isa, matrix, some.all(), false);
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

/// Against float64 on the dequantised weights: only sums are rounded.
#[test]
fn products_are_as_close_as_float32_sums() {
    let mut noise = Noise(5);
    let (rows, cols) = (24, 2048);
    for kind in Kind::all(cols) {
        let stored = Stored::new(&mut noise, rows, cols, kind);
        let x = noise.floats(cols);
        let mut inputs = Bf16Inputs::default();
        inputs.quantise(&mut Team::new(1), &x, cols);
        let found = run(isa::detected(), stored.matrix(), inputs.all(), false);
        let x = rounded(&x, cols);
        let mut row = vec![0.0; cols];
        for (r, found) in found.iter().enumerate() {
            stored.matrix().decode(r, 0, &mut row);
            let products = row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let (exact, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
            assert!(
                (f64::from(*found) - exact).abs() < 1e-5 * size,
                "{kind:?}: {found} for {exact}"
            );
        }
    }
}

/// Every code of every format, alone in its row: nothing but its number and its scale comes out.
#[test]
fn every_code_means_its_number() {
    let cols = 128;
    for (codes, fp4) in [
        ((0..=255u8).collect::<Vec<_>>(), false),
        ((0..=255u8).collect(), true),
    ] {
        let row_bytes = if fp4 { cols / 2 } else { cols };
        let mut bytes = vec![0; codes.len() * row_bytes];
        for (row, &code) in codes.iter().enumerate() {
            bytes[row * row_bytes + row % row_bytes] = code;
        }
        let scales = vec![127; codes.len() * cols / 32];
        let elements = if fp4 {
            Elements::Fp4 {
                codes: &bytes,
                scales: &scales,
            }
        } else {
            Elements::Fp8 {
                codes: &bytes,
                scales: crate::matrix::Fp8Scales::Ue8m0(&scales[..2]),
            }
        };
        let matrix = Matrix {
            rows: codes.len(),
            cols,
            elements,
        };
        // Powers of two tell the columns of one byte apart.
        let x: Vec<f32> = (0..cols)
            .map(|column| if column % 2 == 0 { 1.0 } else { 16.0 })
            .collect();
        let mut inputs = Bf16Inputs::default();
        inputs.take_groups(&mut Team::new(1), &x, cols, 1);
        for isa in isa::available() {
            for (row, y) in run(isa, matrix, inputs.all(), false).into_iter().enumerate() {
                let mut numbers = vec![0.0; cols];
                matrix.decode(row, 0, &mut numbers);
                let expected: f32 = numbers.iter().zip(&x).map(|(w, x)| w * x).sum();
                assert!(
                    y == expected || y.is_nan() && expected.is_nan(),
                    "{isa:?}: row {row}: {y}, {expected}"
                );
            }
        }
    }
}

#[test]
fn a_scale_beyond_range_shows() {
    let (codes, scales) = (vec![0x22; 4 * 64], vec![255; 16]);
    let matrix = Matrix {
        rows: 4,
        cols: 128,
        elements: Elements::Fp4 {
            codes: &codes,
            scales: &scales,
        },
    };
    let mut inputs = Bf16Inputs::default();
    inputs.quantise(&mut Team::new(1), &[1.0; 128], 128);
    for isa in isa::available() {
        assert!(
            run(isa, matrix, inputs.all(), true)
                .iter()
                .all(|y| !y.is_finite()),
            "{isa:?}"
        );
    }
}

#[test]
fn what_is_not_finite_shows() {
    let stored = Stored::new(&mut Noise(2), 20, 256, Kind::Fp8);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = [1.0; 256];
        x[77] = bad;
        let mut inputs = Bf16Inputs::default();
        inputs.quantise(&mut Team::new(1), &x, 256);
        for isa in isa::available() {
            assert!(
                run(isa, stored.matrix(), inputs.all(), false)
                    .iter()
                    .any(|y| !y.is_finite()),
                "{isa:?}"
            );
        }
    }
}
