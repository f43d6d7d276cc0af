//! What goes first, and what does not go.

mod common;

use common::{LIVE_BYTES, PAGE, PAGE_BYTES, find, live, open, page, run, same, tokens};
use fathom_cache::{Cache, Policy};

/// Whether `tokens` are there to their last page.
fn there(cache: &Cache, tokens: &[u32]) -> bool {
    find(cache, "a", tokens).load().known == tokens.len()
}

/// Sets aside more and more until a page has gone.
fn squeeze(cache: &Cache, aside: &mut u64) {
    let before = cache.stats().tree.evicted_pages;
    while cache.stats().tree.evicted_pages == before {
        *aside += 200;
        assert!(cache.make_room(*aside), "nothing may go");
    }
}

#[test]
fn the_least_recently_used_goes_leaves_first() {
    // Without replay, so that `known` is all there is.
    let cache = open(Policy::None, 0, 14_000);
    let (a, b) = (tokens(12, 4, 0), tokens(12, 4, 1));
    run(&cache, "a", &a, &[]);
    run(&cache, "a", &b, &[]);
    assert!(there(&cache, &b) && there(&cache, &a));
    // Now b is the older one. Its leaf goes, then the page before it; what it shares with a stays.
    let mut aside = 0;
    squeeze(&cache, &mut aside);
    assert_eq!(find(&cache, "a", &b).len(), 8);
    assert!(there(&cache, &a));
    squeeze(&cache, &mut aside);
    assert_eq!(find(&cache, "a", &b).len(), 4);
    // Looking at what they share makes it no younger than a's own pages.
    squeeze(&cache, &mut aside);
    assert_eq!(find(&cache, "a", &a).len(), 8);
}

#[test]
fn what_a_sequence_uses_stays() {
    let cache = open(Policy::None, 0, 14_000);
    let tokens = tokens(12, 0, 0);
    let pages = run(&cache, "a", &tokens, &[]);
    assert!(
        !cache.make_room(14_000 - 3 * PAGE_BYTES as u64),
        "pages in use fill what is left"
    );
    assert!(there(&cache, &tokens));
    drop(pages);
    assert!(cache.make_room(14_000 - 3 * PAGE_BYTES as u64));
    assert!(!there(&cache, &tokens));
}

#[test]
fn what_was_found_stays_until_it_is_dropped() {
    let cache = open(Policy::None, 0, 14_000);
    let tokens = tokens(12, 0, 0);
    run(&cache, "a", &tokens, &[]);
    let found = find(&cache, "a", &tokens);
    assert!(!cache.make_room(13_000));
    assert_eq!(found.load().pages.len(), 3);
    assert!(cache.make_room(13_000));
    assert_eq!(cache.stats().tree.ram_pages, 0);
}

#[test]
fn what_is_pinned_stays() {
    let cache = open(Policy::Full, 4, 30_000);
    let kept = tokens(8, 0, 0);
    run(&cache, "a", &tokens(13, 8, 0)[..0], &[]);
    run(&cache, "a", &[&kept[..], &[5; 5]].concat(), &[]);
    assert_eq!(cache.pin("a", &kept), 8);
    for seed in 1..30 {
        run(&cache, "a", &tokens(13, 0, seed), &[]);
    }
    assert_eq!(find(&cache, "a", &kept).load().live, Some(live("a", &kept)));
    assert!(
        cache
            .list()
            .iter()
            .any(|entry| entry.pinned && entry.position == 8)
    );
    assert!(!cache.make_room(30_000 - LIVE_BYTES as u64));
    assert_eq!(cache.unpin("a", &kept), 8);
    assert!(cache.make_room(30_000 - LIVE_BYTES as u64));
    assert!(find(&cache, "a", &kept).is_empty());
    assert_eq!(cache.pin("a", &tokens(8, 0, 99)), 0);
}

#[test]
fn a_snapshot_may_be_pinned_when_it_is_kept() {
    let cache = open(Policy::Full, 4, 30_000);
    let tokens = tokens(6, 0, 0);
    let mut path = cache.path("a");
    cache.push_page(&mut path, &tokens[..4], page("a", &tokens[..4]));
    assert!(cache.keep_snapshot(&path, &tokens[4..], || live("a", &tokens), true));
    assert!(!cache.make_room(29_000));
    assert_eq!(find(&cache, "a", &tokens).len(), 6);
}

#[test]
fn a_close_snapshot_goes_before_a_lonely_one_and_before_pages() {
    let cache = open(Policy::Full, 400, 1 << 20);
    let tokens = tokens(36, 0, 0);
    // Snapshots at the ends of all pages, each 4 tokens after the one before it; and one that nothing is near.
    run(&cache, "a", &tokens, &[]);
    let mut path = cache.path("b");
    for at in 1..=9 {
        let ids = &tokens[(at - 1) * PAGE..at * PAGE];
        cache.push_page(&mut path, ids, page("b", &tokens[..at * PAGE]));
    }
    cache.keep_snapshot(&path, &[], || live("b", &tokens), false);
    // Use the crowd again: all of it is younger now.
    (1..=9).for_each(|k| assert_eq!(find(&cache, "a", &tokens[..k * PAGE]).len(), k * PAGE));
    let mut aside = (1 << 20) - cache.stats().tree.ram_bytes;
    for _ in 0..7 {
        let before = cache.stats().tree.evicted_snapshots;
        while cache.stats().tree.evicted_snapshots == before {
            aside += 500;
            assert!(cache.make_room(aside));
        }
    }
    assert_eq!(cache.stats().tree.evicted_pages, 0);
    assert_eq!(find(&cache, "b", &tokens).len(), 36);
}

#[test]
fn one_copy_of_equal_pages() {
    let cache = open(Policy::None, 0, 1 << 20);
    let tokens = tokens(8, 0, 0);
    let first = run(&cache, "a", &tokens, &[]);
    let mut path = cache.path("a");
    let second = page("a", &tokens[..4]);
    let shared = cache.push_page(&mut path, &tokens[..4], second.clone());
    assert!(same(&shared, &first[0]) && !same(&shared, &second));
    assert_eq!(cache.stats().tree.pages, 2);
}

#[test]
fn a_page_without_room_waits() {
    let cache = open(Policy::None, 0, 14_000);
    let (a, b) = (tokens(24, 0, 0), tokens(12, 0, 1));
    let running = run(&cache, "a", &a, &[]);
    let mut path = cache.path("a");
    let mut mine = Vec::new();
    for at in [4, 8] {
        assert!(cache.make_room(14_000 - cache.stats().tree.ram_bytes));
        mine.push(cache.push_page(&mut path, &b[at - 4..at], page("a", &b[..at])));
    }
    assert_eq!((path.pages(), path.stored_pages()), (2, 0));
    assert!(!cache.keep_snapshot(&path, &[], || live("a", &b[..8]), false));
    drop(running);
    assert!(cache.make_room(0));
    mine.push(cache.push_page(&mut path, &b[8..], page("a", &b)));
    assert_eq!((path.pages(), path.stored_pages()), (3, 3));
    let found = find(&cache, "a", &b).load();
    assert_eq!(found.pages, [4, 8, 12].map(|at| page("a", &b[..at])));
}

#[test]
fn wrong_sizes_are_refused() {
    let cache = open(Policy::Full, 0, 14_000);
    let mut path = cache.path("a");
    cache.push_page(&mut path, &[1, 2, 3], page("a", &[1, 2, 3]));
    cache.push_page(&mut path, &[1, 2, 3, 4], live("a", &[1, 2, 3, 4]));
    assert!(!cache.keep_snapshot(&path, &[1, 2, 3, 4], || live("a", &[1, 2, 3, 4]), false));
    let stats = cache.stats().tree;
    assert_eq!(
        (stats.refused, stats.pages, stats.snapshots, path.stored_pages()),
        (3, 0, 0, 0)
    );
}

#[test]
fn a_fork_and_a_rewind_follow_their_own_tokens() {
    let cache = open(Policy::None, 0, 1 << 20);
    let (a, b) = (tokens(12, 99, 0), tokens(12, 4, 1));
    let mut path = cache.path("a");
    for at in [4, 8, 12] {
        cache.push_page(&mut path, &a[at - 4..at], page("a", &a[..at]));
    }
    let mut fork = path.clone();
    fork.rewind(7);
    assert_eq!((fork.pages(), path.pages()), (1, 3));
    for at in [8, 12] {
        cache.push_page(&mut fork, &b[at - 4..at], page("a", &b[..at]));
    }
    assert_eq!(
        find(&cache, "a", &b).load().pages,
        [4, 8, 12].map(|at| page("a", &b[..at]))
    );
    assert_eq!(
        find(&cache, "a", &a).load().pages,
        [4, 8, 12].map(|at| page("a", &a[..at]))
    );
    assert_eq!(cache.stats().tree.pages, 5);
}
