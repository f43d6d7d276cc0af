//! The portable version, and what the vector versions are compared with.

use crate::int8::{BLOCK, GROUP, GROUPS, Int8Product};
use crate::isa::{Isa, multiversion};

/// See [`Int8Product::compute`].
pub(super) fn multiply(isa: Isa, product: &Int8Product<'_>, from: usize, rows: usize) {
    let matrix = &product.matrix;
    let groups = BLOCK / matrix.scale_group();
    let mut integers = [0i8; BLOCK];
    for row in product.first_row + from..product.first_row + from + rows {
        for block in 0..matrix.cols.div_ceil(BLOCK) {
            matrix.integers(row, block, &mut integers);
            for tile in product.x.tiles() {
                for lane in 0..tile.rows {
                    let dots = group_dots(isa, &integers, &tile.codes_of(lane, block));
                    let mut sum = 0.0f32;
                    for (g, &dot) in dots[..groups].iter().enumerate() {
                        let column = block * BLOCK + g * matrix.scale_group();
                        let dot = if groups == 1 { dots.iter().sum() } else { dot };
                        if column < matrix.cols {
                            sum = (dot as f32).mul_add(matrix.scale_at(row, column), sum);
                        }
                    }
                    // SAFETY: output r of an input row is weight row r's, and each weight row is in exactly one item.
                    let y = unsafe { product.y.part((tile.row + lane) * product.y_stride + row, 1) };
                    let total = if block == 0 { 0.0 } else { y[0] };
                    y[0] = sum.mul_add(tile.scales[block * tile.rows + lane], total);
                }
            }
        }
        for t in 0..product.x.rows() {
            // SAFETY: as above.
            let y = unsafe { product.y.part(t * product.y_stride + row, 1) };
            y[0] *= matrix.row_scale(row);
        }
    }
}

multiversion! {
    /// The dots of a block's groups, both sides in split order.
    fn group_dots = group_dots_body(w: &[i8; BLOCK], x: &[i8; BLOCK]) -> [i32; GROUPS]
}

#[inline(always)]
fn group_dots_body(w: &[i8; BLOCK], x: &[i8; BLOCK]) -> [i32; GROUPS] {
    const HALF: usize = GROUP / 2;
    std::array::from_fn(|g| {
        let mut sum = 0;
        for half in 0..2 {
            let at = half * BLOCK / 2 + g * HALF;
            for i in at..at + HALF {
                sum += i32::from(w[i]) * i32::from(x[i]);
            }
        }
        sum
    })
}
