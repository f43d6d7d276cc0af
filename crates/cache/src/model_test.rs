//! The cache against a naive one: lists of token sequences and the bytes that belong to them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use crate::disk::{DiskOptions, Kind};
use crate::tree::check::Stored;
use crate::{Cache, CacheOptions, Key, Miss, Path, Payload, Policy, Prefix, root_key};

const PAGE: usize = 3;
const PAGE_BYTES: usize = 64;
const IDENTITY: [u8; 32] = [9; 32];

fn options(policy: Policy, replay_tokens: usize, ram_bytes: u64, disk: Option<DiskOptions>) -> CacheOptions {
    CacheOptions {
        identity: IDENTITY,
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens,
        policy,
        ram_bytes,
        disk,
        background: false,
    }
}

/// What a model would compute: bytes that depend on everything that they may depend on.
fn content(kind: Kind, isolation: &str, tokens: &[u32]) -> Payload {
    let mut hash = blake3::Hasher::new();
    hash.update(format!("{kind:?} {isolation} {tokens:?}").as_bytes());
    let len = if kind == Kind::Page {
        PAGE_BYTES
    } else {
        150 + tokens.len() % PAGE
    };
    let mut bytes = vec![0; len];
    hash.finalize_xof().fill(&mut bytes);
    bytes.into()
}

#[derive(Clone, Debug)]
enum Step {
    /// A request; it goes on for `extra` tokens, and stays or ends.
    Request {
        isolation: u8,
        tokens: Vec<u32>,
        extra: Vec<u32>,
        semantic: Vec<usize>,
        stays: bool,
        load: bool,
    },
    /// The oldest running sequence is cut, goes on otherwise, and ends.
    Rewind {
        to: usize,
        extra: Vec<u32>,
    },
    /// The oldest running sequence ends.
    End,
    MakeRoom(u64),
    /// Queued writes are done.
    Pump,
    /// The cache is closed and opened again.
    Reopen,
    Pin {
        isolation: u8,
        tokens: Vec<u32>,
        pinned: bool,
    },
}

fn tokens(max: usize) -> impl Strategy<Value = Vec<u32>> {
    // Two ids, the first far more likely: long beginnings in common, and partings everywhere.
    prop::collection::vec(prop_oneof![4 => Just(0_u32), 1 => 1_u32..3], 0..max)
}

fn step() -> impl Strategy<Value = Step> {
    let request = (
        0..3_u8,
        tokens(20),
        tokens(8),
        prop::collection::vec(1..24_usize, 0..4),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.8),
    );
    prop_oneof![
        10 => request.prop_map(|(isolation, tokens, extra, mut semantic, stays, load)| {
            semantic.sort_unstable();
            Step::Request { isolation, tokens, extra, semantic, stays, load }
        }),
        1 => (0..20_usize, tokens(8)).prop_map(|(to, extra)| Step::Rewind { to, extra }),
        2 => Just(Step::End),
        1 => (0..3000_u64).prop_map(Step::MakeRoom),
        3 => Just(Step::Pump),
        1 => Just(Step::Reopen),
        1 => (0..3_u8, tokens(12), any::<bool>())
            .prop_map(|(isolation, tokens, pinned)| Step::Pin { isolation, tokens, pinned }),
    ]
}

fn policy() -> impl Strategy<Value = (Policy, usize)> {
    let periodic = Policy::Periodic(NonZeroUsize::new(2 * PAGE).unwrap());
    (
        prop_oneof![Just(Policy::Full), Just(periodic), Just(Policy::None)],
        0..12_usize,
    )
}

/// A running sequence.
struct Running {
    isolation: String,
    tokens: Vec<u32>,
    pages: Vec<Payload>,
    path: Path,
}

struct Test {
    cache: Cache,
    options: CacheOptions,
    running: Vec<Running>,
    // Last, so that the cache is closed before its files go.
    _dir: Option<tempfile::TempDir>,
}

impl Test {
    fn new(policy: Policy, replay: usize, ram_bytes: u64, disk_bytes: Option<u64>) -> Test {
        let dir = disk_bytes.map(|_| tempfile::tempdir().unwrap());
        let disk = dir
            .as_ref()
            .zip(disk_bytes)
            .map(|(dir, bytes)| DiskOptions::new(dir.path(), bytes));
        let options = options(policy, replay, ram_bytes, disk);
        let cache = Cache::open(&options).unwrap();
        Test {
            cache,
            options,
            running: Vec::new(),
            _dir: dir,
        }
    }

    fn reopen(&mut self) {
        if self.options.disk.is_none() {
            return;
        }
        self.running.clear();
        self.cache.pump();
        let whole = |dump: Vec<Stored>| -> HashSet<(Key, bool, Vec<u32>)> {
            let stored = dump.into_iter().filter(|s| s.on_disk);
            let keys: HashSet<_> = stored.map(|s| (s.root, s.kind == Kind::Page, s.tokens)).collect();
            // A gap where the queue was full: what comes after it is given up when the cache is opened.
            let linked = |(root, _, tokens): &&(Key, bool, Vec<u32>)| {
                (1..=tokens.len() / PAGE).all(|k| keys.contains(&(*root, true, tokens[..k * PAGE].to_vec())))
            };
            keys.iter().filter(linked).cloned().collect()
        };
        let before = whole(self.cache.dump());
        // Two caches of one directory at the same time are not what this test is about.
        self.cache = Cache::open(&CacheOptions {
            disk: None,
            ..self.options.clone()
        })
        .unwrap();
        self.cache = Cache::open(&self.options).unwrap();
        let after = self.cache.dump();
        assert!(after.iter().all(|s| s.on_disk && s.bytes.is_none()));
        // Closing and opening keeps both budgets: what they do not allow goes, leaves first.
        let after = whole(after);
        assert!(after.is_subset(&before), "{:?}", after.difference(&before));
        let scarce = self
            .options
            .disk
            .as_ref()
            .is_some_and(|disk| disk.bytes < 1 << 30);
        if !scarce && self.cache.stats().tree.forgotten == 0 {
            assert!(before.is_subset(&after), "{:?}", before.difference(&after));
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Request {
                isolation,
                tokens,
                extra,
                semantic,
                stays,
                load,
            } => {
                let isolation = format!("user {isolation}");
                let prefix = self.find(&isolation, tokens, *load);
                let mut tokens = tokens.clone();
                let pages = prefix.pages[..prefix.len.max(prefix.known) / PAGE].to_vec();
                let mut running = Running {
                    isolation,
                    tokens: tokens.clone(),
                    pages,
                    path: prefix.path,
                };
                self.go_on(&mut running, prefix.len, semantic);
                tokens.extend(extra);
                running.tokens.clone_from(&tokens);
                self.go_on(&mut running, tokens.len() - extra.len(), semantic);
                if *stays {
                    self.running.push(running);
                }
            }
            Step::Rewind { to, extra } => {
                if self.running.is_empty() {
                    return;
                }
                let mut running = self.running.remove(0);
                running.tokens.truncate(*to);
                running.path.rewind(*to);
                running.pages.truncate(running.tokens.len() / PAGE);
                let from = running.tokens.len();
                running.tokens.extend(extra);
                self.go_on(&mut running, from, &[]);
            }
            Step::End => {
                if !self.running.is_empty() {
                    self.running.remove(0);
                }
            }
            Step::MakeRoom(bytes) => {
                let before = self.cache.stats().tree.ram_bytes;
                if self.cache.make_room(*bytes) {
                    assert!(self.cache.stats().tree.ram_bytes + bytes <= self.options.ram_bytes);
                } else {
                    assert!(before + bytes > self.options.ram_bytes);
                }
                // What was set aside stays so for the next steps only if it left room for them.
                assert!(*bytes > 1000 || self.cache.make_room(0));
            }
            Step::Pump => self.cache.pump(),
            Step::Reopen => self.reopen(),
            Step::Pin {
                isolation,
                tokens,
                pinned,
            } => {
                let isolation = format!("user {isolation}");
                if *pinned {
                    let known = self.cache.pin(&isolation, tokens);
                    let root = root_key(&IDENTITY, &isolation);
                    let dump = self.cache.dump();
                    let is_it = |s: &Stored| s.root == root && s.pinned && s.tokens == tokens[..known];
                    assert!(known == 0 || dump.iter().any(is_it));
                } else {
                    self.cache.unpin(&isolation, tokens);
                }
            }
        }
        self.cache.check();
        assert!(self.cache.stats().tree.ram_bytes <= self.options.ram_bytes);
        let dump: HashMap<(Key, bool, Vec<u32>), Stored> = self
            .cache
            .dump()
            .into_iter()
            .map(|s| ((s.root, s.kind == Kind::Page, s.tokens.clone()), s))
            .collect();
        if self.options.disk.is_some() {
            // A page read back without room in RAM is its reader's alone, and one whose parent the queue had no room
            // for may stand alone.
            return;
        }
        // Pages in use are there, and are the very bytes that the sequence has.
        for running in &self.running {
            let root = root_key(&IDENTITY, &running.isolation);
            for k in 0..running.path.stored_pages() {
                let stored = &dump[&(root, true, running.tokens[..(k + 1) * PAGE].to_vec())];
                assert!(Payload::ptr_eq(stored.bytes.as_ref().unwrap(), &running.pages[k]));
            }
        }
        // Pages that hang in the air are of no use to anyone.
        for (root, _, tokens) in dump.keys() {
            for k in 1..=tokens.len() / PAGE {
                assert!(dump.contains_key(&(*root, true, tokens[..k * PAGE].to_vec())));
            }
        }
    }

    /// Stores what a run from `from` to the end of the sequence leaves behind.
    fn go_on(&self, running: &mut Running, from: usize, semantic: &[usize]) {
        let Running {
            isolation,
            tokens,
            pages,
            path,
        } = running;
        let boundaries = self.cache.boundaries(from..tokens.len(), semantic);
        for at in from + 1..=tokens.len() {
            let so_far = &tokens[..at];
            if at % PAGE == 0 && path.pages() < at / PAGE {
                let page = content(Kind::Page, isolation, so_far);
                let shared = self.cache.push_page(path, &so_far[at - PAGE..], page.clone());
                assert_eq!(shared, page);
                pages.push(shared);
            }
            if boundaries.contains(&at) && path.pages() == at / PAGE {
                let tail = &so_far[at / PAGE * PAGE..];
                self.cache
                    .keep_snapshot(path, tail, || content(Kind::Snapshot, isolation, so_far), false);
            }
        }
    }

    /// A lookup, held against every start that the stored things allow.
    fn find(&self, isolation: &str, tokens: &[u32], load: bool) -> Prefix {
        let limit = tokens.len().saturating_sub(1);
        // Hears from the disk tier first, as a lookup does.
        self.cache.stats();
        let dump = self.cache.dump();
        let root = root_key(&IDENTITY, isolation);
        let here = |kind: Kind, len: usize| {
            dump.iter()
                .any(|s| s.root == root && s.kind == kind && s.tokens == tokens[..len])
        };
        let pages = (1..=limit / PAGE)
            .take_while(|k| here(Kind::Page, k * PAGE))
            .count();
        let replay = (pages * PAGE).saturating_sub(self.options.replay_tokens) / PAGE * PAGE;
        let snapshot = if self.options.policy == Policy::None {
            0
        } else {
            (1..=limit)
                .rfind(|len| len / PAGE <= pages && here(Kind::Snapshot, *len))
                .unwrap_or(0)
        };

        let found = self.cache.find(isolation, tokens, limit);
        assert_eq!(found.len(), replay.max(snapshot), "{tokens:?}");
        let start = found.len();
        let in_ram = |kind: Kind, len: usize| {
            dump.iter()
                .any(|s| s.root == root && s.kind == kind && s.tokens == tokens[..len] && s.bytes.is_some())
        };
        let by_snapshot = start > 0 && start == snapshot;
        let needed = if start == 0 {
            0
        } else if by_snapshot {
            start / PAGE
        } else {
            pages
        };
        let resident = (1..=needed).all(|k| in_ram(Kind::Page, k * PAGE));
        assert_eq!(
            found.is_resident(),
            resident && (!by_snapshot || in_ram(Kind::Snapshot, start))
        );
        let report = found.report();
        self.explained(isolation, &tokens[..limit], report.miss, report.hit);
        if !load {
            drop(found);
            return self.cache.find(isolation, &[], 0).load();
        }
        let prefix = found.load();
        assert_eq!(prefix.report, report);
        assert_eq!(report.hit, prefix.len);
        assert_eq!(report.replayed, prefix.known - prefix.len);
        assert_eq!(
            prefix.known,
            if prefix.live.is_some() || prefix.len == 0 {
                prefix.len
            } else {
                pages * PAGE
            }
        );
        assert_eq!(prefix.pages.len(), prefix.known / PAGE);
        assert_eq!(prefix.path.pages(), prefix.pages.len());
        for (k, page) in prefix.pages.iter().enumerate() {
            assert_eq!(*page, content(Kind::Page, isolation, &tokens[..(k + 1) * PAGE]));
        }
        if let Some(live) = &prefix.live {
            assert_eq!(*live, content(Kind::Snapshot, isolation, &tokens[..prefix.len]));
        }
        prefix
    }

    /// Reasons that can be held against what is stored.
    fn explained(&self, isolation: &str, tokens: &[u32], miss: Miss, hit: usize) {
        let dump = self.cache.dump();
        let root = root_key(&IDENTITY, isolation);
        match miss {
            Miss::None => assert_eq!(hit, tokens.len()),
            Miss::Differs { at, cached, found } => {
                assert_eq!(tokens[at], found);
                assert_ne!(cached, found);
                let parts = |s: &Stored| {
                    s.root == root
                        && s.tokens.len() > at
                        && s.tokens[..at] == tokens[..at]
                        && s.tokens[at] == cached
                };
                assert!(dump.iter().any(parts));
            }
            Miss::OtherIsolation => {
                assert!(
                    dump.iter()
                        .any(|s| s.root != root && s.tokens[..PAGE.min(s.tokens.len())] == tokens[..PAGE])
                );
            }
            Miss::Evicted => {
                let stats = self.cache.stats().tree;
                let gone = stats.evicted_pages + stats.evicted_snapshots;
                assert!(gone > 0 || self.options.disk.is_some());
            }
            Miss::NeverSeen => assert!(tokens.len() - hit >= PAGE),
            Miss::BelowOnePage => {}
            Miss::NoSnapshot => assert!(hit < tokens.len()),
            Miss::OtherModel | Miss::Damaged => panic!("nothing did this: {miss:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn like_a_naive_cache(
        (policy, replay) in policy(),
        ram_bytes in prop_oneof![Just(1 << 30), 2_000..20_000_u64],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut test = Test::new(policy, replay, ram_bytes, None);
        steps.iter().for_each(|s| test.step(s));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

    #[test]
    fn like_a_naive_cache_with_a_disk(
        (policy, replay) in policy(),
        ram_bytes in prop_oneof![Just(1 << 30), 2_000..20_000_u64],
        disk_bytes in prop_oneof![Just(1 << 30), 2_000..100_000_u64],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut test = Test::new(policy, replay, ram_bytes, Some(disk_bytes));
        steps.iter().for_each(|s| test.step(s));
    }
}
