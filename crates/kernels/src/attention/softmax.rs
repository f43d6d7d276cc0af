//! The softmax between the two products of BF16 attention, sixteen heads at a time.

use std::ops::Range;

use crate::bf16::dot::{operand, pair};
use crate::isa::multiversion;
use crate::lanes::{LANES, exp};

/// Slots of consecutive rows: an even number, so that pairs of values are whole. One before and one after the rows may
/// be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first slot, even.
    pub(super) first: usize,
    /// Empty slots before the rows: none or one.
    pub(super) lead: usize,
    /// Rows.
    pub(super) count: usize,
}

impl Span {
    /// The slot after the last.
    pub(super) fn end(&self) -> usize {
        self.first + (self.lead + self.count).next_multiple_of(2)
    }

    /// Slots that hold rows.
    pub(super) fn rows(&self) -> Range<usize> {
        self.first + self.lead..self.first + self.lead + self.count
    }
}

multiversion! {
    /// For sixteen heads, puts pairs of BF16 numerators `exp(logit · scale − max)` in the place of logits, pair p in row p,
    /// empty slots as zero, and returns one over the denominators: the sums of the numerators before rounding, slot by
    /// slot, and the sinks'. `logits` is `[slots, 16]`, the bits of float32.
    pub(super) fn numerators = numerators_body(
        logits: &mut [u32],
        spans: &[Span],
        scale: f32,
        sinks: &[f32; LANES],
    ) -> [f32; LANES]
}

#[inline(always)]
fn numerators_body(logits: &mut [u32], spans: &[Span], scale: f32, sinks: &[f32; LANES]) -> [f32; LANES] {
    let mut max = [f32::NEG_INFINITY; LANES];
    for span in spans {
        for logits in logits[LANES * span.rows().start..LANES * span.rows().end].chunks_exact(LANES) {
            for (max, &bits) in max.iter_mut().zip(logits) {
                let x = f32::from_bits(bits) * scale;
                *max = if x > *max { x } else { *max };
            }
        }
    }
    let mut sums = [0.0f32; LANES];
    for span in spans {
        for even in (span.first..span.end()).step_by(2) {
            let mut numerators = [[0.0f32; LANES]; 2];
            for (slot, numerators) in (even..).zip(&mut numerators) {
                if span.rows().contains(&slot) {
                    let logits = &logits[LANES * slot..][..LANES];
                    for j in 0..LANES {
                        numerators[j] = exp(f32::from_bits(logits[j]) * scale - max[j]);
                        sums[j] += numerators[j];
                    }
                }
            }
            let pairs = &mut logits[LANES * (even / 2)..][..LANES];
            for j in 0..LANES {
                pairs[j] = pair(operand(numerators[0][j]), operand(numerators[1][j]));
            }
        }
    }
    std::array::from_fn(|j| 1.0 / (sums[j] + exp(sinks[j] - max[j])))
}
