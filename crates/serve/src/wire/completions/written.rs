//! What has been written for one prompt.

use deepseek_recipe::stream::TokenLogprob;
use serde_json::{Map, Value, json};

/// Text, and log-probabilities if asked for, that have not been shown yet.
pub(super) struct Written {
    text: String,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    /// Where the next token begins, in characters of the whole text.
    offset: usize,
    /// There is something to show.
    fresh: bool,
}

#[derive(Default)]
struct Logprobs {
    tokens: Vec<Value>,
    chosen: Vec<Value>,
    likely: Vec<Value>,
    offsets: Vec<Value>,
}

impl Written {
    /// Begins with `echo`, a repeated prompt.
    pub(super) fn new(echo: &str, logprobs: bool) -> Self {
        Self {
            text: echo.to_owned(),
            logprobs: logprobs.then(Logprobs::default),
            finish_reason: None,
            offset: echo.chars().count(),
            fresh: !echo.is_empty(),
        }
    }

    /// More text, and the tokens behind it.
    pub(super) fn push(&mut self, text: &str, tokens: &[TokenLogprob]) {
        self.text.push_str(text);
        self.fresh = true;
        let Some(logprobs) = &mut self.logprobs else {
            return;
        };
        for token in tokens {
            logprobs.push(token, self.offset);
            self.offset += characters(&token.bytes);
        }
    }

    /// The text ends.
    pub(super) fn finish(&mut self, reason: &'static str) {
        self.finish_reason = Some(reason);
        self.fresh = true;
    }

    /// What is new, as choice `index` of a reply.
    pub(super) fn shown(&mut self, index: usize) -> Value {
        self.fresh = false;
        json!({
            "text": std::mem::take(&mut self.text),
            "index": index,
            "logprobs": self.logprobs.as_mut().map(|logprobs| std::mem::take(logprobs).shown()),
            "finish_reason": self.finish_reason,
        })
    }

    /// What is new, if anything is.
    pub(super) fn shown_if_new(&mut self, index: usize) -> Option<Value> {
        self.fresh.then(|| self.shown(index))
    }
}

/// Characters that begin within `bytes`.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&byte| byte & 0xc0 != 0x80).count()
}

impl Logprobs {
    fn push(&mut self, token: &TokenLogprob, offset: usize) {
        let mut top = Map::new();
        for likely in &token.top_logprobs {
            // Of several tokens that look the same, the most likely counts.
            top.entry(likely.token.as_str())
                .or_insert_with(|| likely.logprob.into());
        }
        top.entry(token.token.as_str())
            .or_insert_with(|| token.logprob.into());
        self.tokens.push(token.token.as_str().into());
        self.chosen.push(token.logprob.into());
        self.likely.push(top.into());
        self.offsets.push(offset.into());
    }

    fn shown(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.chosen,
            "top_logprobs": self.likely,
            "text_offset": self.offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use deepseek_recipe::stream::TopLogprob;

    use super::*;

    #[test]
    fn offsets_count_characters() {
        let mut written = Written::new("né", true);
        let token = |text: &str, bytes: &[u8]| TokenLogprob {
            token: text.to_owned(),
            logprob: -1.0,
            bytes: bytes.to_vec(),
            top_logprobs: vec![TopLogprob {
                token: "x".to_owned(),
                logprob: -0.5,
                bytes: b"x".to_vec(),
            }],
        };
        // A character of two tokens.
        written.push("é", &[token("\\xc3", &[0xc3]), token("\\xa9", &[0xa9])]);
        written.push("a", &[token("a", b"a")]);
        written.finish("stop");
        let shown = written.shown(3);
        assert_eq!(shown["text"], "nééa");
        assert_eq!(shown["index"], 3);
        assert_eq!(shown["logprobs"]["text_offset"], json!([2, 3, 3]));
        assert_eq!(
            shown["logprobs"]["top_logprobs"][2],
            json!({"x": -0.5, "a": -1.0})
        );
        assert!(written.shown_if_new(3).is_none());
    }
}
