//! Running sequences of many threads in one small cache, in RAM and on disk, through restarts, crashes, full disks and
//! damage: whoever gets something gets what belongs to its tokens, and nothing stays behind that nobody uses.

use std::num::NonZeroUsize;
use std::path::Path as FilePath;

use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Path, Payload, Policy};
use fathom_synthetic::Random;

const PAGE: usize = 4;
const PAGE_BYTES: usize = 600;
const LIVE_BYTES: usize = 900;
const RAM_BYTES: u64 = 600_000;
const DISK_BYTES: u64 = 700_000;
const THREADS: u64 = 4;
const REQUESTS: usize = 50;

const POLICIES: [Policy; 3] = [
    Policy::Full,
    Policy::Periodic(NonZeroUsize::new(3 * PAGE).unwrap()),
    Policy::None,
];

fn cache(policy: Policy, dir: Option<&FilePath>) -> Cache {
    let options = CacheOptions {
        identity: [5; 32],
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens: 6,
        policy,
        ram_bytes: RAM_BYTES,
        disk: dir.map(|dir| DiskOptions {
            queue_bytes: 200_000,
            ..DiskOptions::new(dir, DISK_BYTES)
        }),
        background: true,
    };
    Cache::open(&options).unwrap()
}

/// Bytes that only these tokens of this user have.
fn content(user: &str, tokens: &[u32], len: usize) -> Payload {
    let hash = tokens.iter().fold(user.len() as u64 + 1, |hash, id| {
        (hash ^ u64::from(*id))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
    });
    hash.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Mostly the same ids: long beginnings in common.
fn ids(random: &mut Random, len: usize) -> Vec<u32> {
    (0..len).map(|_| u32::from(random.chance(8))).collect()
}

struct Sequence {
    user: &'static str,
    tokens: Vec<u32>,
    pages: Vec<Payload>,
    path: Path,
}

impl Sequence {
    fn start(cache: &Cache, random: &mut Random) -> Self {
        let user = ["a", "bb", "ccc"][random.below(3)];
        let length = random.between(1, 120);
        let tokens = ids(random, length);
        let mut found = cache.find(user, &tokens, tokens.len() - 1);
        if random.chance(10) {
            // Somebody who does not wait for the answer.
            found = cache.find(user, &tokens, tokens.len() / 2);
        }
        let prefix = found.load();
        for (k, page) in prefix.pages.iter().enumerate() {
            assert!(*page == content(user, &tokens[..(k + 1) * PAGE], PAGE_BYTES));
        }
        if let Some(live) = &prefix.live {
            assert!(*live == content(user, &tokens[..prefix.len], LIVE_BYTES + prefix.len % PAGE));
        }
        assert!(prefix.len < tokens.len());
        let mut sequence = Self {
            user,
            tokens: tokens[..prefix.known].to_vec(),
            pages: prefix.pages,
            path: prefix.path,
        };
        sequence.go_on(cache, &tokens[prefix.known..]);
        sequence
    }

    fn go_on(&mut self, cache: &Cache, ids: &[u32]) {
        for id in ids {
            self.tokens.push(*id);
            let len = self.tokens.len();
            let tail = &self.tokens[len / PAGE * PAGE..];
            if tail.is_empty() {
                let page = content(self.user, &self.tokens, PAGE_BYTES);
                let shared = cache.push_page(&mut self.path, &self.tokens[len - PAGE..], page.clone());
                assert!(shared == page);
                self.pages.push(shared);
            }
            assert_eq!(self.path.pages(), len / PAGE);
            if !cache.boundaries(len - 1..len, &[]).is_empty() {
                let live = || content(self.user, &self.tokens, LIVE_BYTES + len % PAGE);
                cache.keep_snapshot(&self.path, tail, live, false);
            }
        }
    }

    fn rewind(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.pages.truncate(self.tokens.len() / PAGE);
        self.path.rewind(len);
    }
}

fn work(cache: &Cache, seed: u64) {
    let mut random = Random::new(seed);
    let mut running: Vec<Sequence> = Vec::new();
    for _ in 0..REQUESTS {
        let mut sequence = Sequence::start(cache, &mut random);
        match random.below(8) {
            0 => {
                let len = random.below(sequence.tokens.len() + 1);
                sequence.rewind(len);
                let more = ids(&mut random, 20);
                sequence.go_on(cache, &more);
            }
            4 => {
                // Room for others' live states, as the engine asks for it.
                cache.make_room(random.below(200_000) as u64);
                cache.make_room(0);
            }
            5 => _ = (cache.list().len(), cache.stats()),
            _ => {}
        }
        running.push(sequence);
        if running.len() > 3 {
            let ends = random.below(running.len());
            running.swap_remove(ends);
        }
        let others = random.below(running.len());
        let more = ids(&mut random, 3);
        running[others].go_on(cache, &more);
    }
}

/// Several threads' requests.
fn round(cache: &Cache, seed: u64) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || work(cache, seed * THREADS + thread));
        }
    });
}

/// Nothing is in use: everything can leave RAM, and without a disk the tree is empty then.
fn check_that_nothing_stays(cache: &Cache, what: &str) {
    cache.flush();
    let stats = cache.stats().tree;
    assert!(stats.ram_bytes <= RAM_BYTES, "{what}");
    cache.make_room(u64::MAX);
    let stats = cache.stats();
    assert_eq!((stats.tree.ram_pages, stats.tree.ram_snapshots), (0, 0), "{what}");
    if stats.disk.is_none() {
        let tree = stats.tree;
        assert_eq!((tree.pages, tree.snapshots, tree.roots), (0, 0, 0), "{what}");
    }
}

#[test]
fn in_ram() {
    for policy in POLICIES {
        let cache = cache(policy, None);
        round(&cache, 1);
        let stats = cache.stats().tree;
        assert!(stats.hit_tokens > 0 && stats.evicted_pages > 0, "{stats:?}");
        check_that_nothing_stays(&cache, &format!("{policy:?}"));
    }
}

#[test]
fn on_disk_through_restarts() {
    for policy in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let (mut read, mut evicted) = (0, 0);
        for seed in 0..3 {
            let what = format!("{policy:?} restart {seed}");
            let cache = cache(policy, Some(dir.path()));
            assert_eq!(cache.stats().tree.pages > 0, seed > 0, "{what}");
            round(&cache, seed);
            check_that_nothing_stays(&cache, &what);
            let stats = cache.stats();
            let disk = stats.disk.unwrap();
            read += disk.read_records;
            evicted += disk.evicted;
            assert_eq!((disk.damaged, stats.tree.damaged), (0, 0), "{what}");
            assert!(disk.file_bytes <= DISK_BYTES, "{what}: {disk:?}");
        }
        assert!(
            read > 100 && evicted > 100,
            "{policy:?}: {read} read, {evicted} evicted"
        );
    }
}

#[test]
fn on_disks_that_fill_up_and_processes_that_die() {
    for policy in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(7);
        for seed in 0..3 {
            let what = format!("{policy:?} restart {seed}");
            let cache = cache(policy, Some(dir.path()));
            let disk = cache.disk().unwrap();
            disk.fail_writes_after(Some(random.below(1_000_000) as u64));
            round(&cache, seed);
            disk.fail_writes_after(None);
            if random.chance(50) {
                round(&cache, seed + 100);
                check_that_nothing_stays(&cache, &what);
            }
            disk.abandon();
        }
    }
}

#[test]
fn on_disks_with_damage() {
    let mut found = 0;
    for policy in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random::new(8);
        for seed in 0..3 {
            let cache = cache(policy, Some(dir.path()));
            round(&cache, seed);
            check_that_nothing_stays(&cache, &format!("{policy:?} restart {seed}"));
            let stats = cache.stats();
            let disk = stats.disk.unwrap();
            found += disk.damaged + disk.unreadable + disk.skipped.checksum + disk.skipped.torn;
            if seed % 2 == 0 {
                // While it is open, too.
                damage(dir.path(), &mut random);
                round(&cache, seed + 100);
            }
            drop(cache);
            damage(dir.path(), &mut random);
        }
    }
    assert!(found > 0, "damage was noticed");
}

/// Damages some of the files of a directory.
fn damage(dir: &FilePath, random: &mut Random) {
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "seg") || !random.chance(30) {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        match random.below(5) {
            0 => bytes.truncate(random.below(bytes.len() + 1)),
            1 => bytes.extend((0..random.below(300)).map(|i| i as u8)),
            2 => {
                let from = random.below(bytes.len() + 1);
                bytes[from..].fill(0);
            }
            _ => {
                for _ in 0..random.between(1, 20) {
                    let at = random.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 2 << random.below(7);
                    }
                }
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
}
