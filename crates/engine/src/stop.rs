//! Stop strings in streamed text.

/// Finds the first of several strings in text that arrives in pieces, and holds back whatever could be the beginning
/// of one.
#[derive(Debug, Clone)]
pub(crate) struct StopStrings {
    strings: Vec<String>,
    held: String,
}

/// What became of a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Text that no stop string can begin in.
    pub(crate) text: String,
    /// The stop string that ended the text; nothing may be pushed after it.
    pub(crate) stopped_by: Option<String>,
}

impl StopStrings {
    /// Empty strings stop nothing.
    pub(crate) fn new(strings: &[String]) -> Self {
        let strings = strings
            .iter()
            .filter(|string| !string.is_empty())
            .cloned()
            .collect();
        Self {
            strings,
            held: String::new(),
        }
    }

    /// Adds a piece. The stop string itself and all behind it are dropped; of several that match, the one that starts
    /// first wins, and of those the one listed first.
    pub(crate) fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let found = self
            .strings
            .iter()
            .filter_map(|string| Some((self.held.find(string.as_str())?, string)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, string)) = found {
            let stopped_by = Some(string.clone());
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Passed { text, stopped_by };
        }
        let held_from = self.first_beginning();
        let rest = self.held.split_off(held_from);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped_by: None,
        }
    }

    /// The text held back: it turned out to be no stop string.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the longest tail of the held text starts that is a beginning of a stop string; its length if none is.
    fn first_beginning(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len())
            .filter(|&at| self.held.is_char_boundary(at))
            .find(|&at| {
                self.strings
                    .iter()
                    .any(|string| string.starts_with(&self.held[at..]))
            })
            .unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes `pieces` one by one; returns the text before the stop and what stopped it.
    fn run(strings: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let strings: Vec<String> = strings.iter().map(ToString::to_string).collect();
        let mut stop = StopStrings::new(&strings);
        let mut text = String::new();
        for piece in pieces {
            let passed = stop.push(piece);
            text.push_str(&passed.text);
            if passed.stopped_by.is_some() {
                return (text, passed.stopped_by);
            }
        }
        text.push_str(&stop.finish());
        (text, None)
    }

    #[test]
    fn a_stop_string_is_found_however_the_text_is_cut() {
        let text = "one two ENDEND three é";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                if !text.is_char_boundary(cut) || !text.is_char_boundary(second) {
                    continue;
                }
                let pieces = [&text[..cut], &text[cut..second], &text[second..]];
                assert_eq!(
                    run(&["END"], &pieces),
                    ("one two ".to_owned(), Some("END".to_owned()))
                );
                assert_eq!(run(&["missing", "é?"], &pieces), (text.to_owned(), None));
            }
        }
    }

    #[test]
    fn the_earliest_match_wins_then_the_order_of_the_list() {
        assert_eq!(
            run(&["cd", "bcd"], &["abcd"]),
            ("a".to_owned(), Some("bcd".to_owned()))
        );
        assert_eq!(
            run(&["bc", "bcd"], &["abcd"]),
            ("a".to_owned(), Some("bc".to_owned()))
        );
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut stop = StopStrings::new(&["END".to_owned()]);
        assert_eq!(
            stop.push("the E"),
            Passed {
                text: "the ".to_owned(),
                stopped_by: None
            }
        );
        assert_eq!(
            stop.push("N"),
            Passed {
                text: String::new(),
                stopped_by: None
            }
        );
        assert_eq!(
            stop.push("tropy"),
            Passed {
                text: "ENtropy".to_owned(),
                stopped_by: None
            }
        );
    }

    #[test]
    fn empty_strings_stop_nothing() {
        assert_eq!(run(&[""], &["text"]), ("text".to_owned(), None));
    }
}
