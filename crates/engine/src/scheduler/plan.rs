//! Which tokens go into a step.

/// A sequence that could go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Tokens it could append, at least one; up to the next place where it must stop.
    pub(super) pending: usize,
    /// Whether the one pending token is a generated one.
    pub(super) decoding: bool,
    /// Prompt tokens its user has had computed.
    pub(super) service: u64,
    /// When it was last part of a step.
    pub(super) last_step: u64,
}

/// How much a step takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Tokens of all parts.
    pub(super) tokens: usize,
    /// Decode steps.
    pub(super) decodes: usize,
    /// Prompt tokens, if there are decode steps beside them.
    pub(super) prefill_beside_decodes: usize,
}

/// The parts of a step: `(candidate, tokens)`.
///
/// Decode steps come first, those that waited longest before the others. Prompts get the rest: the user who has had least
/// goes first, and of one user's the prompt that waited longest, so that a long prompt keeps no short one waiting for more
/// than a chunk.
pub(super) fn plan(candidates: &[Candidate], limits: Limits) -> Vec<(usize, usize)> {
    let (mut decodes, mut prompts): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|&i| candidates[i].decoding);
    decodes.sort_by_key(|&i| candidates[i].last_step);
    prompts.sort_by_key(|&i| (candidates[i].service, candidates[i].last_step));
    // A place is kept for prompts even if decode steps alone could fill the step.
    let kept = usize::from(!prompts.is_empty() && limits.tokens > 1);
    decodes.truncate(limits.decodes.min(limits.tokens - kept));
    let mut left = limits.tokens - decodes.len();
    if !decodes.is_empty() {
        left = left.min(limits.prefill_beside_decodes);
    }
    let mut parts: Vec<_> = decodes.into_iter().map(|i| (i, 1)).collect();
    for i in prompts {
        let tokens = candidates[i].pending.min(left);
        if tokens == 0 {
            break;
        }
        parts.push((i, tokens));
        left -= tokens;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(pending: usize, service: u64, last_step: u64) -> Candidate {
        Candidate {
            pending,
            decoding: false,
            service,
            last_step,
        }
    }

    fn decode(last_step: u64) -> Candidate {
        Candidate {
            pending: 1,
            decoding: true,
            service: 0,
            last_step,
        }
    }

    const LIMITS: Limits = Limits {
        tokens: 512,
        decodes: 64,
        prefill_beside_decodes: 100,
    };

    #[test]
    fn decode_steps_run_together_and_prompts_get_what_the_bound_leaves() {
        let candidates = [prompt(1000, 0, 0), decode(3), decode(2)];
        assert_eq!(plan(&candidates, LIMITS), [(2, 1), (1, 1), (0, 100)]);
        assert_eq!(plan(&candidates[..1], LIMITS), [(0, 512)], "alone, a whole chunk");
    }

    #[test]
    fn the_user_who_had_least_goes_first_then_the_prompt_that_waited_longest() {
        let candidates = [
            prompt(400, 900, 1),
            prompt(400, 0, 9),
            prompt(60, 0, 8),
            prompt(9, 900, 0),
        ];
        assert_eq!(plan(&candidates, LIMITS), [(2, 60), (1, 400), (3, 9), (0, 43)]);
    }

    #[test]
    fn more_decode_steps_than_fit_take_turns_and_prompts_still_go_on() {
        let mut candidates: Vec<_> = (0..70).map(|i| decode(70 - i)).collect();
        let parts = plan(&candidates, LIMITS);
        assert_eq!(parts.len(), 64);
        assert_eq!(parts[0], (69, 1), "longest wait first");
        candidates.push(prompt(5, 0, 0));
        let tight = Limits { tokens: 8, ..LIMITS };
        let parts = plan(&candidates, tight);
        assert_eq!((parts.len(), parts[7]), (8, (70, 1)));
        let single = Limits { tokens: 1, ..LIMITS };
        assert_eq!(plan(&candidates, single).len(), 1);
    }
}
