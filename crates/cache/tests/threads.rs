//! Many threads on one cache that is far too small for them.

mod common;

use common::{PAGE, live, options, page};
use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Miss, Policy};

const RAM_BYTES: u64 = 60_000;

#[test]
fn nobody_gets_what_is_not_theirs() {
    let cache = open(None);
    all_work(&cache);
    let stats = cache.stats().tree;
    assert!(
        stats.evicted_pages > 0 && stats.hit_tokens > 1000,
        "a test of nothing: {stats:?}"
    );
    assert!(cache.make_room(0), "what was set aside no longer matters");
    assert!(
        cache.make_room(RAM_BYTES - 1000),
        "something is still held or pinned"
    );
    assert_eq!(cache.stats().tree.pages + cache.stats().tree.snapshots, 0);
}

#[test]
fn nor_do_they_while_a_thread_writes_to_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = DiskOptions {
        queue_bytes: 20_000,
        ..DiskOptions::new(dir.path(), 200_000)
    };
    for _ in 0..2 {
        let cache = open(Some(disk.clone()));
        all_work(&cache);
        let stats = cache.stats().tree;
        assert!(
            stats.evicted_pages > 0 && stats.hit_tokens > 1000,
            "a test of nothing: {stats:?}"
        );
        assert_eq!(stats.damaged, 0);
        cache.flush();
        assert!(cache.make_room(0), "what was set aside no longer matters");
        // What is on disk only may take half of the room.
        assert!(
            cache.make_room(RAM_BYTES / 2 - 1000),
            "something is still held or pinned"
        );
    }
}

fn open(disk: Option<DiskOptions>) -> Cache {
    let options = CacheOptions {
        disk,
        background: true,
        ..options(Policy::Full, 8, RAM_BYTES)
    };
    Cache::open(&options).expect("options that go together")
}

fn all_work(cache: &Cache) {
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            scope.spawn(move || work(cache, thread));
        }
    });
    assert!(cache.stats().tree.ram_bytes <= RAM_BYTES);
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
        // On disk a record may make room for another one before it is read.
        assert!((prefix.len, prefix.report) == (len, report) || prefix.report.miss == Miss::Evicted);
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
