//! `cargo bench -p fathom-cache --bench disk`: the disk tier against the disk itself.
//!
//! 1,024 pages of 449,824 bytes (128 K tokens of Flash) are written, and read back with [`Disk::read_many`], every checksum
//! verified: *cold*, after the kernel was told to forget the files, and *warm*. The disk's own rate is that of reading
//! the same files from beginning to end, cold as well, four megabytes at a time into one buffer. Rounds alternate, so that
//! all see the same neighbours. Directory: `FATHOM_BENCH_DIR`, or `TMPDIR`; 461 MB. Target: 80 % of the disk when cold,
//! 5 GB/s when warm.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fathom_cache::disk::{Disk, DiskOptions, Kind, NewRecord};
use fathom_cache::{Key, page_key, root_key};

const PAGE_TOKENS: u32 = 128;
const PAGES: u32 = 1024;
const PAGE_BYTES: usize = 449_824;
const ROUNDS: usize = 7;
const IDENTITY: [u8; 32] = [1; 32];

fn main() {
    let dir = match std::env::var_os("FATHOM_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.expect("a temporary directory");
    let options = DiskOptions {
        queue_bytes: 1 << 40,
        ..DiskOptions::new(dir.path(), 4 << 30)
    };
    let open = || Disk::open(&options, &IDENTITY, true).expect("a directory that can be written");

    let (disk, _) = open();
    let pages = pages();
    let keys: Vec<Key> = pages.iter().map(|page| page.key).collect();
    let start = Instant::now();
    for page in pages {
        disk.put(page);
    }
    let queued = start.elapsed().as_secs_f64();
    drop(disk);
    let closed = start.elapsed().as_secs_f64();
    let files = segments(dir.path());
    let on_disk: u64 = files
        .iter()
        .map(|file| fs::metadata(file).expect("a segment").len())
        .sum();
    let payload = f64::from(PAGES) * PAGE_BYTES as f64;
    println!(
        "{PAGES} pages of {PAGE_BYTES} bytes: queued in {:.1} ms, on the medium in {closed:.2} s ({:.2} GB/s); \
         files {:.3} % larger than the pages",
        queued * 1e3,
        payload / closed / 1e9,
        100.0 * (on_disk as f64 / payload - 1.0)
    );
    forget(&files);
    let start = Instant::now();
    let (disk, records) = open();
    println!(
        "opened cold in {:.1} ms: {} records in {} segments",
        start.elapsed().as_secs_f64() * 1e3,
        records.len(),
        files.len()
    );

    let mut buffers = vec![vec![1; PAGE_BYTES]; PAGES as usize];
    let copy = rate(payload, || {
        let (from, to) = buffers.split_at_mut(PAGES as usize / 2);
        for (from, to) in from.iter().zip(&mut *to) {
            to.copy_from_slice(from);
        }
        for (from, to) in to.iter().zip(from) {
            to.copy_from_slice(from);
        }
    });
    println!("copying memory, one thread: {:.2} GB/s", copy / 1e9);
    // Whoever reads, these files are read for the first time.
    sequential(&files);

    let mut rates: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        forget(&files);
        rates[0].push(rate(payload, || sequential(&files)));
        forget(&files);
        rates[1].push(rate(payload, || read(&disk, &keys, &mut buffers)));
        rates[2].push(rate(payload, || read(&disk, &keys, &mut buffers)));
        forget(&files);
        rates[3].push(rate(payload, || fresh(&disk, &keys)));
        rates[4].push(rate(payload, || fresh(&disk, &keys)));
    }
    let names = [
        "the disk itself: files read in sequence, cold",
        "read_many, cold, into memory in use",
        "read_many, warm, into memory in use",
        "read_many, cold, into new memory",
        "read_many, warm, into new memory",
    ];
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let disk_rate = median(&mut rates[0]);
    for (name, rates) in names.iter().zip(&mut rates) {
        let middle = median(rates);
        println!(
            "{name:46} median {:5.2} GB/s ({:3.0} % of the disk), best {:5.2}, worst {:5.2}",
            middle / 1e9,
            100.0 * middle / disk_rate,
            rates[rates.len() - 1] / 1e9,
            rates[0] / 1e9,
        );
    }
}

/// Incompressible pages, each different.
fn pages() -> Vec<NewRecord> {
    let mut parent = root_key(&IDENTITY, "");
    let mut state = 1_u64;
    (0..PAGES)
        .map(|page| {
            let tokens: Vec<u32> = (0..PAGE_TOKENS).map(|i| page * PAGE_TOKENS + i).collect();
            let key = page_key(&parent, &tokens);
            let words = (0..PAGE_BYTES / 8).flat_map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state ^ (state >> 33)).to_le_bytes()
            });
            let record = NewRecord {
                key,
                parent,
                kind: Kind::Page,
                tokens,
                position: u64::from((page + 1) * PAGE_TOKENS),
                payload: words.collect(),
                pinned: false,
            };
            parent = key;
            record
        })
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some());
    files.sort();
    files
}

/// Takes the files out of the kernel's memory.
fn forget(files: &[PathBuf]) {
    for file in files {
        let file = File::open(file).expect("a segment");
        file.sync_all().expect("a disk that works");
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a kernel that listens");
    }
}

fn sequential(files: &[PathBuf]) {
    let mut buffer = vec![0; 4 << 20];
    for file in files {
        let mut file = File::open(file).expect("a segment");
        while file.read(&mut buffer).expect("a disk that works") > 0 {}
    }
}

fn read(disk: &Disk, keys: &[Key], buffers: &mut [Vec<u8>]) {
    let mut wanted: Vec<(Key, &mut [u8])> = keys
        .iter()
        .zip(buffers)
        .map(|(key, buffer)| (*key, &mut buffer[..]))
        .collect();
    let results = disk.read_many(&mut wanted);
    assert!(results.iter().all(Result::is_ok));
}

fn fresh(disk: &Disk, keys: &[Key]) {
    let mut buffers = vec![vec![0; PAGE_BYTES]; keys.len()];
    read(disk, keys, &mut buffers);
}

/// Bytes per second.
fn rate(bytes: f64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    bytes / start.elapsed().as_secs_f64()
}
