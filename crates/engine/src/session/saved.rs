//! Sessions in files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fathom_cache::saved::{self, LoadError, SavedState, ToSave};

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

/// Bytes of the number of logits, which stands before them and the caller's note.
const COUNT: usize = 8;

impl Session {
    /// Saves tokens, state and logits to `path`, with a `note` of the caller's; replaces what is there, all at once.
    ///
    /// A state that is not here, after a [`rewind`](Self::rewind), is taken from the cache, and what the cache does not
    /// have is computed: a restored session always goes on without reading anything again.
    pub fn save(&mut self, path: &Path, note: &[u8]) -> Result<(), SaveError> {
        self.come_home();
        self.complete()?;
        let core = self.engine.core();
        let Timeline {
            tokens,
            state,
            logits,
        } = &self.timeline;
        // The state is there now, and exact: a run that ends before its state is gives none back.
        let state = state.as_ref().ok_or(SessionError::Bug)?;
        let live = state.live().ok_or(SessionError::Bug)?;
        let mut user = Vec::with_capacity(COUNT + 4 * logits.len() + note.len());
        user.extend((logits.len() as u64).to_le_bytes());
        user.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        user.extend(note);
        saved::write(
            path,
            &ToSave {
                identity: &core.identity,
                tokens,
                pages: state.pages(),
                live: &live,
                user: &user,
            },
        )?;
        Ok(())
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
        let (logits, note) = split(&user, vocab_size).map_err(refuse)?;
        let restored = core.model.restore(tokens.len(), &pages, &live);
        let mut state = restored.map_err(|error| refuse(error.to_string()))?;
        if !tokens.is_empty() {
            let mut place = core.cache.path(isolation);
            core.publish(&mut place, &tokens, &mut state);
            core.keep_snapshot(&place, &tokens, &state);
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

/// Logits, none or `vocab_size` of them, and the caller's note.
fn split(user: &[u8], vocab_size: usize) -> Result<(Vec<f32>, Vec<u8>), String> {
    let parts = user.split_first_chunk::<COUNT>().and_then(|(count, rest)| {
        let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
        let (logits, note) = rest.split_at_checked(count.checked_mul(4)?)?;
        (count == 0 || count == vocab_size).then_some((logits, note))
    });
    let (logits, note) =
        parts.ok_or_else(|| format!("expected no logits or {vocab_size}, found another number of them"))?;
    let logits = logits
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes));
    Ok((logits.collect(), note.to_vec()))
}
