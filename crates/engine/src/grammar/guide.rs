//! What leads one answer along its grammar.

use fathom_prompt::Tokenizer;
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::error::{DeadEnd, plain};

/// Which tokens may come next.
#[derive(Debug, Clone, Copy)]
pub enum Allowed<'g> {
    /// All but these.
    AllBut(&'g [u32]),
    /// These.
    Only(&'g SimpleVob),
}

impl Allowed<'_> {
    /// No constraint.
    pub const ALL: Self = Self::AllBut(&[]);

    /// Whether `token` may come.
    pub fn has(self, token: u32) -> bool {
        match self {
            Self::AllBut(tokens) => !tokens.contains(&token),
            // A model may have more rows than its tokenizer has tokens.
            Self::Only(mask) => (token as usize) < mask.len() && mask.is_allowed(token),
        }
    }
}

/// Where an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the reasoning, which must be closed before anything else may end or begin.
    Reasoning,
    /// Free, until a tool-call block opens. `after_bracket`: the text ends with `<`, behind which the marker of a tag may
    /// stand.
    Watching { after_bracket: bool },
    /// In the grammar.
    Constrained,
}

/// A grammar and how far an answer has come in it.
pub struct Guide {
    tokenizer: Tokenizer,
    matcher: Matcher,
    phase: Phase,
    /// Tokens that have come.
    tokens: usize,
    mask: SimpleVob,
    /// Tokens that must not come outside of the grammar.
    forbidden: Vec<u32>,
}

impl Guide {
    pub(super) fn new(matcher: Matcher, phase: Phase, tokenizer: &Tokenizer) -> Self {
        let mut guide = Self {
            tokenizer: tokenizer.clone(),
            matcher,
            phase: Phase::Constrained,
            tokens: 0,
            mask: SimpleVob::default(),
            forbidden: Vec::new(),
        };
        guide.enter(phase);
        guide
    }

    /// The same place in the same grammar, for another answer.
    pub(super) fn fork(&self) -> Self {
        Self {
            tokenizer: self.tokenizer.clone(),
            // Deep: what one answer makes the grammar engine remember is no other's business.
            matcher: self.matcher.deep_clone(),
            phase: self.phase,
            tokens: self.tokens,
            mask: SimpleVob::default(),
            forbidden: self.forbidden.clone(),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let (end, marker) = (self.tokenizer.eos_id(), self.tokenizer.dsml_id());
        self.forbidden.clear();
        match phase {
            Phase::Reasoning => {
                // Whatever ends reasoning in another way than it should.
                let turns = [
                    "<｜begin▁of▁sentence｜>",
                    "<｜User｜>",
                    "<｜Assistant｜>",
                    "<think>",
                ];
                let turns = turns
                    .iter()
                    .filter_map(|spelling| self.tokenizer.special_id(spelling));
                self.forbidden.extend(turns.chain([end, marker]));
            }
            // Elsewhere the marker would be no tag.
            Phase::Watching { after_bracket: false } => self.forbidden.push(marker),
            Phase::Watching { after_bracket: true } | Phase::Constrained => {}
        }
    }

    /// Which tokens may come next.
    pub fn allowed(&mut self) -> Result<Allowed<'_>, DeadEnd> {
        if self.phase != Phase::Constrained {
            return Ok(Allowed::AllBut(&self.forbidden));
        }
        self.mask = self
            .matcher
            .compute_mask_or_eos()
            .map_err(|error| dead_end(self.tokens, &error))?;
        if self.mask.is_zero() {
            return Err(dead_end(self.tokens, &"no token is possible"));
        }
        Ok(Allowed::Only(&self.mask))
    }

    /// Goes on by a token that was allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), DeadEnd> {
        let before = self.tokens;
        self.tokens += 1;
        match self.phase {
            Phase::Reasoning => {
                if token == self.tokenizer.think_end_id() {
                    self.enter(Phase::Constrained);
                }
            }
            Phase::Watching { after_bracket } => {
                if token == self.tokenizer.dsml_id() && after_bracket {
                    self.enter(Phase::Constrained);
                    return Ok(());
                }
                let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
                let after_bracket = bytes.last() == Some(&b'<') && !self.tokenizer.is_added(token);
                self.enter(Phase::Watching { after_bracket });
            }
            // The end of the text may come where the grammar is complete, and there is nothing behind it.
            Phase::Constrained if token == self.tokenizer.eos_id() => {}
            Phase::Constrained => self
                .matcher
                .consume_token(token)
                .map_err(|error| dead_end(before, &error))?,
        }
        Ok(())
    }

    /// Goes on by a text that the prompt has already. `Err` if the grammar does not allow it.
    pub(super) fn skip(&mut self, text: &str) -> Result<(), ()> {
        match self.phase {
            Phase::Reasoning => return Ok(()),
            Phase::Watching { .. } if text.is_empty() => return Ok(()),
            Phase::Watching { .. } => {
                self.enter(Phase::Watching {
                    after_bracket: text.ends_with('<'),
                });
                return Ok(());
            }
            Phase::Constrained => {}
        }
        let ids = self.tokenizer.encode_plain(text).map_err(drop)?;
        match self.matcher.try_consume_tokens(&ids) {
            Ok(count) if count == ids.len() => Ok(()),
            _ => Err(()),
        }
    }
}

fn dead_end(tokens: usize, detail: &dyn std::fmt::Display) -> DeadEnd {
    DeadEnd {
        tokens,
        detail: plain(detail),
    }
}
