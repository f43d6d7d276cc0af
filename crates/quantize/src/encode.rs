//! One matrix into another format, a strip of rows at a time.

use fathom_checkpoint::{FP8_BLOCK, WeightFormat};
use fathom_kernels::formats::grouped::{self, Bits};
use fathom_kernels::formats::{e4m3, ue8m0};
use fathom_kernels::matrix::{Elements, Fp8Scales, Matrix};

/// Rows that are encoded together: those that share FP8 scales.
pub(crate) const STRIP_ROWS: usize = FP8_BLOCK;

/// Squared sums that make a relative error, added in the order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Error2 {
    /// Of the differences.
    pub difference: f64,
    /// Of the original weights.
    pub original: f64,
}

impl Error2 {
    /// Root mean square of the differences over that of the weights; 0 for weights that are all zero.
    pub fn relative(self) -> f64 {
        if self.original == 0.0 {
            0.0
        } else {
            (self.difference / self.original).sqrt()
        }
    }
}

impl std::ops::AddAssign for Error2 {
    fn add_assign(&mut self, other: Self) {
        self.difference += other.difference;
        self.original += other.original;
    }
}

/// A format that matrices are encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoder {
    Fp8,
    Grouped(Bits),
}

impl Encoder {
    /// `None` if the format is to keep what there is.
    pub(crate) fn of(format: WeightFormat) -> Option<Self> {
        match format {
            WeightFormat::Keep => None,
            WeightFormat::Fp8 => Some(Self::Fp8),
            WeightFormat::Grouped(bits) => Some(Self::Grouped(bits)),
        }
    }

    /// Bytes of a row's codes.
    pub(crate) fn row_bytes(self, cols: usize) -> usize {
        match self {
            Self::Fp8 => cols,
            Self::Grouped(bits) => bits.row_bytes(cols),
        }
    }

    /// Bytes of the scales of `rows` rows; a strip's start at a multiple of [`STRIP_ROWS`].
    pub(crate) fn scale_bytes(self, rows: usize, cols: usize) -> usize {
        match self {
            Self::Fp8 => rows.div_ceil(FP8_BLOCK) * cols.div_ceil(FP8_BLOCK),
            Self::Grouped(_) => rows * (cols / grouped::GROUP),
        }
    }

    /// Bytes of the row scales of `rows` rows.
    pub(crate) fn row_scale_bytes(self, rows: usize) -> usize {
        match self {
            Self::Fp8 => 0,
            Self::Grouped(_) => rows * size_of::<f32>(),
        }
    }
}

/// Where a strip goes.
pub(crate) struct Strip<'a> {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) codes: &'a mut [u8],
    pub(crate) scales: &'a mut [u8],
    pub(crate) row_scales: &'a mut [u8],
}

/// A row with a NaN or an infinity.
pub(crate) struct NotFinite {
    pub(crate) row: usize,
}

impl Strip<'_> {
    /// Encodes the strip's rows of `source` and measures the error by decoding them again.
    pub(crate) fn encode(&mut self, source: &Matrix<'_>, encoder: Encoder) -> Result<Error2, NotFinite> {
        let cols = source.cols;
        let mut weights = vec![0.0f32; self.rows * cols];
        for (row, weights) in (self.first_row..).zip(weights.chunks_exact_mut(cols)) {
            source.decode(row, 0, weights);
            if !weights.iter().all(|weight| weight.is_finite()) {
                return Err(NotFinite { row });
            }
        }
        match encoder {
            Encoder::Fp8 => self.encode_fp8(&weights, cols),
            Encoder::Grouped(bits) => self.encode_grouped(bits, &weights, cols),
        }
        let encoded = self.encoded(encoder, cols);
        encoded.assert_well_formed();
        let mut decoded = vec![0.0f32; cols];
        let mut error = Error2::default();
        for (row, weights) in weights.chunks_exact(cols).enumerate() {
            encoded.decode(row, 0, &mut decoded);
            for (&weight, &decoded) in weights.iter().zip(&decoded) {
                let difference = f64::from(decoded) - f64::from(weight);
                error.difference += difference * difference;
                error.original += f64::from(weight) * f64::from(weight);
            }
        }
        Ok(error)
    }

    fn encode_fp8(&mut self, weights: &[f32], cols: usize) {
        for (block, scale) in self.scales.iter_mut().enumerate() {
            let from = block * FP8_BLOCK;
            let columns = from..(from + FP8_BLOCK).min(cols);
            let rows = weights.chunks_exact(cols).map(|row| &row[columns.clone()]);
            let amax = rows
                .clone()
                .flatten()
                .fold(0.0f32, |amax, weight| amax.max(weight.abs()));
            *scale = e4m3::block_scale(amax);
            let down = ue8m0::reciprocal(*scale);
            for (weights, codes) in rows.zip(self.codes.chunks_exact_mut(cols)) {
                for (code, weight) in codes[columns.clone()].iter_mut().zip(weights) {
                    *code = e4m3::encode(weight * down);
                }
            }
        }
    }

    fn encode_grouped(&mut self, bits: Bits, weights: &[f32], cols: usize) {
        let codes = self.codes.chunks_exact_mut(bits.row_bytes(cols));
        let scales = self.scales.chunks_exact_mut(cols / grouped::GROUP);
        let row_scales = self.row_scales.as_chunks_mut().0;
        let rows = weights.chunks_exact(cols).zip(codes).zip(scales).zip(row_scales);
        for (((weights, codes), scales), row_scale) in rows {
            *row_scale = grouped::encode_row(bits, weights, codes, scales).to_le_bytes();
        }
    }

    fn encoded(&self, encoder: Encoder, cols: usize) -> Matrix<'_> {
        let elements = match encoder {
            Encoder::Fp8 => Elements::Fp8 {
                codes: self.codes,
                scales: Fp8Scales::Ue8m0(self.scales),
            },
            Encoder::Grouped(bits) => Elements::Grouped {
                bits,
                codes: self.codes,
                scales: self.scales,
                row_scales: self.row_scales,
            },
        };
        Matrix {
            rows: self.rows,
            cols,
            elements,
        }
    }
}
