//! Lines from a pipe or a file.

use std::io::BufRead;

use anyhow::Context as _;

use super::{Input, Source, continues};

/// Reads one line after the other. A line that ends with a backslash goes on with the next.
pub(crate) struct Lines<R> {
    reader: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `reader`.
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    /// The bytes of the next line without its end; `None` at the end of input.
    fn read(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.reader
            .read_until(b'\n', &mut bytes)
            .context("cannot read standard input")?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        Ok(Some(bytes))
    }
}

impl<R: BufRead> Source for Lines<R> {
    fn next(&mut self, _prompt: &str) -> anyhow::Result<Input> {
        let mut whole = String::new();
        let first = self.number + 1;
        loop {
            let Some(bytes) = self.read()? else {
                return Ok(if whole.is_empty() {
                    Input::End
                } else {
                    Input::Line(whole)
                });
            };
            let Ok(line) = String::from_utf8(bytes) else {
                return Ok(Input::Unusable(format!(
                    "line {} of the input is not UTF-8 text; it was skipped",
                    self.number
                )));
            };
            if self.number > first {
                whole.push('\n');
            }
            whole.push_str(&line);
            if !continues(&line) {
                return Ok(Input::Line(whole));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Input> {
        let mut lines = Lines::new(input);
        let mut inputs = Vec::new();
        loop {
            match lines.next("> ").unwrap() {
                Input::End => return inputs,
                input => inputs.push(input),
            }
        }
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    #[test]
    fn lines_end_in_either_fashion_or_not_at_all() {
        assert_eq!(
            all(b"one\r\n\ntwo\nthree"),
            [line("one"), line(""), line("two"), line("three")]
        );
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_backslash_goes_on_with_the_next_line() {
        assert_eq!(
            all(b"one\\\ntwo\\\n\nthree\n"),
            [line("one\\\ntwo\\\n"), line("three")]
        );
        assert_eq!(all(b"end\\"), [line("end\\")]);
    }

    #[test]
    fn a_line_that_is_no_text_is_reported_and_skipped() {
        let skipped = Input::Unusable("line 2 of the input is not UTF-8 text; it was skipped".to_owned());
        assert_eq!(all(b"one\n\xff\ntwo\n"), [line("one"), skipped, line("two")]);
    }
}
