//! A prompt under construction: plain text, control tokens and replayed ids in order.

use deepseek_recipe_core::special_tokens::SpecialToken;

use super::{Opening, RenderError};
use crate::Tokenizer;

/// One stretch of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// Text; its ids never include a control token.
    Plain(String),
    /// One control token, by spelling.
    Control(String),
    /// Ids replayed as they were sampled.
    Sampled(Vec<u32>),
}

impl Span {
    pub(super) fn is(&self, token: SpecialToken) -> bool {
        matches!(self, Self::Control(spelling) if spelling == token.default_str())
    }
}

/// Spans of a prompt. Adjacent plain text is always one span, so that it is encoded in one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PromptSpans {
    spans: Vec<Span>,
}

impl PromptSpans {
    /// Spans of a prompt the vendor crate rendered.
    pub(super) fn from_vendor(rendered: &deepseek_recipe_encoding::RenderedPrompt) -> Self {
        let mut spans = Self::default();
        let mut at = 0;
        for range in &rendered.special_ranges {
            spans.plain(&rendered.prompt[at..range.start]);
            spans.control(&rendered.prompt[range.clone()]);
            at = range.end;
        }
        spans.plain(&rendered.prompt[at..]);
        spans
    }

    pub(super) fn plain(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Span::Plain(last)) = self.spans.last_mut() {
            last.push_str(text);
        } else {
            self.spans.push(Span::Plain(text.to_owned()));
        }
    }

    pub(super) fn control(&mut self, spelling: &str) {
        self.spans.push(Span::Control(spelling.to_owned()));
    }

    pub(super) fn token(&mut self, token: SpecialToken) {
        self.control(token.default_str());
    }

    pub(super) fn sampled(&mut self, ids: &[u32]) {
        if !ids.is_empty() {
            self.spans.push(Span::Sampled(ids.to_vec()));
        }
    }

    pub(super) fn push(&mut self, span: Span) {
        match span {
            Span::Plain(text) => self.plain(&text),
            other => self.spans.push(other),
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        other.spans.into_iter().for_each(|span| self.push(span));
    }

    pub(super) fn as_slice(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn into_vec(self) -> Vec<Span> {
        self.spans
    }

    /// What the last `<｜Assistant｜>` leaves open.
    pub(super) fn opening(&self) -> Opening {
        self.spans
            .iter()
            .fold(Opening::Content, |opening, span| match span {
                span if span.is(SpecialToken::ThinkingStart) => Opening::Reasoning,
                Span::Control(_) => Opening::Content,
                Span::Plain(_) | Span::Sampled(_) => opening,
            })
    }

    /// Text and ids of the prompt.
    pub(super) fn encode(&self, tokenizer: &Tokenizer) -> Result<(String, Vec<u32>), RenderError> {
        let mut text = String::new();
        let mut ids = Vec::new();
        for span in &self.spans {
            match span {
                Span::Plain(plain) => {
                    text.push_str(plain);
                    ids.extend(tokenizer.encode_plain(plain)?);
                }
                Span::Control(spelling) => {
                    let id =
                        tokenizer
                            .special_id(spelling)
                            .ok_or_else(|| RenderError::MissingControlToken {
                                token: spelling.clone(),
                            })?;
                    text.push_str(spelling);
                    ids.push(id);
                }
                Span::Sampled(sampled) => {
                    text.push_str(&tokenizer.decode(sampled));
                    ids.extend(sampled);
                }
            }
        }
        Ok((text, ids))
    }
}
