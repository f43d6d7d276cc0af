//! Every reason for a miss, and what comes with it.

mod common;

use std::num::NonZeroUsize;

use common::{PAGE, find, open, options, run, tokens};
use fathom_cache::{Cache, Miss, OpenError, Policy, Report};

const PLENTY: u64 = 1 << 20;

fn report(cache: &Cache, tokens: &[u32]) -> Report {
    find(cache, "a", tokens).report()
}

#[test]
fn a_whole_hit_has_no_reason() {
    let cache = open(Policy::Full, 8, PLENTY);
    run(&cache, "a", &tokens(13, 99, 0), &[]);
    assert_eq!(
        report(&cache, &tokens(12, 99, 0)),
        Report {
            hit: 12,
            replayed: 0,
            miss: Miss::None
        }
    );
}

#[test]
fn the_first_token_that_differs_is_named() {
    let cache = open(Policy::Full, 8, PLENTY);
    run(&cache, "a", &tokens(20, 9, 0), &[]);
    run(&cache, "a", &tokens(20, 10, 1), &[]);
    // Of both, the second agrees longer.
    let miss = Miss::Differs {
        at: 10,
        cached: 2010,
        found: 3010,
    };
    assert_eq!(
        report(&cache, &tokens(20, 10, 2)),
        Report {
            hit: 8,
            replayed: 0,
            miss
        }
    );
    // At a page's very beginning, and in the first page.
    let miss = Miss::Differs {
        at: 8,
        cached: 8,
        found: 3008,
    };
    assert_eq!(
        report(&cache, &tokens(20, 8, 2)),
        Report {
            hit: 8,
            replayed: 0,
            miss
        }
    );
    let miss = Miss::Differs {
        at: 3,
        cached: 3,
        found: 3003,
    };
    assert_eq!(
        report(&cache, &tokens(20, 3, 2)),
        Report {
            hit: 0,
            replayed: 0,
            miss
        }
    );
    // Less than a page is enough to see that it differs.
    let miss = Miss::Differs {
        at: 1,
        cached: 1,
        found: 3001,
    };
    assert_eq!(
        report(&cache, &tokens(2, 1, 2)),
        Report {
            hit: 0,
            replayed: 0,
            miss
        }
    );
}

#[test]
fn a_snapshots_tail_differs_too() {
    let cache = open(Policy::Periodic(NonZeroUsize::new(PAGE).unwrap()), 8, PLENTY);
    run(&cache, "a", &tokens(11, 99, 0), &[11]);
    let miss = Miss::Differs {
        at: 10,
        cached: 10,
        found: 2010,
    };
    assert_eq!(
        report(&cache, &tokens(11, 10, 1)),
        Report {
            hit: 8,
            replayed: 0,
            miss
        }
    );
    assert_eq!(
        report(&cache, &tokens(11, 99, 0)),
        Report {
            hit: 11,
            replayed: 0,
            miss: Miss::None
        }
    );
    assert_eq!(
        report(&cache, &tokens(12, 11, 0)),
        Report {
            hit: 11,
            replayed: 0,
            miss: Miss::BelowOnePage
        }
    );
}

#[test]
fn evicted() {
    let cache = open(Policy::Full, 8, 16_000);
    run(&cache, "a", &tokens(9, 0, 0), &[]);
    assert_eq!(report(&cache, &tokens(8, 0, 0)).hit, 8);
    for seed in 1..6 {
        run(&cache, "a", &tokens(9, 0, seed), &[]);
    }
    assert!(cache.stats().tree.evicted_pages > 0);
    assert_eq!(
        report(&cache, &tokens(8, 0, 0)),
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::Evicted
        }
    );
    assert_eq!(report(&cache, &tokens(8, 0, 77)).miss, Miss::NeverSeen);
}

#[test]
fn an_evicted_snapshot_leaves_its_pages() {
    let cache = open(Policy::Full, 8, 16_000);
    run(&cache, "a", &tokens(17, 99, 0), &[]);
    assert_eq!(
        report(&cache, &tokens(16, 99, 0)),
        Report {
            hit: 16,
            replayed: 0,
            miss: Miss::None
        }
    );
    // What the budget still has room for is one snapshot less.
    let stats = cache.stats().tree;
    let (mut aside, evicted) = (0, stats.evicted_snapshots);
    while cache.stats().tree.ram_snapshots > 0 {
        aside += 100;
        assert!(cache.make_room(aside));
    }
    let stats = cache.stats().tree;
    assert!(stats.evicted_snapshots > evicted);
    assert_eq!(
        (stats.evicted_pages, stats.ram_pages),
        (0, 4),
        "snapshots go before the pages that they need"
    );
    assert_eq!(
        report(&cache, &tokens(16, 99, 0)),
        Report {
            hit: 8,
            replayed: 8,
            miss: Miss::Evicted
        }
    );
}

#[test]
fn other_isolation() {
    let cache = open(Policy::Full, 8, PLENTY);
    run(&cache, "a", &tokens(9, 99, 0), &[]);
    assert_eq!(
        find(&cache, "b", &tokens(8, 99, 0)).report().miss,
        Miss::OtherIsolation
    );
    assert_eq!(
        find(&cache, "b", &tokens(8, 4, 1)).report(),
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::OtherIsolation
        }
    );
    assert_eq!(find(&cache, "b", &tokens(8, 3, 1)).report().miss, Miss::NeverSeen);
    // Not even a prefix of a page is told.
    assert_eq!(
        find(&cache, "b", &tokens(3, 99, 0)).report().miss,
        Miss::BelowOnePage
    );
}

#[test]
fn below_one_page() {
    let cache = open(Policy::Full, 8, PLENTY);
    assert_eq!(report(&cache, &tokens(3, 99, 0)).miss, Miss::BelowOnePage);
    run(&cache, "a", &tokens(9, 99, 0), &[]);
    assert_eq!(
        report(&cache, &tokens(3, 99, 0)),
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::BelowOnePage
        }
    );
    assert_eq!(
        report(&cache, &tokens(11, 99, 0)),
        Report {
            hit: 8,
            replayed: 0,
            miss: Miss::BelowOnePage
        }
    );
}

#[test]
fn never_seen() {
    let cache = open(Policy::Full, 8, PLENTY);
    assert_eq!(report(&cache, &tokens(9, 99, 0)).miss, Miss::NeverSeen);
    run(&cache, "a", &tokens(9, 99, 0), &[]);
    assert_eq!(report(&cache, &tokens(9, 0, 0)).miss, Miss::NeverSeen);
    assert_eq!(
        report(&cache, &tokens(12, 99, 0)),
        Report {
            hit: 8,
            replayed: 0,
            miss: Miss::NeverSeen
        }
    );
}

#[test]
fn no_snapshot() {
    let cache = open(Policy::None, 8, PLENTY);
    run(&cache, "a", &tokens(17, 99, 0), &[]);
    assert_eq!(
        report(&cache, &tokens(16, 99, 0)),
        Report {
            hit: 8,
            replayed: 8,
            miss: Miss::NoSnapshot
        }
    );
    // A replay longer than what is known gains nothing.
    assert_eq!(
        report(&cache, &tokens(8, 99, 0)),
        Report {
            hit: 0,
            replayed: 0,
            miss: Miss::NoSnapshot
        }
    );
}

#[test]
fn lookups_are_counted_by_reason() {
    let cache = open(Policy::Full, 8, PLENTY);
    run(&cache, "a", &tokens(9, 99, 0), &[]);
    report(&cache, &tokens(8, 99, 0));
    report(&cache, &tokens(3, 99, 0));
    let stats = cache.stats().tree;
    let count = |miss: Miss| stats.lookups_by_miss[miss.index()];
    assert_eq!(
        (
            count(Miss::None),
            count(Miss::BelowOnePage),
            count(Miss::NeverSeen)
        ),
        (1, 1, 1)
    );
    assert_eq!(
        (stats.lookups, stats.asked_tokens, stats.hit_tokens),
        (3, 8 + 8 + 3, 8)
    );
    let named = [
        Miss::Differs {
            at: 0,
            cached: 0,
            found: 0,
        },
        Miss::NoSnapshot,
        Miss::NeverSeen,
    ];
    assert_eq!(
        named.map(|miss| miss.name()),
        ["differs", "no_snapshot", "never_seen"]
    );
}

#[test]
fn options_that_do_not_go_together() {
    let error = |policy, page_tokens| {
        let mut options = options(policy, 8, PLENTY);
        options.page_tokens = page_tokens;
        match Cache::open(&options) {
            Err(OpenError::Options { what, expected, .. }) => (what, expected),
            other => panic!("{:?}", other.err()),
        }
    };
    assert_eq!(error(Policy::Full, 0), ("page_tokens", "at least 1".into()));
    let periodic = Policy::Periodic(NonZeroUsize::new(6).unwrap());
    assert_eq!(
        error(periodic, 4),
        ("periodic snapshots", "a multiple of 4 tokens".into())
    );
}
