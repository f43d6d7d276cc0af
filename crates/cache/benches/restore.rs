//! `cargo bench -p fathom-cache --bench restore`: how fast a prefix of 128 K tokens comes back, in the layout of Flash.
//!
//! Two prefixes of 1,024 pages of 449,824 bytes with a snapshot of 3.3 MB each are written to a directory (in `TMPDIR`; 1 GB)
//! and read through `Cache::find` and `Found::load`, checksums verified, while the kernel still has the files in memory.
//! Target: 5 GB/s.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Policy};

const PAGE: usize = 128;
const PAGES: usize = 1024;
const PAGE_BYTES: usize = 449_824;
const SNAPSHOT_BYTES: usize = 3_300_000;
const PREFIX_BYTES: u64 = (PAGES * PAGE_BYTES + SNAPSHOT_BYTES) as u64;

fn main() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = |ram_bytes: u64| {
        let cache = Cache::open(&CacheOptions {
            identity: [0; 32],
            page_tokens: PAGE,
            page_bytes: PAGE_BYTES,
            replay_tokens: 43 * PAGE,
            policy: Policy::Full,
            ram_bytes,
            disk: Some(DiskOptions::new(dir.path(), 2 << 30)),
            background: false,
        });
        cache.expect("a directory that can be written")
    };
    let prefixes: Vec<Vec<u32>> = (0..2)
        .map(|which| (0..PAGES * PAGE).map(|i| (i * 2 + which) as u32).collect())
        .collect();

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

    let load = |cache: &Cache, which: usize| {
        let start = Instant::now();
        let prefix = cache.find("bench", &prefixes[which], PAGES * PAGE).load();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!((prefix.len, prefix.pages.len()), (PAGES * PAGE, PAGES));
        seconds
    };
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
    };
    let mut fresh: Vec<f64> = (0..7).map(|i| load(&open(4 * PREFIX_BYTES), i % 2)).collect();
    rate("after a restart, into memory never used before", &mut fresh);

    let cache = open(PREFIX_BYTES + PREFIX_BYTES / 8);
    load(&cache, 1);
    let mut full: Vec<f64> = (0..14).map(|i| load(&cache, i % 2)).collect();
    rate("in a full cache, each evicting the other", &mut full);
    let mut resident: Vec<f64> = (0..15).map(|_| load(&cache, 1)).collect();
    resident.sort_by(f64::total_cmp);
    println!("  from RAM: median {:.0} us", resident[7] * 1e6);
}
