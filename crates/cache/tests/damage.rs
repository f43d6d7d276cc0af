//! Directories that something happened to: flipped bits, cut, spliced, exchanged and foreign files. Nothing wrong is
//! returned, nothing panics, and what is lost is counted.
//!
//! `FATHOM_DAMAGES=10000 cargo test --release -p fathom-cache --test damage -- --nocapture` is the long run.

#![expect(clippy::print_stdout, reason = "figures for the record")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use fathom_cache::disk::{Disk, DiskOptions, NewRecord, Record};
use fathom_cache::{Key, root_key};
use support::{Chain, IDENTITY, Random, number, payload, record, segments};

const OTHER: [u8; 32] = [8; 32];

/// Small segments, several of them.
fn options(dir: &Path) -> DiskOptions {
    DiskOptions::new(dir, 128 * 12_000)
}

type Files = Vec<(String, Vec<u8>)>;

/// A sound directory: its files, and its records by key.
fn sound() -> (Files, HashMap<Key, NewRecord>) {
    let dir = tempfile::tempdir().unwrap();
    let mut written = HashMap::new();
    let mut keep = |disk: &Disk, record: NewRecord| {
        disk.put(record.clone());
        written.insert(record.key, record);
    };
    for seed in 0..3 {
        // Opened again each time, so that segments of both models alternate.
        let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
        let mut chain = Chain::new(seed);
        for i in 0..12 {
            keep(&disk, chain.page(200 * i));
            if i % 5 == 0 {
                keep(&disk, chain.snapshot(3_000));
            }
        }
        drop(disk);
        let (disk, _) = Disk::open(&options(dir.path()), &OTHER, false).unwrap();
        keep(&disk, record(&root_key(&OTHER, ""), 0, &[seed], 5_000));
    }
    let files = segments(dir.path())
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    (files, written)
}

/// What a mutation must lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Whatever is lost must have been counted.
    Counted,
    /// Records may be gone without a trace: whole files or whole records were taken away.
    Any,
}

fn damage(files: &mut Files, random: &mut Random) -> Kind {
    let at = random.below(files.len());
    let other = random.below(files.len());
    let len = files[at].1.len();
    match random.below(10) {
        0..4 if len > 0 => {
            for _ in 0..=random.below(3) {
                let byte = random.below(len);
                files[at].1[byte] ^= 1 << random.below(8);
            }
            Kind::Counted
        }
        4 if len > 0 => {
            let cut = random.below(len);
            files[at].1.truncate(cut);
            // Cut between two records, a file is as good as ever.
            if cut.is_multiple_of(64) {
                Kind::Any
            } else {
                Kind::Counted
            }
        }
        5 if len > 0 => {
            // Zeros, as after a power failure.
            let (from, count) = (random.below(len), random.below(4_000));
            let end = (from + count).min(len);
            files[at].1[from..end].fill(0);
            Kind::Counted
        }
        6 => {
            // A piece of one file in another.
            let from = random.below(files[other].1.len().max(1));
            let piece = files[other].1[from.min(files[other].1.len())..].to_vec();
            let piece = &piece[..random.below(piece.len() + 1)];
            let to = random.below(len + 1);
            let to = if random.below(2) == 0 { to / 64 * 64 } else { to };
            if random.below(2) == 0 {
                files[at].1.splice(to..to, piece.iter().copied());
            } else {
                let end = (to + piece.len()).min(len);
                files[at].1[to..end].copy_from_slice(&piece[..end - to]);
            }
            Kind::Any
        }
        7 => {
            let name = files[other].0.clone();
            files[other].0 = std::mem::replace(&mut files[at].0, name);
            Kind::Any
        }
        8 => {
            let bytes = (0..random.below(5_000)).map(|_| random.next() as u8).collect();
            files[at].1 = bytes;
            Kind::Any
        }
        _ => {
            let copy = files[at].1.clone();
            files.push((format!("{:08}.seg", 50 + files.len()), copy));
            Kind::Any
        }
    }
}

#[test]
fn damaged_directories_lose_records_and_nothing_else() {
    let (sound, written) = sound();
    assert!(sound.len() > 6, "{} segments", sound.len());
    let mut random = Random(number("FATHOM_SEED", 1));
    let damages = number("FATHOM_DAMAGES", 100);
    let (mut returned, mut lost, mut counted) = (0u64, 0u64, 0u64);
    for round in 0..damages {
        let mut files = sound.clone();
        let kinds: Vec<Kind> = (0..=random.below(3))
            .map(|_| damage(&mut files, &mut random))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let mut there = 0;
        let mut noticed = 0;
        for identity in [IDENTITY, OTHER] {
            let (disk, records) = Disk::open(&options(dir.path()), &identity, false).unwrap();
            there += check(&disk, &records, &written);
            let stats = disk.stats();
            noticed += stats.skipped.total() + stats.damaged + stats.unreadable;
            // Now and then it goes on as a cache, written to until segments are cleaned.
            if round % 8 == 0 && identity == OTHER {
                go_on(&disk, &written);
            }
        }
        let gone = written.len() as u64 - there;
        if kinds.iter().all(|kind| *kind == Kind::Counted) {
            assert!(
                gone == 0 || noticed > 0,
                "round {round}: {gone} records lost, nothing counted"
            );
        }
        returned += there;
        lost += gone;
        counted += noticed;
    }
    println!(
        "{damages} damaged directories: {returned} records read back, 0 wrong, 0 panics; {lost} lost, {counted} reports"
    );
    assert!(returned > 0 && lost > 0);
}

/// Writes until old records are dropped and moved; whatever can be read is right.
fn go_on(disk: &Disk, written: &HashMap<Key, NewRecord>) {
    let mut chain = Chain::new(1_000);
    let new: Vec<NewRecord> = (0..30).map(|_| chain.page(40_000)).collect();
    for page in &new {
        disk.put(page.clone());
    }
    disk.pump();
    for record in new.iter().chain(written.values()) {
        let mut into = vec![0; record.payload.len()];
        if disk.read(&record.key, &mut into).is_ok() {
            assert_eq!(into, *record.payload);
        }
    }
}

/// Reads everything. Returns how many of the records are there.
fn check(disk: &Disk, records: &[Record], written: &HashMap<Key, NewRecord>) -> u64 {
    let mut there = 0;
    for found in records {
        let original = &written[&found.key];
        assert_eq!(
            (found.parent, found.kind, found.position, &found.tokens),
            (
                original.parent,
                original.kind,
                original.position,
                &original.tokens
            )
        );
        let mut into = vec![0; found.bytes as usize];
        if disk.read(&found.key, &mut into).is_ok() {
            assert!(
                into == payload(&found.key, original.payload.len()),
                "a wrong payload"
            );
            there += 1;
        }
    }
    there
}

#[test]
fn files_of_others_are_left_alone_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(0);
    {
        let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
        disk.put(chain.page(1_000));
    }
    let foreign = [
        ("00000007.seg", b"not a segment".to_vec()),
        ("notes.txt", b"milk, eggs".to_vec()),
    ];
    for (name, bytes) in &foreign {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    fs::create_dir(dir.path().join("00000009.seg")).unwrap();
    // A later version of the format, and a segment whose header was cut off.
    let mut later = fs::read(&segments(dir.path())[0]).unwrap();
    later[8] = 2;
    fs::write(dir.path().join("00000020.seg"), &later).unwrap();
    fs::write(dir.path().join("00000021.seg"), &later[..7]).unwrap();
    let (disk, records) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
    assert_eq!(records.len(), 1);
    let skipped = disk.stats().skipped;
    assert_eq!((skipped.foreign, skipped.version, skipped.torn), (3, 1, 1));
    assert_eq!(skipped.total(), 5);
    // Filled until everything of ours has been replaced.
    for seed in 1..20 {
        let mut chain = Chain::new(seed);
        for _ in 0..10 {
            disk.put(chain.page(20_000));
        }
        disk.pump();
    }
    for (name, bytes) in &foreign {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), *bytes);
    }
    assert_eq!(fs::read(dir.path().join("00000020.seg")).unwrap(), later);
    assert!(!dir.path().join("00000021.seg").exists());
}

#[test]
fn each_kind_of_damage_has_its_count() {
    let (sound, _) = sound();
    let skipped = |change: &dyn Fn(&mut Vec<u8>)| {
        let dir = tempfile::tempdir().unwrap();
        let (name, mut bytes) = sound[0].clone();
        change(&mut bytes);
        fs::write(dir.path().join(name), &bytes).unwrap();
        let (disk, records) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
        (disk.stats().skipped, records.len())
    };
    let (none, all) = skipped(&|_| ());
    assert_eq!(none.total(), 0);
    let (torn, left) = skipped(&|bytes| bytes.truncate(bytes.len() - 100));
    assert_eq!((torn.torn, torn.total(), left), (1, 1, all - 1));
    let (torn, left) = skipped(&|bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!((torn.torn, torn.total(), left), (1, 1, all));
    // The first record's header: the rest is found again behind it.
    let (checksum, left) = skipped(&|bytes| bytes[128 + 20] ^= 1);
    assert_eq!((checksum.checksum, checksum.total(), left), (1, 1, all - 1));
    let (header, left) = skipped(&|bytes| bytes[20] ^= 1);
    assert_eq!((header.checksum, header.total(), left), (1, 1, 0));
    let (version, left) = skipped(&|bytes| bytes[8] = 9);
    assert_eq!((version.version, version.total(), left), (1, 1, 0));
}
