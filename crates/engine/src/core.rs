//! What never changes after loading, shared by the engine's thread and everybody else.

use std::sync::{Arc, OnceLock};

use fathom_cache::{Cache, Path, Policy, Prefix, Report};
use fathom_model::{Model, State};
use fathom_prompt::{Renderer, Tokenizer};

use crate::grammar::{GrammarError, Vocabulary};
use crate::memory::NotEnoughMemory;

/// Model, tokenizer, cache and limits.
pub(crate) struct Core {
    pub(crate) model: Model,
    /// [`Model::identity`], which reads files.
    pub(crate) identity: [u8; 32],
    pub(crate) renderer: Renderer,
    /// The tokenizer for grammars; made when the first comes.
    pub(crate) vocabulary: OnceLock<Result<Vocabulary, GrammarError>>,
    pub(crate) cache: Cache,
    pub(crate) policy: Policy,
    /// Most tokens of a forward pass.
    pub(crate) chunk_tokens: usize,
    /// What sessions and cache may hold together.
    pub(crate) ram_bytes: u64,
}

impl Core {
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.renderer.tokenizer()
    }

    /// Longest timeline the model was made for, in tokens.
    pub(crate) fn context_max(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// Bytes of what `count` sequences hold outside pages, and of the pages of one with `tokens`.
    pub(crate) fn sequence_bytes(&self, tokens: usize, count: usize) -> u64 {
        let (page_bytes, page_tokens) = (self.model.page_bytes(), self.model.page_tokens());
        // The live state is largest just before a page ends; the open page is allocated whole.
        let window = self.model.config().sliding_window.next_multiple_of(page_tokens);
        let live = self.model.live_bytes(window + page_tokens - 1) + page_bytes;
        (tokens / page_tokens * page_bytes + count * live) as u64
    }

    /// Longest timeline that fits into the budget and the context.
    pub(crate) fn tokens_max(&self) -> usize {
        let left = self.ram_bytes.saturating_sub(self.sequence_bytes(0, 1));
        let pages = left / (self.model.page_bytes() as u64).max(1);
        let fits = (pages.saturating_add(1)).saturating_mul(self.model.page_tokens() as u64) - 1;
        usize::try_from(fits)
            .unwrap_or(usize::MAX)
            .min(self.context_max())
    }

    /// Refuses what can never fit, however little else runs.
    pub(crate) fn check_memory(&self, tokens: usize) -> Result<(), NotEnoughMemory> {
        let needed = self.sequence_bytes(tokens, 1);
        if needed <= self.ram_bytes {
            return Ok(());
        }
        Err(NotEnoughMemory {
            what: format!("a context of {tokens} tokens"),
            needed,
            available: self.ram_bytes,
            advice: "Shorten the prompt, ask for fewer tokens, give states more memory with --cache-ram",
        })
    }

    /// The state of what the cache found, and its place there.
    pub(crate) fn restore(&self, isolation: &str, prefix: Prefix) -> (State, Path, Report) {
        let Prefix {
            len,
            pages,
            live,
            report,
            path,
            ..
        } = prefix;
        let restored = match live {
            Some(live) => self.model.restore(len, &pages, &live),
            None if pages.is_empty() => Ok(self.model.new_state()),
            None => self.model.replay(&pages),
        };
        // The cache has checked that these are the bytes it was given for these tokens and this model. If the model
        // refuses them all the same, they are a miss, and the answer is computed.
        let Ok(state) = restored else {
            let report = Report {
                hit: 0,
                replayed: 0,
                ..report
            };
            return (self.model.new_state(), self.cache.path(isolation), report);
        };
        (state, path, report)
    }

    /// Puts the pages that `state` has beyond `path` into the cache, and shares the cache's copy where it has one.
    pub(crate) fn publish(&self, path: &mut Path, tokens: &[u32], state: &mut State) {
        let known = state.pages().len() * self.model.page_tokens();
        self.publish_up_to(path, &tokens[..known], state);
    }

    /// As [`publish`](Self::publish), with the pages of `tokens` only.
    pub(crate) fn publish_up_to(&self, path: &mut Path, tokens: &[u32], state: &mut State) {
        let ids = tokens.chunks_exact(self.model.page_tokens());
        for (index, ids) in ids.enumerate().skip(path.pages()) {
            let page = self.cache.push_page(path, ids, Arc::clone(&state.pages()[index]));
            state.share_page(index, page);
        }
    }

    /// Keeps a copy of `state`, if the policy keeps any.
    pub(crate) fn keep_snapshot(&self, path: &Path, tokens: &[u32], state: &State) {
        // A state that is not exact has no bytes to keep; those who call know that theirs is.
        let live = || Arc::from(state.live().unwrap_or_default());
        self.keep_live(path, &tokens[..state.len()], live);
    }

    /// Keeps the live state after `tokens`, if the policy keeps any; `path` has their pages.
    pub(crate) fn keep_live(&self, path: &Path, tokens: &[u32], live: impl FnOnce() -> Arc<[u8]>) {
        if self.policy != Policy::None {
            let tail = &tokens[path.pages() * self.model.page_tokens()..];
            self.cache.keep_snapshot(path, tail, live, false);
        }
    }

    /// Where a state is to be kept while `tokens` positions are passed; `semantic` are the ends of messages.
    pub(crate) fn snapshot_positions(&self, semantic: &[usize], tokens: usize) -> Vec<usize> {
        self.policy
            .boundaries(0..tokens, semantic, self.model.page_tokens())
    }

    /// Whether the policy keeps the state at `position` of a text that is being generated.
    pub(crate) fn is_snapshot_position(&self, position: usize) -> bool {
        let page_tokens = self.model.page_tokens();
        !self
            .policy
            .boundaries(position - 1..position, &[], page_tokens)
            .is_empty()
    }
}
