//! Matrix products on weights used where they lie: `y[t, r] = Σ_k x[t, k] · W[r, k]`, float32 accumulation.
//!
//! Inputs are float32, or rows for quantised weights, whose products have an arithmetic of their own ([`crate::bf16`],
//! [`crate::int8`]).
//!
//! For float32 inputs weights are decoded, exactly, a tile at a time into memory that stays in the first-level cache and multiplied there.
//! Every output is summed in one order that depends on K alone (see [`K_CHUNK`] and [`crate::lanes`]): a row gets the
//! same bits alone, in a batch, in any chunk and from any number of threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::bf16::Bf16Product;
use crate::formats::{bf16, e4m3};
use crate::inputs::{InputView, Inputs};
use crate::int8::Int8Product;
use crate::isa::{self, Isa, multiversion};
use crate::lanes::{self, LANES};
use crate::matrix::{Elements, Matrix};
use crate::team::{Disjoint, Team};

/// Columns reduced at a time: sixteen lanes within a chunk, chunks added left to right. Part of the numeric contract.
pub const K_CHUNK: usize = 1024;

/// Weight rows decoded at a time, and the unit of sharing between threads.
const ROW_TILE: usize = 16;

/// Inputs of one item of a product with many.
const INPUTS_PER_ITEM: usize = 256;

/// Bytes of weights that one item of a product with few inputs streams.
const STREAMED_BYTES: usize = 64 << 10;

/// Weight rows that are fetched before they are decoded.
const ROWS_AHEAD: usize = 3;

/// Weight rows of one register tile.
const TILE: usize = 4;

/// Input rows of one register tile: as many sums as fit registers beside a weight of each row and an input.
const TILE_INPUTS: usize = 6;

/// One product of a group: `rows` rows of `matrix` from `first_row` on, times every row of `x`.
pub struct Product<'a> {
    matrix: Matrix<'a>,
    first_row: usize,
    rows: usize,
    x: Input<'a>,
    x_rows: usize,
    y: Disjoint<'a, f32>,
    y_stride: usize,
    round_to_bf16: bool,
}

/// Input rows of a product.
#[derive(Clone, Copy)]
enum Input<'a> {
    Floats { x: &'a [f32], stride: usize },
    Quantised(InputView<'a>),
}

/// A product with quantised weights, by its arithmetic.
enum Quantised<'a> {
    Bf16(Bf16Product<'a>),
    Int8(Int8Product<'a>),
}

impl<'a> Product<'a> {
    /// The whole matrix. `x` is `[t, cols]`, `y` is `[t, rows]`.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn new(matrix: Matrix<'a>, x: &'a [f32], y: &'a mut [f32]) -> Self {
        let t = x.len() / matrix.cols;
        assert_eq!(x.len(), t * matrix.cols, "x is [t, {}]", matrix.cols);
        assert_eq!(y.len(), t * matrix.rows, "y is [{t}, {}]", matrix.rows);
        Self {
            matrix,
            first_row: 0,
            rows: matrix.rows,
            x: Input::Floats {
                x,
                stride: matrix.cols,
            },
            x_rows: t,
            y: Disjoint::new(y),
            y_stride: matrix.rows,
            round_to_bf16: false,
        }
    }

    /// The whole matrix, quantised, in the arithmetic of the inputs. `x` is `[t, cols]`, `y` is `[t, rows]`.
    ///
    /// # Panics
    /// When the shapes do not fit together, or the matrix is not quantised.
    pub fn quantised(matrix: Matrix<'a>, x: InputView<'a>, y: &'a mut [f32]) -> Self {
        assert!(matrix.is_quantised(), "a quantised matrix");
        assert_eq!(x.width(), matrix.cols, "x is [t, {}]", matrix.cols);
        assert_eq!(
            y.len(),
            x.rows() * matrix.rows,
            "y is [{}, {}]",
            x.rows(),
            matrix.rows
        );
        Self {
            matrix,
            first_row: 0,
            rows: matrix.rows,
            x: Input::Quantised(x),
            x_rows: x.rows(),
            y: Disjoint::new(y),
            y_stride: matrix.rows,
            round_to_bf16: false,
        }
    }

    /// As [`Product::block_diagonal`], of a quantised matrix: `x` has a segment for each group, of `[t, cols]`.
    ///
    /// # Panics
    /// When the shapes do not fit together, or the matrix is not quantised.
    pub fn block_diagonal_quantised(
        matrix: Matrix<'a>,
        groups: usize,
        x: &'a Inputs,
        y: &'a mut [f32],
    ) -> impl Iterator<Item = Self> {
        assert!(matrix.is_quantised(), "a quantised matrix");
        assert_eq!(x.all().width(), matrix.cols, "x is [groups, t, {}]", matrix.cols);
        let (rows, t) = (matrix.rows / groups, x.all().rows() / groups);
        assert_eq!(matrix.rows, groups * rows);
        assert_eq!(y.len(), t * matrix.rows, "y is [{t}, {}]", matrix.rows);
        let out = Disjoint::new(y);
        (0..groups).map(move |group| Self {
            matrix,
            first_row: group * rows,
            rows,
            x: Input::Quantised(x.segment(group * t..(group + 1) * t)),
            x_rows: t,
            y: out,
            y_stride: matrix.rows,
            round_to_bf16: false,
        })
    }

    /// The products of a block-diagonal matrix with `groups` blocks (the grouped output projection, spec §5.4):
    /// `matrix` is `[groups · r, cols]`, `x` is `[t, groups · cols]`, `y` is `[t, groups · r]`.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn block_diagonal(
        matrix: Matrix<'a>,
        groups: usize,
        x: &'a [f32],
        y: &'a mut [f32],
    ) -> impl Iterator<Item = Self> {
        let (cols, rows) = (matrix.cols, matrix.rows / groups);
        let t = x.len() / (groups * cols);
        assert_eq!(matrix.rows, groups * rows);
        assert_eq!(x.len(), t * groups * cols, "x is [t, {groups} · {cols}]");
        assert_eq!(y.len(), t * groups * rows, "y is [{t}, {groups} · {rows}]");
        let out = Disjoint::new(y);
        (0..groups).map(move |group| Self {
            matrix,
            first_row: group * rows,
            rows,
            x: Input::Floats {
                x: &x[group * cols..],
                stride: groups * cols,
            },
            x_rows: t,
            // `first_row` is also where the group's outputs lie in a row of `y`.
            y: out,
            y_stride: groups * rows,
            round_to_bf16: false,
        })
    }

    /// Rounds each output once to BF16, as the published low-precision path does (spec §9.4).
    #[must_use]
    pub fn rounded(mut self, round: bool) -> Self {
        self.round_to_bf16 = round;
        self
    }

    /// The product of inputs for quantised weights, if this is one.
    fn quantised_product(&self) -> Option<Quantised<'a>> {
        let Input::Quantised(x) = self.x else { return None };
        Some(match x {
            InputView::Bf16(x) => Quantised::Bf16(Bf16Product {
                matrix: self.matrix,
                first_row: self.first_row,
                x,
                y: self.y,
                y_stride: self.y_stride,
                round: self.round_to_bf16,
            }),
            InputView::Int8(x) => Quantised::Int8(Int8Product {
                matrix: self.matrix,
                first_row: self.first_row,
                x,
                y: self.y,
                y_stride: self.y_stride,
            }),
        })
    }

    /// Weight rows of one item: few long rows where the stream of weights decides, so that threads finish together.
    fn rows_per_item(&self) -> usize {
        match self.quantised_product() {
            Some(Quantised::Bf16(product)) => product.rows_per_item(),
            Some(Quantised::Int8(product)) => product.rows_per_item(),
            None if self.x_rows <= 2 * TILE => (STREAMED_BYTES / self.matrix.row_bytes().max(1))
                .next_multiple_of(TILE)
                .clamp(TILE, ROW_TILE),
            None => ROW_TILE,
        }
    }

    /// Runs of input rows that items take one of; products with quantised weights take all.
    fn input_runs(&self) -> usize {
        match self.x {
            Input::Floats { .. } => self.x_rows.div_ceil(INPUTS_PER_ITEM),
            Input::Quantised(_) => 1,
        }
    }

    fn items(&self) -> usize {
        self.rows.div_ceil(self.rows_per_item()) * self.input_runs()
    }
}

/// Computes a group of products together, sharing out all their rows at once.
pub fn multiply(team: &mut Team, products: &[Product<'_>]) {
    multiply_with(isa::detected(), team, products);
}

pub(crate) fn multiply_with(isa: Isa, team: &mut Team, products: &[Product<'_>]) {
    for product in products {
        product.matrix.assert_well_formed();
    }
    let items = products.iter().map(Product::items).sum();
    team.run(items, |item, scratch| {
        let mut item = item;
        let mut products = products.iter();
        let product = loop {
            let Some(product) = products.next() else { return };
            if item < product.items() {
                break product;
            }
            item -= product.items();
        };
        // Neighbouring items share a run of inputs.
        let runs = product.items() / product.input_runs();
        let (inputs, item) = (item / runs * INPUTS_PER_ITEM, item % runs);
        let first = item * product.rows_per_item();
        let rows = product.rows_per_item().min(product.rows - first);
        match product.x {
            Input::Floats { x, stride } => {
                let [weights] = scratch.floats([ROW_TILE * K_CHUNK]);
                // With few inputs the weights' way from memory decides: whole rows one after the other, not columns of
                // a tile.
                let inputs = inputs..product.x_rows.min(inputs + INPUTS_PER_ITEM);
                let step = if product.x_rows <= TILE { TILE } else { ROW_TILE };
                for start in (0..rows).step_by(step) {
                    multiply_tile(
                        isa,
                        product,
                        (x, stride),
                        inputs.clone(),
                        first + start,
                        step.min(rows - start),
                        weights,
                    );
                }
            }
            Input::Quantised(_) => match product.quantised_product() {
                Some(Quantised::Bf16(product)) => product.compute(isa, first, rows, scratch),
                Some(Quantised::Int8(product)) => product.compute(isa, first, rows, scratch),
                None => {}
            },
        }
    });
}

/// Whether a product's weights are widened as they stream past, not decoded first: plain formats, few inputs.
fn streams(isa: Isa, product: &Product<'_>) -> bool {
    isa >= Isa::Avx2
        && product.x_rows <= 2 * TILE
        && product.matrix.cols.is_multiple_of(LANES)
        && matches!(product.matrix.elements, Elements::F32(_) | Elements::Bf16(_))
}

/// Rows `first .. first + rows` of one product (counted within the product), some inputs.
fn multiply_tile(
    isa: Isa,
    product: &Product<'_>,
    (x, x_stride): (&[f32], usize),
    inputs: std::ops::Range<usize>,
    first: usize,
    rows: usize,
    weights: &mut [f32],
) {
    let cols = product.matrix.cols;
    let row_in_matrix = product.first_row + first;
    let streams = streams(isa, product);
    for from in (0..cols).step_by(K_CHUNK) {
        let k = K_CHUNK.min(cols - from);
        for row in 0..if streams { 0 } else { rows } {
            // Rows are short runs far apart, which the hardware does not foresee: ask for one soon to be decoded, of
            // this chunk, of the next, or of the next tile.
            let (ahead, column) = match (row + ROWS_AHEAD < rows, from + K_CHUNK < cols) {
                (true, _) => (row + ROWS_AHEAD, from),
                (false, true) => (row + ROWS_AHEAD - rows, from + K_CHUNK),
                (false, false) => (row + ROWS_AHEAD, 0),
            };
            let ahead = (row_in_matrix + ahead).min(product.matrix.rows - 1);
            prefetch(product.matrix.codes_of(ahead, column, K_CHUNK.min(cols - column)));
            decode(
                isa,
                &product.matrix,
                row_in_matrix + row,
                from,
                &mut weights[row * K_CHUNK..][..k],
            );
        }
        let tile = if streams { TILE } else { TILE_INPUTS };
        for t in inputs.clone().step_by(tile) {
            let x_tile = tile.min(inputs.end - t);
            for row in (0..rows).step_by(TILE) {
                let w_tile = TILE.min(rows - row);
                let mut sums = Sums::default();
                let x = Operand {
                    data: &x[t * x_stride + from..],
                    stride: x_stride,
                    rows: x_tile,
                };
                #[cfg(target_arch = "x86_64")]
                if streams {
                    let rows = (row_in_matrix + row, w_tile);
                    // SAFETY: a level is only ever made by `isa::detect`, which found its features.
                    unsafe {
                        if isa == Isa::Avx512 {
                            avx512::stream(&product.matrix, rows, from, k, &x, &mut sums);
                        } else {
                            avx2::stream(&product.matrix, rows, from, k, &x, &mut sums);
                        }
                    }
                }
                if !streams {
                    let w = Operand {
                        data: &weights[row * K_CHUNK..],
                        stride: K_CHUNK,
                        rows: w_tile,
                    };
                    dots(isa, &w, &x, k, &mut sums);
                }
                for (i, sums) in sums.iter().enumerate().take(x_tile) {
                    let at = (t + i) * product.y_stride + row_in_matrix + row;
                    // SAFETY: output r of an input row is weight row r's, in a block-diagonal product too, and each
                    // weight row is in exactly one tile of one product.
                    let out = unsafe { product.y.part(at, w_tile) };
                    for (y, &sum) in out.iter_mut().zip(sums) {
                        *y = if from == 0 { sum } else { *y + sum };
                        if product.round_to_bf16 && from + k == cols {
                            *y = bf16::round(*y);
                        }
                    }
                }
            }
        }
    }
}

/// Asks for `bytes` to be brought into the first-level cache.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint and reads nothing; every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Asks for where outputs `row .. row + rows` of some inputs will soon be written: each input's lie far from the last's.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn expect_outputs(
    y: &Disjoint<'_, f32>,
    stride: usize,
    row: usize,
    rows: usize,
    inputs: std::ops::Range<usize>,
) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    for t in inputs {
        // SAFETY: the caller is about to write these, and nobody else is; here nothing is read or written.
        let out = unsafe { y.part(t * stride + row, rows) };
        for line in out.chunks(16).chain([&out[rows - 1..]]) {
            // SAFETY: a prefetch is a hint; every x86-64 has it.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(line.as_ptr().cast()) };
        }
    }
}

/// What a register tile computes: `[inputs][weight rows]`.
type Sums = [[f32; TILE]; TILE_INPUTS];

/// Up to [`TILE`] rows of weights or [`TILE_INPUTS`] of inputs, float32.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
}

impl Operand<'_> {
    fn row(&self, row: usize, k: usize) -> &[f32] {
        &self.data[row * self.stride..][..k]
    }
}

/// `out[i][j] = Σ_k x[i][k] · w[j][k]` over one chunk of at most [`K_CHUNK`] columns.
#[inline]
pub(crate) fn dots(isa: Isa, w: &Operand<'_>, x: &Operand<'_>, k: usize, out: &mut Sums) {
    match isa {
        // SAFETY: a level is only ever made by `isa::detect`, which found its features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::dots(w, x, k, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::dots(w, x, k, out) },
        _ => dots_portable(w, x, k, out),
    }
}

/// The scalar twin of the vector kernels.
fn dots_portable(w: &Operand<'_>, x: &Operand<'_>, k: usize, out: &mut Sums) {
    for i in 0..x.rows {
        for j in 0..w.rows {
            let (x, w) = (x.row(i, k), w.row(j, k));
            out[i][j] = lanes::sum_products(k, |k| (x[k], w[k]));
        }
    }
}

/// See [`Matrix::decode`].
pub(crate) fn decode(isa: Isa, matrix: &Matrix<'_>, row: usize, from: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 && out.len().is_multiple_of(2 * LANES) {
        // SAFETY: a level is only ever made by `isa::detect`, which found its features.
        unsafe {
            if isa == Isa::Avx512 {
                avx512::decode(matrix, row, from, out);
            } else {
                avx2::decode(matrix, row, from, out);
            }
        }
        return;
    }
    matrix.decode(row, from, out);
}

/// E4M3 codes under one scale; exact.
#[inline]
pub(crate) fn decode_e4m3(isa: Isa, codes: &[u8], scale: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 && out.len().is_multiple_of(LANES) {
        // SAFETY: a level is only ever made by `isa::detect`, which found its features.
        unsafe {
            if isa == Isa::Avx512 {
                avx512::decode_e4m3(codes, scale, out);
            } else {
                avx2::decode_e4m3(codes, scale, out);
            }
        }
        return;
    }
    for (x, &code) in out.iter_mut().zip(codes) {
        *x = e4m3::VALUES[code as usize] * scale;
    }
}

/// `out[h] += Σ_r p[h · stride + r] · rows[r]`, rows in order: `rows` is `[n, width]`, `out` is `[heads, width]`.
pub(crate) fn add_weighted_rows(
    isa: Isa,
    p: &[f32],
    stride: usize,
    rows: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let n = rows.len() / width;
    assert!(
        out.is_empty() || p.len() >= (out.len() / width - 1) * stride + n,
        "one weight for each head and row"
    );
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && width.is_multiple_of(2 * LANES) {
        // SAFETY: `Isa::Avx512` is only ever made by `isa::detect`, which found the features.
        unsafe { avx512::add_weighted_rows(p, stride, rows, width, out) };
        return;
    }
    add_weighted_rows_portable(isa, p, stride, rows, width, out);
}

multiversion! {
    fn add_weighted_rows_portable =
        add_weighted_rows_body(p: &[f32], stride: usize, rows: &[f32], width: usize, out: &mut [f32])
}

#[inline(always)]
fn add_weighted_rows_body(p: &[f32], stride: usize, rows: &[f32], width: usize, out: &mut [f32]) {
    for (h, out) in out.chunks_exact_mut(width).enumerate() {
        for (r, row) in rows.chunks_exact(width).enumerate() {
            let weight = p[h * stride + r];
            for (out, &x) in out.iter_mut().zip(row) {
                *out = weight.mul_add(x, *out);
            }
        }
    }
}

/// `scores[i][r] = Σ_k q[i][k] · rows[r][k]` for float32 rows: `q` is `[heads, width]`, `rows` is `[n, width]`, and
/// `scores` is written at `[i · stride + r]`. `width` is at most [`K_CHUNK`].
pub(crate) fn score_rows(isa: Isa, q: &[f32], rows: &[f32], width: usize, scores: &mut [f32], stride: usize) {
    let (heads, n) = (q.len() / width, rows.len() / width);
    debug_assert!(width <= K_CHUNK);
    for i in (0..heads).step_by(TILE_INPUTS) {
        let x = Operand {
            data: &q[i * width..],
            stride: width,
            rows: TILE_INPUTS.min(heads - i),
        };
        for r in (0..n).step_by(TILE) {
            let w = Operand {
                data: &rows[r * width..],
                stride: width,
                rows: TILE.min(n - r),
            };
            let mut sums = Sums::default();
            dots(isa, &w, &x, width, &mut sums);
            for (a, sums) in sums.iter().enumerate().take(x.rows) {
                scores[(i + a) * stride + r..][..w.rows].copy_from_slice(&sums[..w.rows]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
