//! The generator behind everything here.

/// SplitMix64: a counter through a mixing function. Fast, and seeds that differ in one bit give unrelated streams.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// Steps of the counter: 2^64 over the golden ratio, odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// A stream of its own for each seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for each pair of seed and name, whatever else is drawn.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self(Self(seed).next_u64() ^ hash)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// An integer in `0..bound`, or 0 if `bound` is 0; the bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// An integer in `low..=high`; `low` if the range is empty.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below((high + 1).saturating_sub(low))
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Mean 0, variance 1, nearly normal: the sum of four uniform numbers, so never beyond ±3.47. Made of additions and
    /// one product, hence the same bits everywhere, which a logarithm would not promise.
    pub fn normal(&mut self) -> f32 {
        const MEAN: f32 = 2.0 * 65_535.0;
        // The variance of four uniform 16-bit numbers is (2^32 − 1) / 3.
        const DEVIATION: f32 = 37_837.227;
        let bits = self.next_u64();
        let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xFFFF).sum();
        (sum as f32 - MEAN) * (1.0 / DEVIATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = Random::new(1);
        let count = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..count {
            let x = f64::from(random.normal());
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(count);
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((squares / f64::from(count) - 1.0).abs() < 0.01, "{squares}");
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut random = Random::new(2);
        let mut seen = [0; 7];
        for _ in 0..7_000 {
            seen[random.below(7)] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(3, 3), 3);
        assert_eq!(random.between(3, 2), 3);
    }

    #[test]
    fn names_and_seeds_give_streams_of_their_own() {
        let first = |seed, name| Random::named(seed, name).next_u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
        assert_ne!(first(1, "a"), first(2, "a"));
    }
}
