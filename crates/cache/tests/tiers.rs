//! The tree over the disk tier: what is found, read and promoted, and what happens when it is not what was written.

mod common;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use common::{PAGE, PAGE_BYTES, find, live, options, page, run, same, tokens};
use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Miss, Policy, Report, page_key, root_key, snapshot_key};

const PLENTY: u64 = 1 << 20;

fn on_disk(dir: &Path, policy: Policy, ram_bytes: u64) -> CacheOptions {
    CacheOptions {
        disk: Some(DiskOptions::new(dir, PLENTY)),
        ..options(policy, 8, ram_bytes)
    }
}

fn open(dir: &Path, policy: Policy, ram_bytes: u64) -> Cache {
    Cache::open(&on_disk(dir, policy, ram_bytes)).expect("a directory that can be written")
}

fn expect_whole(cache: &Cache, tokens: &[u32]) {
    let found = find(cache, "a", tokens);
    assert_eq!(
        found.report(),
        Report {
            hit: tokens.len(),
            replayed: 0,
            miss: Miss::None
        }
    );
    let prefix = found.load();
    assert_eq!(prefix.report.hit, tokens.len());
    assert_eq!(prefix.live, Some(live("a", tokens)));
    for (k, bytes) in prefix.pages.iter().enumerate() {
        assert_eq!(*bytes, page("a", &tokens[..(k + 1) * PAGE]));
    }
}

/// Turns one byte of the file that holds `bytes` somewhere.
fn flip(dir: &Path, bytes: &[u8]) {
    for entry in fs::read_dir(dir).expect("the directory is there") {
        let file = entry.expect("an entry").path();
        let Ok(mut contents) = fs::read(&file) else {
            continue;
        };
        if let Some(at) = contents.windows(bytes.len()).position(|window| window == bytes) {
            contents[at + bytes.len() / 2] ^= 4;
            fs::write(&file, contents).expect("a file that can be written");
            return;
        }
    }
    panic!("no file holds these bytes");
}

#[test]
fn everything_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(13, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    cache.pump();
    let before = cache.stats().tree;
    assert_eq!((before.pages, before.snapshots, before.on_disk), (3, 3, 6));
    drop(cache);

    let cache = open(dir.path(), Policy::Full, PLENTY);
    let after = cache.stats().tree;
    assert_eq!((after.pages, after.snapshots, after.on_disk), (3, 3, 6));
    assert_eq!((after.ram_pages, after.ram_snapshots, after.unlinked), (0, 0, 0));
    assert!(!find(&cache, "a", &tokens[..12]).is_resident());
    expect_whole(&cache, &tokens[..12]);
    let found = find(&cache, "a", &tokens[..12]);
    assert!(found.is_resident());
    // Read once: the next one gets the same bytes.
    let (first, second) = (found.load(), find(&cache, "a", &tokens[..12]).load());
    assert!(same(&first.pages[0], &second.pages[0]));
    assert_eq!(cache.stats().tree.ram_pages, 3);
    assert_eq!(
        find(&cache, "b", &tokens[..12]).report().miss,
        Miss::OtherIsolation
    );
}

#[test]
fn what_left_ram_is_read_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cache = open(dir.path(), Policy::Full, 25_000);
    let all: Vec<Vec<u32>> = (0..8).map(|seed| tokens(8, 0, seed)).collect();
    for tokens in &all {
        run(&cache, "a", tokens, &[]);
        cache.pump();
    }
    let stats = cache.stats().tree;
    assert!(stats.evicted_pages > 0 && stats.ram_bytes <= 25_000);
    assert_eq!((stats.pages, stats.on_disk), (16, 32));
    for tokens in all.iter().chain(&all) {
        expect_whole(&cache, tokens);
        assert!(cache.stats().tree.ram_bytes <= 25_000);
    }
}

#[test]
fn without_room_in_ram_what_is_read_is_the_readers_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(8, 0, 0);
    let cache = open(dir.path(), Policy::Full, 40_000);
    run(&cache, "a", &tokens, &[]);
    cache.pump();
    assert!(cache.make_room(38_000 - PAGE_BYTES as u64));
    assert_eq!(cache.stats().tree.ram_pages, 0);
    expect_whole(&cache, &tokens);
    assert!(cache.stats().tree.no_room > 0);
}

#[test]
fn a_damaged_snapshot_gives_the_one_before_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(12, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    drop(cache);
    flip(dir.path(), &live("a", &tokens));
    let cache = open(dir.path(), Policy::Full, PLENTY);
    let prefix = find(&cache, "a", &tokens).load();
    assert_eq!(
        prefix.report,
        Report {
            hit: 8,
            replayed: 0,
            miss: Miss::Damaged
        }
    );
    assert_eq!(
        (prefix.live, prefix.pages.len(), prefix.path.pages()),
        (Some(live("a", &tokens[..8])), 2, 2)
    );
    let stats = cache.stats().tree;
    assert_eq!((stats.damaged, stats.pages, stats.snapshots), (1, 3, 2));
    // Computed again, it is whole again, here and after a restart.
    run(&cache, "a", &tokens, &[]);
    expect_whole(&cache, &tokens);
    drop(cache);
    expect_whole(&open(dir.path(), Policy::Full, PLENTY), &tokens);
}

#[test]
fn a_damaged_snapshot_gives_the_one_before_it_on_the_same_page() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(7, 0, 0);
    let periodic = Policy::Periodic(NonZeroUsize::new(PAGE).expect("not 0"));
    let cache = open(dir.path(), periodic, PLENTY);
    run(&cache, "a", &tokens, &[5, 6, 7]);
    drop(cache);
    flip(dir.path(), &live("a", &tokens));
    flip(dir.path(), &live("a", &tokens[..6]));
    let prefix = find(&open(dir.path(), periodic, PLENTY), "a", &tokens).load();
    assert_eq!(
        prefix.report,
        Report {
            hit: 5,
            replayed: 0,
            miss: Miss::Damaged
        }
    );
    assert_eq!(prefix.live, Some(live("a", &tokens[..5])));
}

#[test]
fn a_damaged_page_ends_what_is_usable() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(16, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    drop(cache);
    flip(dir.path(), &page("a", &tokens[..12]));
    let cache = open(dir.path(), Policy::Full, PLENTY);
    let prefix = find(&cache, "a", &tokens).load();
    assert_eq!(
        prefix.report,
        Report {
            hit: 8,
            replayed: 0,
            miss: Miss::Damaged
        }
    );
    assert_eq!(prefix.pages, [4, 8].map(|at| page("a", &tokens[..at])));
    assert_eq!(cache.stats().tree.damaged, 1);
    // What comes after it is usable again once it is there again.
    assert_eq!(
        find(&cache, "a", &tokens).report(),
        Report {
            hit: 8,
            replayed: 0,
            miss: Miss::Evicted
        }
    );
    let mut path = prefix.path;
    cache.push_page(&mut path, &tokens[8..12], page("a", &tokens[..12]));
    expect_whole(&cache, &tokens);
}

#[test]
fn damage_may_leave_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(16, 0, 0);
    let cache = open(dir.path(), Policy::None, PLENTY);
    run(&cache, "a", &tokens, &[]);
    drop(cache);
    flip(dir.path(), &page("a", &tokens[..4]));
    let cache = open(dir.path(), Policy::None, PLENTY);
    assert_eq!(
        find(&cache, "a", &tokens).report(),
        Report {
            hit: 8,
            replayed: 8,
            miss: Miss::NoSnapshot
        }
    );
    let prefix = find(&cache, "a", &tokens).load();
    assert_eq!(
        prefix.report,
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::Damaged
        }
    );
    assert!(prefix.pages.is_empty() && prefix.live.is_none() && prefix.known == 0);
}

#[test]
fn pages_without_those_before_them_are_given_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(16, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    cache.pump();
    let root = root_key(&[1; 32], "a");
    let first = page_key(&root, &tokens[..4]);
    cache
        .disk()
        .expect("there is a disk")
        .remove(&page_key(&first, &tokens[4..8]));
    cache.disk().expect("there is a disk").flush();
    drop(cache);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    let stats = cache.stats().tree;
    // Two pages and three snapshots hang in the air.
    assert_eq!((stats.pages, stats.snapshots, stats.unlinked), (1, 1, 5));
    expect_whole(&cache, &tokens[..4]);
    drop(cache);
    // They are gone for good.
    assert_eq!(open(dir.path(), Policy::Full, PLENTY).stats().tree.unlinked, 0);
}

#[test]
fn another_models_records_are_not_used() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(12, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    drop(cache);
    let other = CacheOptions {
        identity: [2; 32],
        ..on_disk(dir.path(), Policy::Full, PLENTY)
    };
    let cache = Cache::open(&other).expect("a directory that can be written");
    assert_eq!(
        find(&cache, "a", &tokens).report(),
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::OtherModel
        }
    );
    assert_eq!(find(&cache, "b", &tokens).report().miss, Miss::NeverSeen);
    drop(cache);
    // Pages of another size are none of this model's, whatever their key says.
    let other = CacheOptions {
        page_bytes: PAGE_BYTES - 1,
        ..on_disk(dir.path(), Policy::Full, PLENTY)
    };
    let stats = Cache::open(&other)
        .expect("a directory that can be written")
        .stats()
        .tree;
    assert_eq!((stats.pages, stats.snapshots, stats.unlinked), (0, 0, 6));
}

#[test]
fn pins_outlive_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(6, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    let mut path = cache.path("a");
    cache.push_page(&mut path, &tokens[..4], page("a", &tokens[..4]));
    cache.keep_snapshot(&path, &tokens[4..], || live("a", &tokens), true);
    drop(cache);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    let key = snapshot_key(&page_key(&root_key(&[1; 32], "a"), &tokens[..4]), &tokens[4..]);
    let pinned: Vec<_> = cache.list().into_iter().filter(|entry| entry.pinned).collect();
    assert_eq!(
        pinned
            .iter()
            .map(|entry| (entry.key, entry.position))
            .collect::<Vec<_>>(),
        [(key, 6)]
    );
    assert_eq!(cache.tokens(&key), Some(tokens.clone()));
    assert_eq!(cache.unpin("a", &tokens), 6);
    drop(cache);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    assert!(cache.list().iter().all(|entry| !entry.pinned));
    expect_whole(&cache, &tokens);
}

/// The disk tier may drop a record between a lookup and its loading, and tells of it later. That is no damage.
#[test]
fn what_the_disk_drops_before_it_is_read_is_evicted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tokens = tokens(12, 0, 0);
    let cache = open(dir.path(), Policy::Full, PLENTY);
    run(&cache, "a", &tokens, &[]);
    drop(cache);
    let root = root_key(&[1; 32], "a");
    let first = page_key(&root, &tokens[..PAGE]);
    let second = page_key(&first, &tokens[PAGE..2 * PAGE]);
    let third = page_key(&second, &tokens[2 * PAGE..]);

    for (dropped, hit) in [(third, 8), (snapshot_key(&second, &[]), 4), (first, 0)] {
        let cache = open(dir.path(), Policy::Full, PLENTY);
        let found = find(&cache, "a", &tokens);
        assert!(found.report().hit > hit);
        cache.disk().expect("a disk tier").remove(&dropped);
        let prefix = found.load();
        assert_eq!((prefix.report.hit, prefix.report.miss), (hit, Miss::Evicted));
        assert_eq!((prefix.pages.len(), prefix.len), (hit / PAGE, hit));
        assert_eq!(cache.stats().tree.damaged, 0);
        cache.flush();
    }
}
