//! States from what was kept of them: pages with a live state, or pages alone.

use std::slice;
use std::sync::Arc;

use crate::state::State;
use crate::weights::Model;

/// Pages and a live state that cannot be a state of the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// More tokens than the model's context.
    #[error("a state of {len} tokens is beyond this model's context, which ends at {max}; give fewer pages")]
    TooLong {
        /// Tokens of the state.
        len: usize,
        /// `max_position_embeddings`.
        max: usize,
    },
    /// Too many or too few pages.
    #[error("a state of {len} tokens has {expected} complete pages, but {found} were given")]
    Pages {
        /// Tokens of the state.
        len: usize,
        /// Complete pages of such a state.
        expected: usize,
        /// Pages given.
        found: usize,
    },
    /// A page of another size.
    #[error(
        "page {index} has {found} bytes, but pages of this model under these numerics have {expected}; it belongs to \
         another model or is damaged"
    )]
    PageSize {
        /// Which one, from 0.
        index: usize,
        /// [`Model::page_bytes`].
        expected: usize,
        /// Its bytes.
        found: usize,
    },
    /// A live state of another size.
    #[error(
        "the live state has {found} bytes, but that of {len} tokens has {expected}; it belongs to another model or \
         length or is damaged"
    )]
    LiveSize {
        /// Tokens of the state.
        len: usize,
        /// [`Model::live_bytes`].
        expected: usize,
        /// Its bytes.
        found: usize,
    },
}

/// Raised with every change to the bytes of pages or live states, and to any bit that the arithmetic gives: states of
/// before must not be continued.
const STATE_VERSION: u32 = 2;

impl State {
    /// Lets `page` take the place of complete page `index`, whose bytes it has: for sharing it with others that have it.
    /// Another page, or one that is not there, changes nothing.
    pub fn share_page(&mut self, index: usize, page: Arc<[u8]>) {
        let complete = self.pages().len();
        if let Some(own) = self.pages[..complete].get_mut(index) {
            debug_assert!(*own == page, "page {index} differs");
            if own.len() == page.len() {
                *own = page;
            }
        }
    }

    /// Everything beside the complete pages, little endian, [`Model::live_bytes`] long. `None` if the state is not exact:
    /// while replaying, and after a failed step.
    ///
    /// For each layer the window rows that later tokens see, by position; then for each list of a page keys and gates of
    /// pending tokens (float32) and the rows in the page that is not complete.
    pub fn live(&self) -> Option<Vec<u8>> {
        if self.broken || self.len < self.replayed {
            return None;
        }
        let layout = &*self.layout;
        let mut live = Vec::with_capacity(layout.live_bytes(self.len));
        let slots = layout.window_slots;
        let positions = self.len - layout.window_rows(self.len)..self.len;
        for layer in &layout.layers {
            let ring = layer.window.rows(slice::from_ref(&self.window), slots);
            for position in positions.clone() {
                live.extend_from_slice(ring.packed(position % slots));
            }
        }
        for (list, pending) in layout.lists.iter().zip(&self.pending) {
            for x in pending.keys.iter().chain(&pending.gates) {
                live.extend_from_slice(&x.to_le_bytes());
            }
            if let Some(page) = self.pages.get(self.len / layout.page_tokens) {
                let rows = self.len % layout.page_tokens / list.ratio;
                live.extend_from_slice(&page[list.rows.offset..][..rows * list.rows.format.bytes()]);
            }
        }
        debug_assert_eq!(live.len(), layout.live_bytes(self.len));
        Some(live)
    }
}

impl Model {
    /// Bytes of [`State::live`] after `len` tokens.
    pub fn live_bytes(&self, len: usize) -> usize {
        self.layout().live_bytes(len)
    }

    /// Tokens that [`replay`](Self::replay) computes again at least, where there are as many.
    pub fn replay_tokens(&self) -> usize {
        self.layout().replay_tokens()
    }

    /// A hash that two models share only if their states can be exchanged: the
    /// [checkpoint's](fathom_checkpoint::Checkpoint::identity), the numerics, and this program's version.
    pub fn identity(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new_derive_key("fathom model identity");
        hash.update(&self.checkpoint().identity());
        hash.update(self.numerics().name().as_bytes());
        hash.update(&STATE_VERSION.to_le_bytes());
        hash.update(env!("CARGO_PKG_VERSION").as_bytes());
        hash.finalize().into()
    }

    /// The state after `len` tokens: `pages` are its complete ones, `len / page_tokens`, and `live` is the rest. They are
    /// [`State::pages`] and [`State::live`] of such a state, and what is appended gives the same bits.
    ///
    /// Sizes are checked. Other bytes of the right sizes give wrong logits or [`NotFinite`](crate::ForwardError::NotFinite),
    /// and nothing worse: whoever stores bytes guards them with checksums, and with [`identity`](Self::identity).
    pub fn restore(&self, len: usize, pages: &[Arc<[u8]>], live: &[u8]) -> Result<State, RestoreError> {
        let mut state = self.with_pages(len, pages)?;
        let layout = Arc::clone(self.layout());
        let (expected, found) = (layout.live_bytes(len), live.len());
        if found != expected {
            return Err(RestoreError::LiveSize { len, expected, found });
        }
        let mut live = Bytes(live);
        let slots = layout.window_slots;
        for layer in &layout.layers {
            for position in len - layout.window_rows(len)..len {
                let row = layer
                    .window
                    .slot(slice::from_mut(&mut state.window), position % slots);
                row.copy_from_slice(live.take(row.len()));
            }
        }
        state.grow(len);
        for (list, pending) in layout.lists.iter().zip(&mut state.pending) {
            let bytes = list.pending_bytes(len) / 2;
            pending.keys.extend(floats(live.take(bytes)));
            pending.gates.extend(floats(live.take(bytes)));
            if let Some(page) = state.pages.get_mut(pages.len()) {
                let bytes = len % layout.page_tokens / list.ratio * list.rows.format.bytes();
                let rows = &mut Arc::make_mut(page)[list.rows.offset..][..bytes];
                rows.copy_from_slice(live.take(bytes));
            }
        }
        state.len = len;
        Ok(state)
    }

    /// A state from pages alone, whose windows are computed again: it stands [`replay_tokens`](Self::replay_tokens) or
    /// somewhat more before the end of the last page, at the end of a page or at 0. The sequence's own tokens are then
    /// appended from there; entries that the pages hold are not written again. Up to [`State::known`], the end of the last
    /// page, the state is not exact, so there is no logit of those positions; from there on every bit is as if
    /// all tokens had been computed.
    pub fn replay(&self, pages: &[Arc<[u8]>]) -> Result<State, RestoreError> {
        let layout = self.layout();
        let known = pages.len().saturating_mul(layout.page_tokens);
        let start = known.saturating_sub(layout.replay_tokens());
        self.replay_from(start / layout.page_tokens * layout.page_tokens, pages)
    }

    /// A state at `start`, with nothing in windows and pending tokens but zeros, that knows the entries of `pages`.
    fn replay_from(&self, start: usize, pages: &[Arc<[u8]>]) -> Result<State, RestoreError> {
        let layout = self.layout();
        let known = pages.len().saturating_mul(layout.page_tokens);
        let mut state = self.with_pages(known, pages)?;
        state.replayed = known;
        state.len = start;
        for (list, pending) in layout.lists.iter().zip(&mut state.pending) {
            let floats = list.pending_tokens(state.len) * list.token_width;
            pending.keys.resize(floats, 0.0);
            pending.gates.resize(floats, 0.0);
        }
        Ok(state)
    }

    /// A new state that has the complete pages of one of `len` tokens.
    fn with_pages(&self, len: usize, pages: &[Arc<[u8]>]) -> Result<State, RestoreError> {
        let max = self.config().max_position_embeddings;
        if len > max {
            return Err(RestoreError::TooLong { len, max });
        }
        let (expected, found) = (len / self.page_tokens(), pages.len());
        if found != expected {
            return Err(RestoreError::Pages { len, expected, found });
        }
        let expected = self.page_bytes();
        if let Some(index) = pages.iter().position(|page| page.len() != expected) {
            let found = pages[index].len();
            return Err(RestoreError::PageSize {
                index,
                expected,
                found,
            });
        }
        let mut state = self.new_state();
        state.pages.extend_from_slice(pages);
        Ok(state)
    }
}

/// What is left to be read. The sum of all that is taken was checked before.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|&word| f32::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fathom_checkpoint::Checkpoint;
    use fathom_kernels::team::Team;

    use super::*;
    use crate::{Numerics, Want};

    /// A fixture with another window.
    fn model(name: &str, sliding_window: usize) -> Model {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        let copy = tempfile::tempdir().expect("temporary directory");
        for entry in std::fs::read_dir(dir).expect("fixture") {
            let entry = entry.expect("fixture");
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copy");
        }
        let path = copy.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("config")).expect("config");
        config["sliding_window"] = sliding_window.into();
        std::fs::write(path, config.to_string()).expect("config");
        let checkpoint = Checkpoint::open(copy.path()).expect("checkpoint");
        Model::load(checkpoint, Numerics::Exact).expect("model")
    }

    fn append(model: &Model, state: &mut State, ids: &[u32], want: Want) -> Vec<f32> {
        let mut workspace = model.new_workspace(ids.len());
        let logits = model.forward(&mut Team::new(2), &mut workspace, state, ids, want);
        logits.expect("forward").to_vec()
    }

    /// [`Layout::replay_tokens`] is enough from any start, and one fewer is not: the last layers that a window bounds,
    /// and those that an overlapping compressor does.
    #[test]
    fn replay_tokens_are_as_many_as_it_takes() {
        let cases = [
            ("mini-bf16", 2),
            ("mini-bf16", 4),
            ("mini-bf16", 8),
            ("mini-window", 9),
            ("mini-sparse", 7),
        ];
        for (name, window) in cases {
            let model = model(name, window);
            let known = 2 * model.page_tokens();
            let vocab = model.config().vocab_size as u32;
            let ids: Vec<u32> = (0..known as u32 + 12).map(|i| (i * 7919 + 2) % vocab).collect();
            let mut cold = model.new_state();
            append(&model, &mut cold, &ids[..known], Want::Nothing);
            let (pages, live) = (cold.pages().to_vec(), cold.live());
            let expected = append(&model, &mut cold, &ids[known..], Want::All);
            let replayed = |tokens: usize| {
                let start = known - tokens;
                let mut state = model.replay_from(start, &pages).expect("replay");
                append(&model, &mut state, &ids[start..known], Want::Nothing);
                let same_live = state.live() == live;
                (
                    same_live,
                    append(&model, &mut state, &ids[known..], Want::All) == expected,
                )
            };
            let enough = model.replay_tokens();
            for tokens in [enough, enough + 1, enough + 2, enough + 3, enough + 37] {
                assert_eq!(
                    replayed(tokens),
                    (true, true),
                    "{name} {window}: {tokens} of {enough}"
                );
            }
            // What then differs in the state need not show in the next few logits.
            assert!(
                !replayed(enough - 1).0,
                "{name} {window}: one fewer than {enough}"
            );
        }
    }
}
