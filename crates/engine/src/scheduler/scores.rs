//! Log-probabilities of a prompt's own tokens.

use crate::sampling::{TokenLogprob, token_logprob};

/// Bytes of logits that prompts being scored may ask of one step.
const LOGITS_BYTES: usize = 64 << 20;

/// Rows of logits that prompts being scored may ask of one step.
pub(super) fn rows_max(vocab_size: usize) -> usize {
    (LOGITS_BYTES / (vocab_size * size_of::<f32>())).max(1)
}

/// What the model thinks of a prompt, token by token. A row of logits is used when it has been computed and is kept no longer.
pub(super) struct Scores {
    top_count: usize,
    prompt_len: usize,
    /// Of every token so far but the first, which follows nothing.
    found: Vec<TokenLogprob>,
}

impl Scores {
    pub(super) fn new(top_count: usize, prompt_len: usize) -> Self {
        Self {
            top_count,
            prompt_len,
            found: Vec::new(),
        }
    }

    /// Tokens after which the logits have been used: from here on, none may come from the cache. `None` if all have.
    pub(super) fn used(&self) -> Option<usize> {
        (self.found.len() + 1 < self.prompt_len).then_some(self.found.len())
    }

    /// Uses the logits after the tokens from position `first` on. Those that are known already are left alone.
    pub(super) fn take(&mut self, first: usize, logits: &[f32], vocab_size: usize, tokens: &[u32]) {
        for (position, row) in (first..).zip(logits.chunks_exact(vocab_size)) {
            if position == self.found.len() && position + 1 < self.prompt_len {
                self.found
                    .push(token_logprob(row, tokens[position + 1], self.top_count));
            }
        }
    }

    pub(super) fn into_inner(self) -> Vec<TokenLogprob> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_scored_once_whatever_comes_again() {
        let logits: Vec<f32> = (0..12_u8).map(f32::from).collect();
        let tokens = [0, 1, 2, 0];
        let mut scores = Scores::new(1, 4);
        assert_eq!(scores.used(), Some(0));
        scores.take(0, &logits[..6], 3, &tokens);
        assert_eq!(scores.used(), Some(2));
        scores.take(1, &logits[3..], 3, &tokens);
        assert_eq!(
            scores.used(),
            None,
            "the last row is about what follows the prompt"
        );
        let found = scores.into_inner();
        let expected: Vec<_> = (0..3)
            .map(|row| token_logprob(&logits[row * 3..][..3], tokens[row + 1], 1))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(Scores::new(0, 1).used(), None, "nothing follows a single token");
    }

    #[test]
    fn rows_are_bounded_by_their_bytes() {
        assert_eq!(rows_max(129_280), 129);
        assert_eq!(rows_max(usize::MAX / 8), 1);
    }
}
