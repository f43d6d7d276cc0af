//! `cargo bench -p fathom-cache --bench restore`: how fast a prefix of 128 K tokens comes back, in the layout of Flash.
//!
//! Two prefixes of 1,024 pages of 449,824 bytes with a snapshot of 3.3 MB each are written to a directory (in `TMPDIR`; 1 GB)
//! and read through `Cache::find` and `Found::load`, checksums verified, with the files in the kernel's memory (target: 5 GB/s) and without (target: 80 % of what the disk gives).
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Policy};
use fathom_kernels::allocator::PageAllocator;
use rustix::fs::{Advice, fadvise};

/// As in the program: with the system's, first touching the memory takes most of the time.
#[global_allocator]
static ALLOCATOR: PageAllocator = PageAllocator;

const PAGE: usize = 128;
const PAGES: usize = 1024;
const PAGE_BYTES: usize = 449_824;
const SNAPSHOT_BYTES: usize = 3_300_000;
const PREFIX_BYTES: u64 = (PAGES * PAGE_BYTES + SNAPSHOT_BYTES) as u64;

/// Names the directory to a process that loads one prefix from it and prints the seconds.
const ONCE: &str = "FATHOM_RESTORE_ONCE";

fn open(dir: &Path, ram_bytes: u64) -> Cache {
    let cache = Cache::open(&CacheOptions {
        identity: [0; 32],
        page_tokens: PAGE,
        page_bytes: PAGE_BYTES,
        replay_tokens: 43 * PAGE,
        policy: Policy::Full,
        ram_bytes,
        disk: Some(DiskOptions::new(dir, 2 << 30)),
        background: false,
    });
    cache.expect("a directory that can be written")
}

/// The token ids of a prefix.
fn prefix(which: usize) -> Vec<u32> {
    (0..PAGES * PAGE).map(|i| (i * 2 + which) as u32).collect()
}

/// Loads a prefix; returns the seconds.
fn load(cache: &Cache, tokens: &[u32]) -> f64 {
    let start = Instant::now();
    let prefix = cache.find("bench", tokens, PAGES * PAGE).load();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!((prefix.len, prefix.pages.len()), (PAGES * PAGE, PAGES));
    seconds
}

/// Seconds to load a prefix in a new process: an allocator keeps what it has touched.
fn restarted(dir: &Path) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .env(ONCE, dir)
        .output()
        .expect("this program again");
    let seconds = String::from_utf8_lossy(&output.stdout);
    seconds.trim().parse().expect("seconds")
}

/// The files of the cache.
fn files(dir: &Path) -> Vec<File> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("the cache")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| File::open(path).expect("a segment"))
        .collect()
}

/// Has the kernel write and forget the files.
fn forget(dir: &Path) {
    for file in files(dir) {
        file.sync_all().expect("sync");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
    }
}

/// Seconds to read as much as a prefix takes from the files, in large pieces, into memory that is used again.
fn read_files(dir: &Path) -> f64 {
    let mut buffer = vec![1; 4 << 20];
    let start = Instant::now();
    let mut left = PREFIX_BYTES as usize;
    for mut file in files(dir) {
        while left > 0 {
            let piece = left.min(buffer.len());
            let read = file.read(&mut buffer[..piece]).expect("read");
            if read == 0 {
                break;
            }
            left -= read;
        }
    }
    assert_eq!(left, 0);
    start.elapsed().as_secs_f64()
}

fn main() {
    if let Some(dir) = std::env::var_os(ONCE) {
        let cache = open(Path::new(&dir), 4 * PREFIX_BYTES);
        println!("{}", load(&cache, &prefix(0)));
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = |ram_bytes: u64| open(dir.path(), ram_bytes);
    let prefixes: Vec<Vec<u32>> = (0..2).map(prefix).collect();

    let start = Instant::now();
    let cache = open(4 * PREFIX_BYTES);
    for tokens in &prefixes {
        let mut path = cache.path("bench");
        for (k, ids) in tokens.chunks(PAGE).enumerate() {
            let bytes: Arc<[u8]> = (0..PAGE_BYTES).map(|i| (i * 31 + k * 7) as u8).collect();
            cache.push_page(&mut path, ids, bytes);
            if k % 32 == 31 {
                cache.pump();
            }
        }
        cache.keep_snapshot(&path, &[], || vec![1; SNAPSHOT_BYTES].into(), false);
        cache.pump();
    }
    drop(cache);
    println!("written in {:.1} s", start.elapsed().as_secs_f64());

    let load = |cache: &Cache, which: usize| load(cache, &prefixes[which]);
    // The files are in the kernel's memory from here on.
    load(&open(4 * PREFIX_BYTES), 0);
    load(&open(4 * PREFIX_BYTES), 1);
    let rate = |what: &str, seconds: &mut [f64]| {
        seconds.sort_by(f64::total_cmp);
        let gigabytes = PREFIX_BYTES as f64 / 1e9;
        println!(
            "  {what}: median {:.2} GB/s, best {:.2} GB/s",
            gigabytes / seconds[seconds.len() / 2],
            gigabytes / seconds[0]
        );
        gigabytes / seconds[seconds.len() / 2]
    };
    let mut fresh: Vec<f64> = (0..7).map(|_| restarted(dir.path())).collect();
    rate("after a restart, into memory never used before", &mut fresh);

    // The same amount once through the cache and once from its files in their order, in turn.
    let (mut cold, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        forget(dir.path());
        cold.push(restarted(dir.path()));
        forget(dir.path());
        plain.push(read_files(dir.path()));
    }
    let cold = rate("after a restart, the files not in memory", &mut cold);
    let plain = rate("the disk's own rate, files read in order", &mut plain);
    println!("  share of the disk's own rate: {:.0} %", 100.0 * cold / plain);

    let cache = open(PREFIX_BYTES + PREFIX_BYTES / 8);
    load(&cache, 1);
    let mut full: Vec<f64> = (0..14).map(|i| load(&cache, i % 2)).collect();
    rate("in a full cache, each evicting the other", &mut full);
    let mut resident: Vec<f64> = (0..15).map(|_| load(&cache, 1)).collect();
    resident.sort_by(f64::total_cmp);
    println!("  from RAM: median {:.0} us", resident[7] * 1e6);
}
