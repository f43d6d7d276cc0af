//! Inputs of products with quantised weights, in the arithmetic that a numerics profile chose.

use crate::bf16::{Bf16Inputs, Bf16View};
use crate::int8::{Int8Inputs, Int8View};
use crate::team::Team;

/// Input rows as products with quantised weights take them; memory that is reused from step to step.
#[derive(Debug)]
pub enum Inputs {
    /// Through E4M3 into BF16: the published low-precision path.
    Bf16(Bf16Inputs),
    /// In eight-bit integers.
    Int8(Int8Inputs),
}

/// A segment of [`Inputs`]: the inputs of one product.
#[derive(Clone, Copy, Debug)]
pub enum InputView<'a> {
    /// See [`Inputs::Bf16`].
    Bf16(Bf16View<'a>),
    /// See [`Inputs::Int8`].
    Int8(Int8View<'a>),
}

impl Inputs {
    /// Memory for `rows` rows of `width` columns in BF16.
    pub fn bf16(rows: usize, width: usize) -> Self {
        Self::Bf16(Bf16Inputs::with_capacity(rows, width))
    }

    /// Memory for `rows` rows of `width` columns in eight-bit integers.
    pub fn int8(rows: usize, width: usize) -> Self {
        Self::Int8(Int8Inputs::with_capacity(rows, width))
    }

    /// Quantises `x` `[rows, width]` into one segment.
    pub fn quantise(&mut self, team: &mut Team, x: &[f32], width: usize) {
        match self {
            Self::Bf16(inputs) => inputs.quantise(team, x, width),
            Self::Int8(inputs) => inputs.quantise(team, x, width),
        }
    }

    /// As [`Inputs::quantise`], into segments: segment `s` has rows `bounds[s]..bounds[s + 1]`.
    ///
    /// # Panics
    /// When the bounds do not ascend from 0 to the number of rows.
    pub fn quantise_segments(&mut self, team: &mut Team, x: &[f32], width: usize, bounds: &[u32]) {
        match self {
            Self::Bf16(inputs) => inputs.quantise_segments(team, x, width, bounds),
            Self::Int8(inputs) => inputs.quantise_segments(team, x, width, bounds),
        }
    }

    /// Takes `x` `[rows, groups, width]` into `groups` segments, the inputs of a block-diagonal product: BF16 numbers as they
    /// are, because the published path does not quantise these (spec §9.3), or in eight bits.
    pub fn take_groups(&mut self, team: &mut Team, x: &[f32], width: usize, groups: usize) {
        match self {
            Self::Bf16(inputs) => inputs.take_groups(team, x, width, groups),
            Self::Int8(inputs) => inputs.quantise_groups(team, x, width, groups),
        }
    }

    /// Copies rows of `source`'s only segment: segment `s` becomes its rows `order[bounds[s]..bounds[s + 1]]`.
    ///
    /// # Panics
    /// When a row does not exist, the bounds do not ascend, or `source` is of the other kind.
    pub fn gather(&mut self, team: &mut Team, source: &Self, order: &[u32], bounds: &[u32]) {
        match (self, source) {
            (Self::Bf16(inputs), Self::Bf16(source)) => inputs.gather(team, source, order, bounds),
            (Self::Int8(inputs), Self::Int8(source)) => inputs.gather(team, source, order, bounds),
            _ => panic!("rows are gathered from inputs of the same kind"),
        }
    }

    /// The only segment.
    pub fn all(&self) -> InputView<'_> {
        match self {
            Self::Bf16(inputs) => InputView::Bf16(inputs.all()),
            Self::Int8(inputs) => InputView::Int8(inputs.all()),
        }
    }

    /// The segment of these rows; it must be one that was made.
    pub fn segment(&self, rows: std::ops::Range<usize>) -> InputView<'_> {
        match self {
            Self::Bf16(inputs) => InputView::Bf16(inputs.segment(rows)),
            Self::Int8(inputs) => InputView::Int8(inputs.segment(rows)),
        }
    }
}

impl InputView<'_> {
    /// Rows in the segment.
    pub fn rows(&self) -> usize {
        match self {
            Self::Bf16(view) => view.rows(),
            Self::Int8(view) => view.rows(),
        }
    }

    /// Columns of a row, padding apart.
    pub fn width(&self) -> usize {
        match self {
            Self::Bf16(view) => view.width(),
            Self::Int8(view) => view.width(),
        }
    }
}
