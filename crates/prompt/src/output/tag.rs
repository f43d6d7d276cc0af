//! DSML tags: what follows `<｜DSML｜` or `</｜DSML｜`, up to `>`.

/// A tag being read.
#[derive(Debug, Clone)]
pub(super) struct TagReader {
    closes: bool,
    text: String,
    in_quotes: bool,
}

/// A tag that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    OpenToolCalls,
    CloseToolCalls,
    OpenInvoke { name: String },
    CloseInvoke,
    OpenParameter { name: String, is_string: Option<bool> },
    CloseParameter,
    Unknown,
}

impl TagReader {
    /// Tags are short. Longer text is not one, and holding it back would stall the stream.
    const BYTES_MAX: usize = 1024;

    pub(super) fn new(closes: bool) -> Self {
        Self {
            closes,
            text: String::new(),
            in_quotes: false,
        }
    }

    /// Read from `text`; once the tag ends, the rest of `text`.
    ///
    /// It ends at `>` outside quotes, or at a newline, which no tag contains.
    pub(super) fn read<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        for (at, character) in text.char_indices() {
            let rest = &text[at + character.len_utf8()..];
            match character {
                '\n' => return Some(&text[at..]),
                '>' if !self.in_quotes => {
                    self.text.push('>');
                    return Some(rest);
                }
                '"' => self.in_quotes = !self.in_quotes,
                _ => {}
            }
            self.text.push(character);
            if self.text.len() >= Self::BYTES_MAX {
                return Some(rest);
            }
        }
        None
    }

    /// Whether it started with `</`.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The tag as written, for messages.
    pub(super) fn spelled(&self) -> String {
        format!("{}｜DSML｜{}", if self.closes { "</" } else { "<" }, self.text)
    }

    /// What has been read of it, without the marker.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn tag(&self) -> Tag {
        let text = self.text.strip_suffix('>').unwrap_or(&self.text).trim();
        let (word, attributes) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match (word, self.closes) {
            ("tool_calls", false) => Tag::OpenToolCalls,
            ("tool_calls", true) => Tag::CloseToolCalls,
            ("invoke", true) => Tag::CloseInvoke,
            ("parameter", true) => Tag::CloseParameter,
            ("invoke", false) => match attribute(attributes, "name") {
                Some(name) if !name.is_empty() => Tag::OpenInvoke {
                    name: name.to_owned(),
                },
                _ => Tag::Unknown,
            },
            ("parameter", false) => match attribute(attributes, "name") {
                Some(name) => Tag::OpenParameter {
                    name: name.to_owned(),
                    is_string: match attribute(attributes, "string") {
                        Some("true") => Some(true),
                        Some("false") => Some(false),
                        _ => None,
                    },
                },
                None => Tag::Unknown,
            },
            _ => Tag::Unknown,
        }
    }
}

/// The value of attribute `key` in `name="value" other="value"`.
fn attribute<'a>(attributes: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (value, next) = after.split_once('"').unwrap_or((after, ""));
        if name.trim() == key {
            return Some(value);
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(closes: bool, text: &str) -> (Tag, String) {
        let mut reader = TagReader::new(closes);
        let rest = reader.read(text).unwrap().to_owned();
        (reader.tag(), rest)
    }

    #[test]
    fn tags_are_read_with_their_attributes() {
        let parameter = |name: &str, is_string| Tag::OpenParameter {
            name: name.to_owned(),
            is_string,
        };
        assert_eq!(
            read(false, "tool_calls>\n"),
            (Tag::OpenToolCalls, "\n".to_owned())
        );
        assert_eq!(
            read(false, "invoke name=\"f\">\n"),
            (Tag::OpenInvoke { name: "f".to_owned() }, "\n".to_owned())
        );
        assert_eq!(
            read(false, "parameter name=\"k\" string=\"true\">v"),
            (parameter("k", Some(true)), "v".to_owned())
        );
        assert_eq!(
            read(false, "parameter name=\"a > b\" string=\"false\">"),
            (parameter("a > b", Some(false)), String::new())
        );
        assert_eq!(
            read(false, "parameter string=\"false\" name=\"k\">").0,
            parameter("k", Some(false))
        );
        assert_eq!(read(true, "invoke>x"), (Tag::CloseInvoke, "x".to_owned()));
    }

    #[test]
    fn broken_tags_end_and_are_read_as_far_as_possible() {
        let parameter = |name: &str, is_string| Tag::OpenParameter {
            name: name.to_owned(),
            is_string,
        };
        assert_eq!(read(false, "parameter name=\"k\">v").0, parameter("k", None));
        assert_eq!(
            read(false, "parameter name=\"k\" string=\"maybe\">").0,
            parameter("k", None)
        );
        assert_eq!(
            read(false, "invoke name=\"f>\nrest"),
            (Tag::OpenInvoke { name: "f".to_owned() }, "\nrest".to_owned())
        );
        assert_eq!(read(false, "invoke>").0, Tag::Unknown);
        assert_eq!(read(false, "b>").0, Tag::Unknown);
        let long = "x".repeat(5000);
        assert_eq!(
            read(false, &long),
            (Tag::Unknown, "x".repeat(5000 - TagReader::BYTES_MAX))
        );
    }
}
