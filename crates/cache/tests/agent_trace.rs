//! What coding agents send, through the cache: how much of it is served, of what any prefix cache could serve.

use std::num::NonZeroUsize;

use fathom_cache::{Cache, CacheOptions, Path, Payload, Policy};
use fathom_synthetic::trace::{Structure, Trace, TraceOptions};

/// Flash's.
const PAGE: usize = 128;
const REPLAY: usize = 43 * 127;

/// A thousandth of Flash's.
const PAGE_BYTES: usize = 450;

/// A thousandth of Flash's live state: window rows of 43 layers, open windows of 21 sparse and 20 heavy ones.
fn snapshot_bytes(position: usize) -> usize {
    4_000 + 82 * (position % PAGE)
}

const STRUCTURE: Structure = Structure::FIRST_IDS;

fn cache(policy: Policy, ram_bytes: u64) -> Cache {
    let options = CacheOptions {
        identity: [3; 32],
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens: REPLAY,
        policy,
        ram_bytes,
        disk: None,
        background: false,
    };
    Cache::open(&options).unwrap()
}

/// What stands for the state after each number of tokens: a hash (FNV-1a) that only they give.
struct States(Vec<u64>);

impl States {
    fn of(tokens: &[u32]) -> Self {
        let mut hash = 0xCBF2_9CE4_8422_2325;
        let mut hashes = vec![hash];
        hashes.extend(tokens.iter().map(|id| {
            hash = (hash ^ u64::from(*id)).wrapping_mul(0x0000_0100_0000_01B3);
            hash
        }));
        Self(hashes)
    }

    fn page(&self, end: usize) -> Payload {
        self.bytes(end, PAGE_BYTES)
    }

    fn snapshot(&self, position: usize) -> Payload {
        self.bytes(position, snapshot_bytes(position))
    }

    fn bytes(&self, position: usize, len: usize) -> Payload {
        let mut bytes = vec![0; len];
        bytes[..8].copy_from_slice(&self.0[position].to_le_bytes());
        bytes.into()
    }
}

/// Where prompts are likely to part: before every message, and behind the one that opens an answer.
fn semantic(tokens: &[u32]) -> Vec<usize> {
    let opens = |id: &u32| [STRUCTURE.user, STRUCTURE.assistant].contains(id);
    (1..tokens.len()).filter(|&at| opens(&tokens[at])).collect()
}

/// Stores what computing `tokens[from..]` leaves behind.
fn compute(cache: &Cache, path: &mut Path, tokens: &[u32], states: &States, from: usize, semantic: &[usize]) {
    let mut boundaries = cache
        .boundaries(from..tokens.len(), semantic)
        .into_iter()
        .peekable();
    let mut at = from;
    while at < tokens.len() {
        let next_page = (at / PAGE + 1) * PAGE;
        let next = next_page
            .min(boundaries.peek().copied().unwrap_or(usize::MAX))
            .min(tokens.len());
        at = next;
        if at == next_page && path.pages() < at / PAGE {
            cache.push_page(path, &tokens[at - PAGE..at], states.page(at));
        }
        // While a state is replayed it is not exact, and its path is beyond it.
        if boundaries.next_if_eq(&at).is_some() && path.pages() == at / PAGE {
            let tail = &tokens[at / PAGE * PAGE..at];
            cache.keep_snapshot(path, tail, || states.snapshot(at), false);
        }
    }
}

/// Share of what a perfect cache would serve that is served.
fn run(cache: &Cache, trace: &Trace) -> f64 {
    let answers = trace.answers();
    let mut served = 0;
    for (index, answer) in answers.iter().enumerate() {
        let mut tokens = trace.prompt(index, &answers);
        let prompt = tokens.len();
        // The last token of an answer is not computed.
        tokens.extend_from_slice(&answer[..answer.len() - 1]);
        let states = States::of(&tokens);
        let prefix = cache.find("", &tokens, prompt - 1).load();
        assert!(prefix.len < prompt);
        for (k, page) in prefix.pages.iter().enumerate() {
            assert!(*page == states.page((k + 1) * PAGE));
        }
        if let Some(live) = &prefix.live {
            assert!(*live == states.snapshot(prefix.len));
        }
        served += prefix.len;
        let mut path = prefix.path;
        let mut semantic = semantic(&tokens);
        semantic.extend([prompt - 1, tokens.len()]);
        semantic.sort_unstable();
        compute(cache, &mut path, &tokens, &states, prefix.len, &semantic);
    }
    served as f64 / trace.ideal(&answers).iter().sum::<usize>() as f64
}

/// Budgets are a thousandth too: 8 GB and 1 GB. The trace leaves about 1 GB of pages behind, and 5 to 12 GB of snapshots.
#[test]
fn an_agents_trace_is_served_nearly_whole() {
    let trace = Trace::new(&TraceOptions::coding_agent(STRUCTURE, 10..4096), 1);
    let periodic = Policy::Periodic(NonZeroUsize::new(8 * PAGE).unwrap());
    for (policy, ram_bytes, least) in [
        (Policy::Full, 8_000_000, 0.995),
        (Policy::Full, 1_000_000, 0.97),
        (periodic, 8_000_000, 0.995),
        (periodic, 1_000_000, 0.97),
        // Every request replays 5,461 tokens or a little more.
        (Policy::None, 1_000_000, 0.85),
    ] {
        let cache = cache(policy, ram_bytes);
        let share = run(&cache, &trace);
        assert!(share >= least, "{policy:?} in {ram_bytes} bytes: {share:.4}");
        let stats = cache.stats().tree;
        assert!(stats.ram_bytes <= ram_bytes);
        assert!(
            stats.evicted_pages + stats.evicted_snapshots > 0,
            "memory was scarce"
        );
    }
}
