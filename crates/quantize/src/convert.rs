//! What becomes what.

use std::collections::{BTreeMap, BTreeSet};

use fathom_checkpoint::{
    Checkpoint, Data, Dtype, Encoding, FP8_BLOCK, Group, Kind, Layout, Matrix, Quantization, WeightFormat,
    announced_draft, parts,
};
use fathom_kernels::formats::grouped;

use crate::encode::{Encoder, Error2};
use crate::error::QuantizeError;

/// Every tensor of the result, and where it comes from.
pub struct Conversion {
    pub(crate) units: Vec<Unit>,
    /// Matrices that stay although a format was asked for: their rows are no multiple of 128 columns.
    pub kept_narrow: Vec<String>,
    /// What was asked for.
    pub quantization: Quantization,
}

/// Tensors that are written one after the other.
pub(crate) struct Unit {
    pub(crate) tensors: Vec<OutTensor>,
    pub(crate) content: Content,
}

/// A tensor of the result.
pub(crate) struct OutTensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

pub(crate) enum Content {
    Copied(Data),
    Encoded(Encoded),
}

/// A matrix to be encoded: codes, scales, and row scales if the format has them.
pub(crate) struct Encoded {
    pub(crate) part: String,
    pub(crate) group: Group,
    pub(crate) source: Matrix,
    pub(crate) encoder: Encoder,
    pub(crate) format: WeightFormat,
}

/// What became of one matrix.
#[derive(Clone, Debug)]
pub struct ConvertedTensor {
    /// Official name of the module.
    pub part: String,
    /// What it is part of.
    pub group: Group,
    /// How it was stored: `F8_E4M3`, `BF16` and so on.
    pub from: &'static str,
    /// How it is stored now.
    pub to: WeightFormat,
    /// `[rows, cols]`.
    pub shape: [usize; 2],
    /// Sums for the relative error.
    pub error: Error2,
}

impl OutTensor {
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

impl Unit {
    pub(crate) fn bytes(&self) -> usize {
        self.tensors.iter().map(OutTensor::bytes).sum()
    }
}

impl Conversion {
    /// Decides for every tensor of `source`.
    pub fn new(source: &Checkpoint, quantization: Quantization) -> Result<Self, QuantizeError> {
        let config = source.config();
        if let Some(found) = config.quantization {
            return Err(QuantizeError::AlreadyQuantized {
                found: found.to_string(),
            });
        }
        if quantization.head != WeightFormat::Keep && config.tie_word_embeddings {
            return Err(QuantizeError::TiedHead);
        }
        if quantization.experts != WeightFormat::Keep && source.layout() == Layout::Transformers {
            return Err(QuantizeError::FusedExperts);
        }
        let (mut replaced, mut dropped) = (BTreeMap::new(), BTreeSet::new());
        let mut kept_narrow = Vec::new();
        for part in parts(config, announced_draft(config)) {
            let (Kind::Projection { rows, cols } | Kind::Expert { rows, cols } | Kind::Dense { rows, cols }) =
                part.kind
            else {
                continue;
            };
            let format = quantization.format_of(&part);
            let Some(encoder) = Encoder::of(format) else {
                if quantization.asked_for(&part) != WeightFormat::Keep {
                    kept_narrow.push(part.name);
                }
                continue;
            };
            let matrix = source.matrix(&part.name, rows, cols)?;
            if encoder == Encoder::Fp8 && matches!(matrix.encoding, Encoding::Fp8 { .. }) {
                continue;
            }
            let mut stored = source.stored_under(&part).map(|(name, _)| name.to_owned());
            let Some(weight) = stored.next() else { continue };
            dropped.extend(stored);
            let encoded = Encoded {
                part: part.name,
                group: part.group,
                source: matrix,
                encoder,
                format,
            };
            replaced.insert(weight, encoded);
        }
        if replaced.is_empty() {
            let reason = if kept_narrow.is_empty() {
                "every matrix has the format asked for already"
            } else {
                "no matrix that a format was asked for has rows of a multiple of 128 columns"
            };
            return Err(QuantizeError::NothingToDo { reason });
        }
        let mut units = Vec::new();
        for (name, tensor) in source.tensors() {
            if let Some(encoded) = replaced.remove(name) {
                units.push(encoded_unit(name, encoded));
            } else if !dropped.contains(name) {
                units.push(Unit {
                    tensors: vec![OutTensor {
                        name: name.to_owned(),
                        dtype: tensor.dtype,
                        shape: tensor.shape.clone(),
                    }],
                    content: Content::Copied(tensor.data.clone()),
                });
            }
        }
        Ok(Self {
            units,
            kept_narrow,
            quantization,
        })
    }

    /// Bytes of all tensors of the result.
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(|unit| unit.bytes() as u64).sum()
    }
}

fn encoded_unit(weight: &str, encoded: Encoded) -> Unit {
    let module = weight.strip_suffix(".weight").unwrap_or(weight);
    let (rows, cols) = (encoded.source.rows, encoded.source.cols);
    let tensor = |name: String, dtype, shape| OutTensor { name, dtype, shape };
    let scale = format!("{module}.scale");
    let tensors = match encoded.encoder {
        Encoder::Fp8 => vec![
            tensor(weight.to_owned(), Dtype::F8E4M3, vec![rows, cols]),
            tensor(
                scale,
                Dtype::F8E8M0,
                vec![rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)],
            ),
        ],
        Encoder::Grouped(bits) => vec![
            tensor(weight.to_owned(), Dtype::U8, vec![rows, bits.row_bytes(cols)]),
            tensor(scale, Dtype::U8, vec![rows, cols / grouped::GROUP]),
            tensor(format!("{module}.row_scale"), Dtype::F32, vec![rows]),
        ],
    };
    Unit {
        tensors,
        content: Content::Encoded(encoded),
    }
}

/// The format's name in messages.
pub(crate) fn storage_name(matrix: &Matrix) -> &'static str {
    match matrix.encoding {
        Encoding::F32 => "F32",
        Encoding::Bf16 => "BF16",
        Encoding::Fp8 { .. } => "FP8",
        Encoding::Fp4 { .. } => "FP4",
        Encoding::Grouped { .. } => "grouped integers",
    }
}
