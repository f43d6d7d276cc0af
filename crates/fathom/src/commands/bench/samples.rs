//! Repeated measurements of one thing.

use serde_json::{Value, json};

/// At least one measurement, in the order they were made.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one, or the mean of the two in the middle; 0 of nothing.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub(super) fn min(&self) -> f64 {
        self.0.iter().copied().reduce(f64::min).unwrap_or(0.0)
    }

    pub(super) fn max(&self) -> f64 {
        self.0.iter().copied().reduce(f64::max).unwrap_or(0.0)
    }

    /// Each with its partner of the same turn.
    pub(super) fn over(&self, divisors: &Self) -> Self {
        Self(self.0.iter().zip(&divisors.0).map(|(a, b)| a / b).collect())
    }

    /// Spread and samples, beside the median that stands under its own name.
    pub(super) fn spread(&self) -> Value {
        json!({ "min": self.min(), "max": self.max(), "samples": self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |values: &[f64]| Samples(values.to_vec()).median();
        assert_eq!(
            [of(&[3.0, 1.0, 2.0]), of(&[4.0, 1.0, 2.0, 3.0]), of(&[])],
            [2.0, 2.5, 0.0]
        );
    }
}
