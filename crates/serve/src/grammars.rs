//! Compiled grammars, kept because an agent sends the same tools with every request.

use std::collections::VecDeque;

use fathom_engine::Engine;
use fathom_engine::grammar::{Constraint, Grammar, GrammarError};
use fathom_prompt::Opening;
use parking_lot::Mutex;

/// Most grammars that are kept; one is a few hundred kilobytes at most.
const KEPT_MAX: usize = 64;

/// Grammars by what they were made of, the most recently used first.
#[derive(Default)]
pub(crate) struct Grammars {
    kept: Mutex<VecDeque<(blake3::Hash, Grammar)>>,
}

impl Grammars {
    /// The grammar of `constraint` for answers that continue `opening`.
    pub(crate) fn get(
        &self,
        engine: &Engine,
        constraint: &Constraint,
        opening: Opening,
    ) -> Result<Grammar, GrammarError> {
        let made_of = format!("{opening:?} {constraint:?}");
        let name = blake3::keyed_hash(engine.identity(), made_of.as_bytes());
        if let Some(known) = self.find(&name) {
            return Ok(known);
        }
        let grammar = engine.compile(constraint, opening)?;
        let mut kept = self.kept.lock();
        kept.push_front((name, grammar.clone()));
        kept.truncate(KEPT_MAX);
        Ok(grammar)
    }

    fn find(&self, name: &blake3::Hash) -> Option<Grammar> {
        let mut kept = self.kept.lock();
        let index = kept.iter().position(|(other, _)| other == name)?;
        let found = kept.remove(index)?;
        let grammar = found.1.clone();
        kept.push_front(found);
        Some(grammar)
    }
}
