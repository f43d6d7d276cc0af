//! Compiled grammars, kept because an agent sends the same tools with every request. Each user has his own: how long a reply
//! takes must not tell what others ask for.

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
    /// The grammar of `constraint` for answers that continue `opening`, for the user with this isolation id.
    pub(crate) fn get(
        &self,
        engine: &Engine,
        isolation: &str,
        constraint: &Constraint,
        opening: Opening,
    ) -> Result<Grammar, GrammarError> {
        let made_of = format!("{isolation:?} {opening:?} {constraint:?}");
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fathom_checkpoint::Checkpoint;
    use fathom_engine::EngineOptions;

    use super::*;

    #[test]
    fn users_do_not_share_what_was_compiled() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
        let engine = Engine::load(Checkpoint::open(&dir).unwrap(), &EngineOptions::default()).unwrap();
        let grammars = Grammars::default();
        let constraint = Constraint::Regex("a+".to_owned());
        for (isolation, kept) in [("1/", 1), ("2/", 2), ("1/", 2), ("1/x", 3)] {
            grammars
                .get(&engine, isolation, &constraint, Opening::Content)
                .unwrap();
            assert_eq!(grammars.kept.lock().len(), kept, "{isolation}");
        }
    }
}
