//! How many prompt tokens may share a step with decode steps, so that these do not wait too long.

use std::time::Duration;

/// Fewest prompt tokens of a step, however slow the model is: prompts must go on too.
pub(super) const PREFILL_TOKENS_MIN: usize = 16;

/// How much a new measurement counts.
const WEIGHT: f64 = 0.25;

/// What steps have taken lately, in seconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A step of decode steps only.
    decode: Option<f64>,
    /// One prompt token.
    prefill_token: Option<f64>,
}

impl Pace {
    /// Prompt tokens that fit into a step of `target` beside decode steps, from [`PREFILL_TOKENS_MIN`] to `most`.
    pub(super) fn prefill_tokens(&self, target: Duration, most: usize) -> usize {
        let left = target.as_secs_f64() - self.decode.unwrap_or(0.0);
        let tokens = self
            .prefill_token
            .map_or(PREFILL_TOKENS_MIN, |seconds| (left / seconds).max(0.0) as usize);
        tokens.clamp(PREFILL_TOKENS_MIN.min(most), most)
    }

    /// Notes a step of `decodes` decode steps and `prefill` prompt tokens.
    pub(super) fn note(&mut self, decodes: usize, prefill: usize, elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        if prefill == 0 {
            blend(&mut self.decode, elapsed);
        } else {
            let decode = if decodes > 0 {
                self.decode.unwrap_or(0.0)
            } else {
                0.0
            };
            // A step is never cheaper than its decode steps alone, whatever noise says.
            let prompt = (elapsed - decode).max(elapsed / 8.0);
            blend(&mut self.prefill_token, prompt / prefill as f64);
        }
    }
}

fn blend(average: &mut Option<f64>, measured: f64) {
    *average = Some(average.map_or(measured, |average| average + WEIGHT * (measured - average)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_filled_up_to_its_target() {
        let mut pace = Pace::default();
        let target = Duration::from_millis(200);
        assert_eq!(
            pace.prefill_tokens(target, 512),
            PREFILL_TOKENS_MIN,
            "nothing is known"
        );
        for _ in 0..50 {
            pace.note(4, 0, Duration::from_millis(50));
            pace.note(4, 100, Duration::from_millis(150));
        }
        // 50 ms of decoding leave 150 ms, at 1 ms a token.
        assert_eq!(pace.prefill_tokens(target, 512), 150);
        assert_eq!(
            pace.prefill_tokens(target, 64),
            64,
            "never more than the workspace takes"
        );
        assert_eq!(
            pace.prefill_tokens(Duration::from_millis(10), 512),
            PREFILL_TOKENS_MIN,
            "prompts go on"
        );
        assert_eq!(pace.prefill_tokens(Duration::from_millis(10), 8), 8);
    }
}
