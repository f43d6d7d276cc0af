//! A small cache, and sequences through it.
#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;

use fathom_cache::{Cache, CacheOptions, Found, Payload, Policy};

pub const PAGE: usize = 4;
pub const PAGE_BYTES: usize = 1000;
pub const LIVE_BYTES: usize = 3000;

pub fn options(policy: Policy, replay_tokens: usize, ram_bytes: u64) -> CacheOptions {
    CacheOptions {
        identity: [1; 32],
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens,
        policy,
        ram_bytes,
        disk: None,
        background: false,
    }
}

pub fn open(policy: Policy, replay_tokens: usize, ram_bytes: u64) -> Cache {
    Cache::open(&options(policy, replay_tokens, ram_bytes)).expect("options that go together")
}

/// Bytes that depend on all tokens before.
pub fn content(isolation: &str, tokens: &[u32], len: usize) -> Payload {
    let mut hash = blake3::Hasher::new();
    hash.update(isolation.as_bytes());
    tokens.iter().for_each(|id| _ = hash.update(&id.to_le_bytes()));
    let mut bytes = vec![0; len];
    hash.finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub fn page(isolation: &str, tokens: &[u32]) -> Payload {
    content(isolation, tokens, PAGE_BYTES)
}

pub fn live(isolation: &str, tokens: &[u32]) -> Payload {
    content(isolation, tokens, LIVE_BYTES)
}

/// Runs a sequence as an engine would: from what is found, storing pages and snapshots. Returns the pages: while they are
/// kept, the sequence is in use.
pub fn run(cache: &Cache, isolation: &str, tokens: &[u32], semantic: &[usize]) -> Vec<Payload> {
    let found = cache.find(isolation, tokens, tokens.len().saturating_sub(1));
    let mut prefix = found.load();
    let boundaries = cache.boundaries(prefix.len..tokens.len(), semantic);
    for at in prefix.len + 1..=tokens.len() {
        if at % PAGE == 0 && prefix.path.pages() < at / PAGE {
            let page = page(isolation, &tokens[..at]);
            prefix
                .pages
                .push(cache.push_page(&mut prefix.path, &tokens[at - PAGE..at], page));
        }
        if boundaries.contains(&at) && prefix.path.pages() == at / PAGE {
            let tail = &tokens[at / PAGE * PAGE..at];
            cache.keep_snapshot(&prefix.path, tail, || live(isolation, &tokens[..at]), false);
        }
    }
    prefix.pages
}

pub fn find(cache: &Cache, isolation: &str, tokens: &[u32]) -> Found {
    cache.find(isolation, tokens, tokens.len())
}

/// `n` tokens that begin to differ from those of other seeds at `from`.
pub fn tokens(n: u32, from: u32, seed: u32) -> Vec<u32> {
    (0..n)
        .map(|i| if i < from { i } else { 1000 * (seed + 1) + i })
        .collect()
}

pub fn same(a: &Payload, b: &Payload) -> bool {
    Arc::ptr_eq(a, b)
}
