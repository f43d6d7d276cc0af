//! Many threads on one cache that is far too small for them.

mod common;

use common::{PAGE, live, options, page};
use fathom_cache::{Cache, Policy};

#[test]
fn nobody_gets_what_is_not_his() {
    let mut options = options(Policy::Full, 8, 60_000);
    options.identity = [3; 32];
    let cache = Cache::open(&options).expect("options that go together");
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let cache = &cache;
            scope.spawn(move || work(cache, thread));
        }
    });
    let stats = cache.stats().tree;
    assert!(
        stats.evicted_pages > 100 && stats.hit_tokens > 1000,
        "a test of nothing: {stats:?}"
    );
    assert!(stats.ram_bytes <= 60_000);
    assert!(
        cache.make_room(50_000),
        "something is still held: {:?}",
        cache.stats().tree
    );
}

fn work(cache: &Cache, thread: u64) {
    let mut random = 1 + thread;
    let mut below = |n: u64| {
        random = random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (random >> 33) % n
    };
    for _ in 0..400 {
        let isolation = if below(4) == 0 { "b" } else { "a" };
        let tokens: Vec<u32> = (0..4 + below(28)).map(|_| u32::from(below(12) == 0)).collect();
        let found = cache.find(isolation, &tokens, tokens.len() - 1);
        let (len, report) = (found.len(), found.report());
        let mut prefix = found.load();
        assert_eq!((prefix.len, prefix.report), (len, report));
        for (k, bytes) in prefix.pages.iter().enumerate() {
            assert_eq!(*bytes, page(isolation, &tokens[..(k + 1) * PAGE]));
        }
        if let Some(bytes) = &prefix.live {
            assert_eq!(*bytes, live(isolation, &tokens[..prefix.len]));
        }
        for at in prefix.len + 1..=tokens.len() {
            if at % PAGE == 0 && prefix.path.pages() < at / PAGE {
                let bytes = page(isolation, &tokens[..at]);
                let shared = cache.push_page(&mut prefix.path, &tokens[at - PAGE..at], bytes.clone());
                assert_eq!(shared, bytes);
                prefix.pages.push(shared);
            }
            if below(3) == 0 && prefix.path.pages() == at / PAGE {
                let tail = &tokens[at / PAGE * PAGE..at];
                cache.keep_snapshot(
                    &prefix.path,
                    tail,
                    || live(isolation, &tokens[..at]),
                    below(50) == 0,
                );
            }
        }
        match below(20) {
            0 => _ = cache.make_room(below(20_000)),
            1 => _ = cache.pin(isolation, &tokens),
            2 => _ = cache.list(),
            _ => _ = cache.unpin(isolation, &tokens),
        }
    }
    // Nothing stays pinned: all that is left may go.
    for entry in cache.list().into_iter().filter(|entry| entry.pinned) {
        if let Some(tokens) = cache.tokens(&entry.key) {
            cache.unpin("a", &tokens);
            cache.unpin("b", &tokens);
        }
    }
}
