//! Small tensors whose values are read and checked when the model is loaded.

use super::Checkpoint;
use crate::dtype::Dtype;
use crate::error::CheckpointError;
use crate::tensor::{Matrix, Tensor};

impl Checkpoint {
    /// A small BF16 or F32 tensor as `f32`, row-major: norms, `ape`, `hc_*`, `attn_sink`, `gate.bias`.
    ///
    /// The shape must be exactly `shape`; a NaN or an infinity is an error that names the tensor.
    pub fn vector(&self, official_name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let name = self.layout.tensor_name(official_name);
        let tensor = self.tensor(&name)?;
        expect_shape(&name, tensor, shape)?;
        let values: Vec<f32> = match tensor.dtype {
            Dtype::F32 => tensor
                .data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
            Dtype::Bf16 => tensor
                .data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16))
                .collect(),
            found => {
                return Err(CheckpointError::Dtype {
                    tensor: name,
                    expected: "F32 or BF16",
                    found,
                });
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(CheckpointError::NotFinite {
                tensor: name,
                index,
                value: values[index],
            }),
            None => Ok(values),
        }
    }

    /// A matrix `[rows, cols]` whose official name has no `.weight` (`hc_*_fn`), left where it lies; F32 or BF16.
    pub fn parameter(
        &self,
        official_name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix, CheckpointError> {
        let name = self.layout.tensor_name(official_name);
        let tensor = self.tensor(&name)?.clone();
        super::matrix_from(&name, tensor, None, None, rows, cols)
    }

    /// A routing table `[rows, cols]` of I64 or I32 expert ids (`gate.tid2eid`), every entry checked against
    /// `n_routed_experts`.
    pub fn table(&self, official_name: &str, rows: usize, cols: usize) -> Result<Tensor, CheckpointError> {
        let name = self.layout.tensor_name(official_name);
        let tensor = self.tensor(&name)?;
        expect_shape(&name, tensor, &[rows, cols])?;
        let experts = self.config().n_routed_experts;
        let in_range = |id: i64| usize::try_from(id).is_ok_and(|id| id < experts);
        let bad = match tensor.dtype {
            Dtype::I64 => {
                let ids = tensor
                    .data
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|&bytes| i64::from_le_bytes(bytes));
                ids.enumerate().find(|&(_, id)| !in_range(id))
            }
            Dtype::I32 => {
                let ids = tensor
                    .data
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|&bytes| i64::from(i32::from_le_bytes(bytes)));
                ids.enumerate().find(|&(_, id)| !in_range(id))
            }
            found => {
                return Err(CheckpointError::Dtype {
                    tensor: name,
                    expected: "I64 or I32",
                    found,
                });
            }
        };
        match bad {
            Some((index, found)) => Err(CheckpointError::ExpertOutOfRange {
                tensor: name,
                token: index / cols,
                found,
                experts,
            }),
            None => Ok(tensor.clone()),
        }
    }
}

pub(super) fn expect_shape(name: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), CheckpointError> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(CheckpointError::Shape {
        tensor: name.to_owned(),
        expected: format!("{expected:?}"),
        found: tensor.shape.clone(),
    })
}
