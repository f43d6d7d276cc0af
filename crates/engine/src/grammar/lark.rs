//! Pieces of Lark grammars.

use llguidance::regex_to_lark;
use regex_syntax::hir::{Hir, HirKind, Look};

/// `text` as a Lark string.
pub(super) fn literal(text: &str) -> String {
    // The grammar's own reader stops at this one character that JSON does not escape.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

/// `regex` between slashes. As in ECMAScript, and in JSON schemas, digits and word characters are ASCII.
pub(super) fn regex(regex: &str) -> String {
    format!("/{}/", regex_to_lark(regex, "dw"))
}

/// A regular expression for the whole of a text in which a JSON schema's `pattern` is found somewhere. `None` where that
/// cannot be said without looking around.
pub(super) fn whole_text(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(&regex_to_lark(pattern, "dw").replace("\\/", "/")).ok()?;
    whole(&hir)
}

fn whole(hir: &Hir) -> Option<String> {
    const ANYTHING: &str = "(?s:.*)";
    match hir.kind() {
        HirKind::Capture(capture) => whole(&capture.sub),
        HirKind::Alternation(options) => {
            let options = options.iter().map(whole).collect::<Option<Vec<_>>>()?;
            Some(format!("(?:{})", options.join("|")))
        }
        kind => {
            let mut parts = match kind {
                HirKind::Concat(parts) => parts.as_slice(),
                _ => std::slice::from_ref(hir),
            };
            let is = |part: Option<&Hir>, look| part.is_some_and(|part| *part.kind() == HirKind::Look(look));
            let starts = is(parts.first(), Look::Start);
            if starts {
                parts = &parts[1..];
            }
            let ends = is(parts.last(), Look::End);
            if ends {
                parts = &parts[..parts.len() - 1];
            }
            if !parts.iter().all(|part| part.properties().look_set().is_empty()) {
                return None;
            }
            let around = |anchored: bool| if anchored { "" } else { ANYTHING }.to_owned();
            let mut expressions = vec![around(starts)];
            expressions.extend(parts.iter().map(|part| format!("(?:{part})")));
            expressions.push(around(ends));
            Some(expressions.concat())
        }
    }
}

/// The line on which a grammar names a control token: in Lark, `<` stands for nothing else outside of strings, regular
/// expressions and comments.
pub(super) fn control_token_line(grammar: &str) -> Option<usize> {
    for (index, line) in grammar.lines().enumerate() {
        let mut chars = line.chars().peekable();
        let mut inside = None;
        while let Some(char) = chars.next() {
            match (inside, char) {
                (Some(_), '\\') => {
                    chars.next();
                }
                (Some(end), char) if end == char => inside = None,
                (None, '/') if chars.peek() == Some(&'/') => break,
                (None, '#') => break,
                (None, '"' | '/') => inside = Some(char),
                (None, '<') => return Some(index + 1),
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_say_where_a_pattern_may_begin_and_end() {
        for (pattern, expected) in [
            ("^a+$", "(?:a+)"),
            ("a", "(?s:.*)(?:a)(?s:.*)"),
            ("^a", "(?:a)(?s:.*)"),
            ("b$", "(?s:.*)(?:b)"),
            ("^(a$|b)", "(?:a)|(?:b)(?s:.*)"),
            ("^", "(?s:.*)"),
            ("^$", ""),
        ] {
            let found = whole_text(pattern);
            if pattern == "^(a$|b)" {
                assert_eq!(found, None, "an anchor within: left to those who can look around");
            } else {
                assert_eq!(found.as_deref(), Some(expected), "{pattern}");
            }
        }
        assert_eq!(
            whole_text("(a$|^b)").as_deref(),
            Some("(?:(?s:.*)(?:a)|(?:b)(?s:.*))")
        );
        assert_eq!(whole_text(r"a\b"), None);
        assert_eq!(whole_text("("), None);
        assert_eq!(
            whole_text(r"^\d/\w$").as_deref(),
            Some("(?:[0-9])(?:/)(?:[0-9A-Z_a-z])")
        );
    }

    #[test]
    fn control_tokens_are_found_wherever_they_stand() {
        assert_eq!(
            control_token_line("start: \"<\" /</ // <[1]>\nA: \"x\" # <a>"),
            None
        );
        assert_eq!(control_token_line("start: a\na: \"\\\"\" <[1]>"), Some(2));
        assert_eq!(control_token_line("start: /\\//  <|tool|>"), Some(1));
    }
}
