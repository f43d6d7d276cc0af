//! A random number for each (seed, position).

/// The golden ratio in 64 bits: the step of the `SplitMix64` generator (Steele, Lea and Flood, 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number in `[0, 1)`, uniform over its 2^53 values.
///
/// This is `SplitMix64` used as a counter: the seed is mixed first, so that neighbouring seeds do not share numbers at
/// shifted positions. It is part of what a seed means; changing it changes every seeded text.
pub(super) fn uniform(seed: u64, position: u64) -> f64 {
    let bits = mix(mix(seed.wrapping_add(STEP)).wrapping_add(position.wrapping_add(1).wrapping_mul(STEP)));
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// The output function of `SplitMix64`: a bijection in which every input bit affects every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_splitmix64() {
        // First outputs of the published generator for seed 1234567.
        let outputs = [1, 2, 3].map(|n: u64| mix(1_234_567_u64.wrapping_add(n.wrapping_mul(STEP))));
        assert_eq!(
            outputs,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    /// Chi-squared statistic of `numbers` over 16 equal bins (15 degrees of freedom; 99.99 % are below 44.3).
    fn chi_squared(numbers: impl Iterator<Item = f64>) -> f64 {
        let mut bins = [0_u32; 16];
        let mut count = 0.0;
        for number in numbers {
            assert!((0.0..1.0).contains(&number));
            bins[(number * 16.0) as usize] += 1;
            count += 1.0;
        }
        bins.iter()
            .map(|&n| (f64::from(n) - count / 16.0).powi(2) / (count / 16.0))
            .sum()
    }

    #[test]
    fn uniform_over_positions_and_over_seeds() {
        for fixed in [0, 1, 42, u64::MAX] {
            assert!(chi_squared((0..20_000).map(|position| uniform(fixed, position))) < 44.3);
            assert!(chi_squared((0..20_000).map(|seed| uniform(seed, fixed))) < 44.3);
            // Shifted against each other, as two requests with neighbouring seeds are.
            let differences =
                (0..20_000).map(|n| (uniform(fixed, n) - uniform(fixed.wrapping_add(1), n)).rem_euclid(1.0));
            assert!(chi_squared(differences) < 44.3);
        }
    }

    #[test]
    fn seeds_keep_their_meaning() {
        let first = [uniform(0, 0), uniform(0, 1), uniform(7, 1000)].map(|number| format!("{number:.6}"));
        assert_eq!(first, ["0.652448", "0.701212", "0.845236"]);
    }
}
