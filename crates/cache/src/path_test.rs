//! What becomes of sequences whose pages leave the tree, or find no room in it.

use crate::{Cache, CacheOptions, Path, Payload, Policy};

const PAGE: usize = 2;
const PAGE_BYTES: usize = 1000;

fn cache(ram_bytes: u64) -> Cache {
    let options = CacheOptions {
        identity: [1; 32],
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens: 0,
        policy: Policy::Full,
        ram_bytes,
        disk: None,
        background: false,
    };
    Cache::open(&options).unwrap()
}

/// The page of ids `[n, n]`.
fn page(n: u32) -> Payload {
    vec![n as u8; PAGE_BYTES].into()
}

fn push(cache: &Cache, path: &mut Path, n: u32) -> Payload {
    cache.push_page(path, &[n, n], page(n))
}

fn ids(pages: &[u32]) -> Vec<u32> {
    pages.iter().flat_map(|&n| [n, n]).collect()
}

/// Pages of a sequence that a lookup finds.
fn found(cache: &Cache, pages: &[u32]) -> usize {
    let ids = ids(pages);
    let prefix = cache.find("", &ids, ids.len()).load();
    for (page, n) in prefix.pages.iter().zip(pages) {
        assert!(page.iter().all(|&byte| byte == *n as u8));
    }
    prefix.pages.len()
}

/// Evicts whatever is not in use.
fn evict_all(cache: &Cache) {
    cache.make_room(u64::MAX);
    cache.check();
}

#[test]
fn a_rewound_sequence_goes_on_although_its_old_end_is_gone() {
    let cache = cache(1 << 20);
    let mut path = cache.path("");
    let mut held: Vec<Payload> = (1..=4).map(|n| push(&cache, &mut path, n)).collect();
    path.rewind(2 * PAGE + 1);
    held.truncate(2);
    evict_all(&cache);
    assert_eq!(found(&cache, &[1, 2, 3, 4]), 2);
    assert_eq!((path.pages(), path.stored_pages()), (2, 2));
    held.push(push(&cache, &mut path, 5));
    assert!(cache.keep_snapshot(&path, &[9], || page(9), false));
    assert_eq!(found(&cache, &[1, 2, 5]), 3);
    assert_eq!(cache.find("", &[1, 1, 2, 2, 5, 5, 9], 7).len(), 7);
    cache.check();
}

/// Nothing can be stored after a page that is gone, and what comes after it is not kept for later either.
#[test]
fn a_sequence_whose_pages_left_the_tree_stores_and_keeps_nothing() {
    let cache = cache(1 << 20);
    let mut path = cache.path("");
    push(&cache, &mut path, 1);
    push(&cache, &mut path, 2);
    let mut fork = path.clone();
    evict_all(&cache);
    let before = cache.stats().tree;
    for n in 3..10 {
        let own = push(&cache, &mut path, n);
        assert_eq!(Payload::strong_count(&own), 1, "nobody else has it");
        assert!(!cache.keep_snapshot(&path, &[], || page(0), false));
    }
    assert_eq!((path.pages(), path.stored_pages()), (9, 2));
    let after = cache.stats().tree;
    assert_eq!(after.refused - before.refused, 14);
    assert_eq!(
        (after.ram_bytes, after.no_room),
        (before.ram_bytes, before.no_room)
    );
    // Before the gap it can be stored again.
    path.rewind(7 * PAGE);
    assert_eq!(path.pages(), 7);
    path.rewind(0);
    assert_eq!(path.pages(), 0);
    for n in [1, 2, 3] {
        push(&cache, &mut path, n);
    }
    assert_eq!(found(&cache, &[1, 2, 3]), 3);
    // The same pages are other entries of the tree now.
    push(&cache, &mut fork, 4);
    assert_eq!((fork.pages(), found(&cache, &[1, 2, 4])), (3, 2));
    cache.check();
}

/// If only everything is in use, pages wait, and come in when there is room.
#[test]
fn pages_wait_for_room_and_are_cut_by_a_rewind() {
    let cache = cache(12_000);
    let mut user = cache.path("user");
    let mut held = Vec::new();
    while user.pages() == user.stored_pages() {
        let n = held.len() as u32 + 50;
        held.push(push(&cache, &mut user, n));
    }
    let mut path = cache.path("");
    let pages: Vec<Payload> = (1..=3).map(|n| push(&cache, &mut path, n)).collect();
    assert_eq!((path.pages(), path.stored_pages()), (3, 0));
    assert!(
        !cache.keep_snapshot(&path, &[], || page(9), false),
        "the pages before it are not there"
    );
    path.rewind(2 * PAGE);
    assert_eq!(path.pages(), 2);
    held.clear();
    drop(user);
    push(&cache, &mut path, 4);
    assert_eq!((path.pages(), path.stored_pages()), (3, 3));
    drop(pages);
    assert_eq!(found(&cache, &[1, 2, 4]), 3);
    cache.check();
}

/// A page of another size is refused, and the next one is not taken for its successor.
#[test]
fn nothing_follows_a_page_that_was_refused() {
    let cache = cache(1 << 20);
    let mut path = cache.path("");
    push(&cache, &mut path, 1);
    cache.push_page(&mut path, &[2], page(2));
    push(&cache, &mut path, 3);
    assert_eq!((path.pages(), path.stored_pages()), (3, 1));
    assert_eq!((found(&cache, &[1, 3]), found(&cache, &[1, 2])), (1, 1));
    path.rewind(PAGE);
    push(&cache, &mut path, 2);
    assert_eq!(found(&cache, &[1, 2]), 2);
    cache.check();
}
