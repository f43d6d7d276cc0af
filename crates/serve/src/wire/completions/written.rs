//! What has been written for one prompt.

use deepseek_recipe::stream::TokenLogprob;
use serde_json::{Map, Value, json};

/// Text, and log-probabilities if asked for, that have not been shown yet.
pub(super) struct Written {
    text: String,
    logprobs: Option<Logprobs>,
    /// A repeated prompt whose log-probabilities come at the end.
    echo: Option<Echo>,
    finish_reason: Option<&'static str>,
    /// Where the next token begins, in characters of the whole text.
    offset: usize,
    /// There is something to show.
    fresh: bool,
}

/// A prompt to be repeated.
pub(super) struct Echo {
    pub(super) text: String,
    /// The spelling of the token that the others follow, if it is part of the text.
    pub(super) first: Option<String>,
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
    pub(super) fn new(echo: Option<Echo>, logprobs: bool) -> Self {
        let text = echo.as_ref().map(|echo| echo.text.clone()).unwrap_or_default();
        Self {
            offset: text.chars().count(),
            fresh: !text.is_empty(),
            text,
            echo: echo.filter(|_| logprobs),
            logprobs: logprobs.then(Logprobs::default),
            finish_reason: None,
        }
    }

    /// The log-probabilities of a repeated prompt's tokens, to be shown before those of the text.
    pub(super) fn prepend(&mut self, tokens: &[TokenLogprob]) {
        let (Some(echo), Some(written)) = (self.echo.take(), &mut self.logprobs) else {
            return;
        };
        let mut prompt = Logprobs::default();
        let mut offset = 0;
        if let Some(first) = echo.first {
            offset = first.chars().count();
            // Nothing comes before it that could have foretold it.
            prompt.tokens.push(first.into());
            prompt.chosen.push(Value::Null);
            prompt.likely.push(Value::Null);
            prompt.offsets.push(0.into());
        }
        for token in tokens {
            prompt.push(token, offset);
            offset += characters(&token.bytes);
        }
        prompt.append(std::mem::take(written));
        *written = prompt;
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
    /// While log-probabilities of the prompt are to come, nothing is shown before them.
    pub(super) fn shown_if_new(&mut self, index: usize) -> Option<Value> {
        (self.fresh && self.echo.is_none()).then(|| self.shown(index))
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

    fn append(&mut self, mut later: Self) {
        self.tokens.append(&mut later.tokens);
        self.chosen.append(&mut later.chosen);
        self.likely.append(&mut later.likely);
        self.offsets.append(&mut later.offsets);
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

    fn token(text: &str, bytes: &[u8]) -> TokenLogprob {
        TokenLogprob {
            token: text.to_owned(),
            logprob: -1.0,
            bytes: bytes.to_vec(),
            top_logprobs: vec![TopLogprob {
                token: "x".to_owned(),
                logprob: -0.5,
                bytes: b"x".to_vec(),
            }],
        }
    }

    #[test]
    fn offsets_count_characters() {
        let mut written = Written::new(None, true);
        // A character of two tokens.
        written.push("é", &[token("\\xc3", &[0xc3]), token("\\xa9", &[0xa9])]);
        written.push("a", &[token("a", b"a")]);
        written.finish("stop");
        let shown = written.shown(3);
        assert_eq!(shown["text"], "éa");
        assert_eq!(shown["index"], 3);
        assert_eq!(shown["logprobs"]["text_offset"], json!([0, 1, 1]));
        assert_eq!(
            shown["logprobs"]["top_logprobs"][2],
            json!({"x": -0.5, "a": -1.0})
        );
        assert!(written.shown_if_new(3).is_none());
    }

    #[test]
    fn a_prompt_comes_before_its_completion() {
        for first in [Some("n".to_owned()), None] {
            let echo = Echo {
                text: "né".to_owned(),
                first: first.clone(),
            };
            let mut written = Written::new(Some(echo), true);
            written.push("a", &[token("a", b"a")]);
            assert!(written.shown_if_new(0).is_none(), "the prompt's are not there");
            let prompt = [token("n", b"n"), token("é", "é".as_bytes())];
            written.prepend(&prompt[usize::from(first.is_some())..]);
            written.finish("stop");
            let shown = written.shown_if_new(0).unwrap();
            assert_eq!(shown["text"], "néa");
            let logprobs = &shown["logprobs"];
            assert_eq!(logprobs["tokens"], json!(["n", "é", "a"]));
            assert_eq!(logprobs["text_offset"], json!([0, 1, 2]));
            let known = if first.is_some() { json!(null) } else { json!(-1.0) };
            assert_eq!(logprobs["token_logprobs"], json!([known, -1.0, -1.0]));
        }
    }
}
