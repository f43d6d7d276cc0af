//! A perfect prefix cache, as an account of tokens.

use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};

/// Everything ever computed, in lexicographic order: of all stored sequences, one of the two neighbours of a prompt shares
/// the longest prefix with it.
#[derive(Clone, Debug, Default)]
pub struct Ideal {
    seen: BTreeSet<Vec<u32>>,
}

impl Ideal {
    /// Nothing computed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens at the start of `prompt` that were computed before; one less than the prompt at most, because the last token
    /// gives the logits.
    pub fn serves(&self, prompt: &[u32]) -> usize {
        let before = self
            .seen
            .range::<[u32], _>((Unbounded, Included(prompt)))
            .next_back();
        let behind = self.seen.range::<[u32], _>((Included(prompt), Unbounded)).next();
        let longest = before
            .into_iter()
            .chain(behind)
            .map(|seen| common(seen, prompt))
            .max();
        longest.unwrap_or(0).min(prompt.len().saturating_sub(1))
    }

    /// A prompt with its answer was computed.
    pub fn add(&mut self, sequence: Vec<u32>) {
        self.seen.insert(sequence);
    }
}

/// Length of the common prefix.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn agrees_with_a_comparison_to_every_sequence() {
        let mut random = Random::new(5);
        for _ in 0..200 {
            let (mut ideal, mut seen): (_, Vec<Vec<u32>>) = (Ideal::new(), Vec::new());
            // Three ids, short sequences and continued ones: many shared prefixes, equal sequences and prefixes of others.
            for _ in 0..40 {
                let mut prompt = match seen.len() {
                    0 => Vec::new(),
                    count => seen[random.below(count)].clone(),
                };
                prompt.truncate(random.below(prompt.len() + 1));
                prompt.extend((0..random.below(5)).map(|_| random.below(3) as u32));
                let longest = seen.iter().map(|seen| common(seen, &prompt)).max().unwrap_or(0);
                let expected = longest.min(prompt.len().saturating_sub(1));
                assert_eq!(ideal.serves(&prompt), expected, "{prompt:?} after {seen:?}");
                seen.push(prompt.clone());
                ideal.add(prompt);
            }
        }
    }

    #[test]
    fn the_last_token_is_always_computed() {
        let mut ideal = Ideal::new();
        ideal.add(vec![1, 2, 3, 4]);
        assert_eq!(ideal.serves(&[1, 2, 3]), 2);
        assert_eq!(ideal.serves(&[1, 2, 3, 4]), 3);
        assert_eq!(ideal.serves(&[1, 2, 3, 4, 5]), 4);
        assert_eq!(ideal.serves(&[1, 9]), 1);
        assert_eq!(ideal.serves(&[1]), 0);
        assert_eq!(ideal.serves(&[]), 0);
    }
}
