//! Single experts out of the fused tensors of the transformers layout, without copying.

use super::{Checkpoint, matrix_from};
use crate::dtype::Dtype;
use crate::error::CheckpointError;
use crate::layout::{ExpertModule, ExpertPart};
use crate::tensor::{FP8_BLOCK, Matrix, Tensor};

impl Checkpoint {
    /// The matrix `[rows, cols]` of one expert out of `gate_up_proj` `[experts, 2 · rows, cols]` (gate rows first)
    /// or `down_proj` `[experts, rows, cols]`.
    pub(super) fn fused_expert(
        &self,
        module: &ExpertModule<'_>,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix, CheckpointError> {
        let (first_row, fused_rows) = match module.part {
            ExpertPart::Gate => (0, 2 * rows),
            ExpertPart::Up => (rows, 2 * rows),
            ExpertPart::Down => (0, rows),
        };
        let name = module.fused_name();
        let fused = self.tensor(&name)?;
        let cut = Cut {
            expert: module.expert,
            experts: self.config().n_routed_experts,
            first_row,
            rows,
            fused_rows,
        };
        let weight = cut.slice(&name, fused)?;
        if fused.dtype == Dtype::U8 {
            return Err(CheckpointError::Dtype {
                tensor: name,
                expected: "BF16, F32, F8_E4M3 or I8 (packed FP4): fused experts are never grouped integers",
                found: Dtype::U8,
            });
        }
        let scale = match self.scale_of(&name, fused.dtype)? {
            None => None,
            Some((scale_name, scale)) if fused.dtype == Dtype::F8E4M3 => {
                // A block of scales must not straddle gate and up.
                if !fused_rows.is_multiple_of(rows) || (fused_rows != rows && !rows.is_multiple_of(FP8_BLOCK))
                {
                    return Err(CheckpointError::Shape {
                        tensor: name,
                        expected: format!("gate and up halves of a multiple of {FP8_BLOCK} rows"),
                        found: fused.shape.clone(),
                    });
                }
                let blocks = Cut {
                    first_row: first_row / FP8_BLOCK,
                    rows: rows.div_ceil(FP8_BLOCK),
                    fused_rows: fused_rows.div_ceil(FP8_BLOCK),
                    ..cut
                };
                let slice = blocks.slice(&scale_name, scale)?;
                Some((scale_name, slice))
            }
            Some((scale_name, scale)) => {
                let slice = cut.slice(&scale_name, scale)?;
                Some((scale_name, slice))
            }
        };
        matrix_from(&name, weight, scale, None, rows, cols)
    }
}

/// Rows `first_row .. first_row + rows` of `[experts, fused_rows, any]`.
#[derive(Clone, Copy)]
struct Cut {
    expert: usize,
    experts: usize,
    first_row: usize,
    rows: usize,
    fused_rows: usize,
}

impl Cut {
    fn slice(&self, name: &str, fused: &Tensor) -> Result<Tensor, CheckpointError> {
        let wrong_shape = || CheckpointError::Shape {
            tensor: name.to_owned(),
            expected: format!("[{}, {}, columns]", self.experts, self.fused_rows),
            found: fused.shape.clone(),
        };
        let &[experts, fused_rows, stored_cols] = fused.shape.as_slice() else {
            return Err(wrong_shape());
        };
        if experts != self.experts || fused_rows != self.fused_rows {
            return Err(wrong_shape());
        }
        if self.expert >= experts {
            return Err(CheckpointError::MissingTensor {
                tensor: format!("{name}[{}]", self.expert),
            });
        }
        let row_bytes = stored_cols * fused.dtype.size();
        let start = (self.expert * fused_rows + self.first_row) * row_bytes;
        let data = fused
            .data
            .slice(start, start + self.rows * row_bytes)
            .ok_or_else(wrong_shape)?;
        Ok(Tensor {
            dtype: fused.dtype,
            shape: vec![self.rows, stored_cols],
            data,
        })
    }
}
