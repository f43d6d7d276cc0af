//! Log-probabilities of tokens.

/// A token's log-probability and the most likely tokens at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability under the model: of the logits as they are, before temperature and filters.
    pub logprob: f32,
    /// The most likely tokens, best first, the smaller index first among equals.
    pub top: Vec<(u32, f32)>,
}

/// The log-probability of `token` and the `top_count` best ones. `logits` must be free of NaN, and hold `token`.
///
/// Sums are taken in `f64` in index order; only the results are rounded to `f32`.
pub fn token_logprob(logits: &[f32], token: u32, top_count: usize) -> TokenLogprob {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(highest)).exp())
        .sum();
    let normaliser = f64::from(highest) + sum.ln();
    let logprob = |logit: f32| (f64::from(logit) - normaliser) as f32;
    let top = best(logits, top_count)
        .into_iter()
        .map(|(token, logit)| (token, logprob(logit)))
        .collect();
    TokenLogprob {
        token,
        logprob: logprob(logits[token as usize]),
        top,
    }
}

/// The `count` largest logits with their indices, in order.
fn best(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, &logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|&(_, lowest)| logit <= lowest) {
            continue;
        }
        let place = best.partition_point(|&(_, other)| other >= logit);
        best.insert(place, (token as u32, logit));
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distribution() {
        // Probabilities 1/2, 1/4, 1/8, 1/8, whatever constant is added.
        for shift in [0.0, 80.0, -3000.0] {
            let logits = [4.0_f32, 2.0, 1.0, 1.0].map(|weight| weight.ln() + shift);
            let found = token_logprob(&logits, 1, 3);
            assert!((found.logprob - 0.25_f32.ln()).abs() < 3e-4, "{found:?}");
            let order: Vec<u32> = found.top.iter().map(|&(token, _)| token).collect();
            assert_eq!(order, [0, 1, 2], "equal ones in index order");
            assert_eq!(found.top[1].1, found.logprob);
        }
    }

    #[test]
    fn top_is_what_sorting_gives() {
        let logits: Vec<f32> = (0..200_u32).map(|n| ((n * 37) % 11) as f32).collect();
        let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for count in [0, 1, 5, 20, 200, 300] {
            assert_eq!(best(&logits, count), sorted[..count.min(200)]);
        }
    }

    #[test]
    fn an_excluded_token_is_minus_infinity() {
        assert_eq!(
            token_logprob(&[0.0, f32::NEG_INFINITY], 1, 0).logprob,
            f32::NEG_INFINITY
        );
        assert_eq!(token_logprob(&[0.0, f32::NEG_INFINITY], 0, 0).logprob, 0.0);
    }
}
