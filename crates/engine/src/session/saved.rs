//! Sessions in files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fathom_cache::saved::{self, LoadError, SavedState, ToSave};

use super::extra::Extra;
use super::{Session, SessionError};
use crate::Engine;
use crate::memory::NotEnoughMemory;
use crate::timeline::Timeline;

/// A session that could not be saved. What the file held before is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The state was not there and could not be computed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] saved::SaveError),
}

/// A session that could not be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is no such file, it is damaged, or another model or other numerics made it.
    #[error(transparent)]
    File(#[from] LoadError),
    /// The state would not fit into the memory that states may take.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// The file is sound, but what it holds is no session of this model.
    #[error("the saved session {} is none of this model's: {reason}. Start a new one", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
}

/// Most bytes of earlier states that are saved with a session.
const EARLIER_MAX: usize = 32 << 20;

impl Session {
    /// Saves tokens, state and logits to `path`, with a `note` of the caller's; replaces what is there, all at once.
    ///
    /// A state that is not here, after a [`rewind`](Self::rewind), is taken from the cache, and what the cache does not
    /// have is computed: a restored session always goes on without reading anything again.
    pub fn save(&mut self, path: &Path, note: &[u8]) -> Result<(), SaveError> {
        self.save_with(path, note, &[])
    }

    /// As [`save`](Self::save), with places to [`rewind`](Self::rewind) to: for each position of `earlier` the last state up to it that
    /// the cache has, the first positions first, up to 32 MiB of them.
    pub fn save_with(&mut self, path: &Path, note: &[u8], earlier: &[usize]) -> Result<(), SaveError> {
        self.come_home();
        self.complete()?;
        let earlier = self.earlier_states(earlier);
        let core = self.engine.core();
        let Timeline {
            tokens,
            state,
            logits,
        } = &self.timeline;
        // The state is there now, and exact: a run that ends before its state is gives none back.
        let state = state.as_ref().ok_or(SessionError::Bug)?;
        let live = state.live().ok_or(SessionError::Bug)?;
        let extra = Extra {
            logits: logits.clone(),
            earlier,
            note: note.to_vec(),
        };
        saved::write(
            path,
            &ToSave {
                identity: &core.identity,
                tokens,
                pages: state.pages(),
                live: &live,
                user: &extra.to_bytes(),
            },
        )?;
        Ok(())
    }

    /// The live states that the cache has at or before `positions`, ascending.
    fn earlier_states(&self, positions: &[usize]) -> Vec<(usize, Arc<[u8]>)> {
        let core = self.engine.core();
        let mut states: Vec<(usize, Arc<[u8]>)> = Vec::new();
        let mut bytes = 0;
        for &position in positions {
            let limit = position.min(self.len());
            let found = core.cache.find(&self.isolation, self.tokens(), limit).load();
            let new = !states.iter().any(|(at, _)| *at == found.len);
            if let (true, Some(live)) = (new && found.len < self.len(), found.live)
                && bytes + live.len() <= EARLIER_MAX
            {
                bytes += live.len();
                states.push((found.len, live));
            }
        }
        states.sort_unstable_by_key(|(position, _)| *position);
        states
    }

    /// Makes this the longest beginning of `tokens` whose state is there, its own or one in the cache; returns how many
    /// tokens that are. Nothing is computed: what would have to be replayed is not there.
    pub fn recall(&mut self, tokens: &[u32]) -> usize {
        self.come_home();
        if self.timeline.state.is_none() || !tokens.starts_with(&self.timeline.tokens) {
            self.timeline = Timeline::default();
        }
        let core = self.engine.core();
        let found = core.cache.find(&self.isolation, tokens, tokens.len());
        if found.len() > self.len() {
            let prefix = found.load();
            if prefix.live.is_some() && prefix.len > self.len() {
                let (state, ..) = core.restore(&self.isolation, prefix);
                self.timeline = Timeline {
                    tokens: tokens[..state.len()].to_vec(),
                    state: Some(state),
                    logits: Vec::new(),
                };
            }
        }
        self.len()
    }

    /// Sees to it that the state is there.
    fn complete(&mut self) -> Result<(), SessionError> {
        if self.timeline.state.is_some() {
            return Ok(());
        }
        if self.is_empty() {
            self.timeline.state = Some(self.engine.core().model.new_state());
            return Ok(());
        }
        let tokens = std::mem::take(&mut self.timeline.tokens);
        let held = self.recall(&tokens);
        let appended = self.append(&tokens[held..], &mut |_| ControlFlow::Continue(()));
        if let Err(error) = appended {
            self.timeline = Timeline {
                tokens,
                ..Timeline::default()
            };
            return Err(error);
        }
        Ok(())
    }
}

impl Engine {
    /// The session that was saved in `path`, and the note that was saved with it. The next append or generation goes on
    /// with the saved state: nothing is computed again, and every bit is as if the session had never been away.
    pub fn restore(self: &Arc<Self>, path: &Path) -> Result<(Session, Vec<u8>), RestoreError> {
        self.restore_of("", path)
    }

    /// As [`restore`](Self::restore), for a user: see [`session_of`](Self::session_of).
    pub fn restore_of(
        self: &Arc<Self>,
        isolation: &str,
        path: &Path,
    ) -> Result<(Session, Vec<u8>), RestoreError> {
        let core = self.core();
        let refuse = |reason: String| RestoreError::Content {
            path: path.to_owned(),
            reason,
        };
        let mut saved = saved::read(path)?;
        let (tokens, user) = (std::mem::take(&mut saved.tokens), std::mem::take(&mut saved.user));
        core.check_memory(tokens.len())?;
        let SavedState { pages, live } = saved.state(&core.identity)?;
        let vocab_size = self.config().vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(refuse(format!(
                "expected token ids below {vocab_size}, found {token}"
            )));
        }
        let (model, len) = (&core.model, tokens.len());
        let extra = Extra::from_bytes(&user).filter(|extra| {
            let fits = |(at, live): &(usize, Arc<[u8]>)| {
                (1..len).contains(at) && live.len() == model.live_bytes(*at)
            };
            (extra.logits.is_empty() || extra.logits.len() == vocab_size)
                && extra.earlier.iter().all(fits)
                && extra.earlier.is_sorted_by_key(|(at, _)| *at)
        });
        let Extra {
            logits,
            earlier,
            note,
        } = extra.ok_or_else(|| {
            refuse(format!(
                "expected none or {vocab_size} logits and states of positions before {len}, found other data"
            ))
        })?;
        let restored = model.restore(len, &pages, &live);
        let mut state = restored.map_err(|error| refuse(error.to_string()))?;
        let mut place = core.cache.path(isolation);
        for (position, live) in earlier.into_iter().chain([(len, live.into())]) {
            if position > 0 {
                core.publish_up_to(&mut place, &tokens[..position], &mut state);
                core.keep_live(&place, &tokens[..position], || live);
            }
        }
        let mut session = self.session_of(isolation);
        session.timeline = Timeline {
            tokens,
            state: Some(state),
            logits,
        };
        Ok((session, note))
    }
}
