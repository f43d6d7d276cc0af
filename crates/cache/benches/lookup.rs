//! `cargo bench -p fathom-cache --bench lookup`: what finding a prefix costs among 10,000 stored ones.
//!
//! Prefixes are 4 K to 128 K tokens long; 200 families of 50 part from each other after half of their length. They grew in
//! turns, as conversations do, so that the nodes of one lie scattered among those of others. Pages are 16 bytes: what is
//! measured is the tree, whose pages would be 449,824 bytes for Flash. Times are the thread's own, so that a busy machine does
//! not enter but by its caches. Target: under 200 us.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Duration;

use fathom_cache::{Cache, CacheOptions, Policy};
use rustix::time::{ClockId, clock_gettime};

const PAGE: usize = 128;
const FAMILIES: usize = 200;
const MEMBERS: usize = 50;
/// Pages that a conversation grows by before another one's turn.
const PAGES_A_TURN: usize = 8;
const LOOKUPS: usize = 4000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Token ids of a vocabulary of 128 K.
    fn tokens(&mut self, n: usize) -> impl Iterator<Item = u32> {
        (0..n).map(|_| (self.next() >> 47) as u32)
    }
}

/// The prefix's tokens, remade from its number: 10,000 of them would take gigabytes.
fn prefix(number: usize) -> Vec<u32> {
    let family = number / MEMBERS;
    let mut random = Random(family as u64);
    // From 32 pages to 1,024, as many short as long ones.
    let pages = (32.0 * (random.below(1 << 20) as f64 * 5.0 / f64::from(1 << 20)).exp2()) as usize;
    let pages = if family == 0 { 1024 } else { pages };
    let mut tokens: Vec<u32> = random.tokens(pages / 2 * PAGE).collect();
    tokens.extend(Random(1_000_000 + number as u64).tokens((pages - pages / 2) * PAGE));
    tokens
}

fn main() {
    let cache = Cache::open(&CacheOptions {
        identity: [0; 32],
        page_tokens: PAGE,
        page_bytes: 16,
        replay_tokens: 43 * PAGE,
        policy: Policy::Full,
        ram_bytes: 1 << 40,
        disk: None,
        background: false,
    })
    .expect("options that go together");
    let bytes: Arc<[u8]> = vec![0; 16].into();
    let mut random = Random(7);
    let mut growing = Vec::new();
    let mut next = 0;
    let mut total = 0;
    while next < FAMILIES * MEMBERS || !growing.is_empty() {
        while growing.len() < 64 && next < FAMILIES * MEMBERS {
            // Members of different families at the same time.
            let number = next % FAMILIES * MEMBERS + next / FAMILIES;
            growing.push((prefix(number), 0, cache.path("bench")));
            next += 1;
        }
        let turn = random.below(growing.len());
        let (tokens, done, path) = &mut growing[turn];
        for _ in 0..PAGES_A_TURN.min(tokens.len() / PAGE - *done) {
            cache.push_page(path, &tokens[*done * PAGE..][..PAGE], bytes.clone());
            *done += 1;
        }
        if *done == tokens.len() / PAGE {
            total += tokens.len();
            cache.keep_snapshot(path, &[], || bytes.clone(), false);
            growing.swap_remove(turn);
        }
    }
    let stats = cache.stats().tree;
    println!(
        "{} prefixes, {total} tokens, {} pages, {:.2} GiB of bookkeeping, {} bytes a page",
        FAMILIES * MEMBERS,
        stats.pages,
        stats.ram_bytes as f64 / f64::from(1 << 30),
        stats.ram_bytes / stats.pages,
    );

    let mut by_length: [Vec<f64>; 5] = Default::default();
    let mut missed = Vec::new();
    for i in 0..LOOKUPS {
        // The longest family is asked for more often than its share.
        let number = if i % 20 == 0 {
            random.below(MEMBERS)
        } else {
            random.below(FAMILIES * MEMBERS)
        };
        let mut tokens = prefix(number);
        let whole = tokens.len();
        tokens.extend(random.tokens(40));
        let start = thread_time();
        let found = cache.find("bench", &tokens, tokens.len() - 1);
        let elapsed = thread_time().saturating_sub(start).as_secs_f64() * 1e6;
        assert_eq!(found.len(), whole);
        by_length[(whole / PAGE / 32).ilog2().min(4) as usize].push(elapsed);

        tokens[0] ^= 1 << 20;
        let start = thread_time();
        let found = cache.find("bench", &tokens, tokens.len() - 1);
        missed.push(thread_time().saturating_sub(start).as_secs_f64() * 1e6);
        assert_eq!(found.len(), 0);
    }
    for (i, mut times) in by_length.into_iter().enumerate() {
        report(&format!("hit, {} K tokens and more", 4 << i), &mut times);
    }
    report("miss at the first token", &mut missed);
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn report(what: &str, times: &mut [f64]) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .or(times.last())
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "  {what:<26} {:>5} lookups: median {:>6.1} us, p99 {:>6.1} us, worst {:>6.1} us",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
