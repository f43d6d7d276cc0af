//! Where in a prompt a copy of the state is worth keeping.

use fathom_prompt::Tokenizer;

/// Fewest tokens between two places, but for the last ones: a state is megabytes, and what lies between is soon computed
/// again.
const GAP: usize = 512;

/// Fewest tokens before a place: less is computed as quickly as it is copied.
const FIRST: usize = 32;

/// Tokens that open a message. The state before one is the end of the message before it: of the system prompt, of what
/// the user said, of tool results (which stand in the user's turn).
const OPENERS: [&str; 2] = ["<｜User｜>", "<｜Assistant｜>"];

/// Positions in `prompt` worth keeping, ascending: the end of the system prompt, ends of messages at least [`GAP`] apart,
/// the end of the last message, and the place before the last token, where another answer to the same prompt starts.
pub(crate) fn boundaries(tokenizer: &Tokenizer, prompt: &[u32]) -> Vec<usize> {
    let openers = OPENERS.map(|spelling| tokenizer.special_id(spelling));
    let ends = (FIRST..prompt.len()).filter(|&at| openers.contains(&Some(prompt[at])));
    choose(ends, prompt.len())
}

fn choose(ends: impl Iterator<Item = usize>, len: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut last = None;
    for end in ends {
        if chosen.last().is_none_or(|&before| end - before >= GAP) {
            chosen.push(end);
        }
        last = Some(end);
    }
    // The end of the last message is where the next prompt parts from this one if its reasoning is dropped.
    for end in [last, len.checked_sub(1)].into_iter().flatten() {
        if end > 0 && chosen.last().is_none_or(|&before| end > before) {
            chosen.push(end);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_the_last_and_some_between() {
        assert_eq!(
            choose([10, 40, 600, 700, 1200].into_iter(), 1203),
            [10, 600, 1200, 1202]
        );
        assert_eq!(choose([10, 600, 700].into_iter(), 702), [10, 600, 700, 701]);
        assert_eq!(choose(std::iter::empty(), 9), [8]);
        assert_eq!(choose(std::iter::empty(), 1), Vec::<usize>::new());
        assert_eq!(choose([5].into_iter(), 6), [5]);
    }
}
