//! Any bytes as a segment of the prefix cache: nothing is returned that a checksum does not vouch for, and the directory
//! can be written to and opened again.

#![no_main]

use std::fs;

use fathom_cache::disk::{Disk, DiskOptions, Kind};
use fathom_cache::{page_key, snapshot_key};
use libfuzzer_sys::fuzz_target;

const IDENTITY: [u8; 32] = [1; 32];

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    // Most inputs would fail at the header; every other one gets a sound one.
    let mut segment = bytes.to_vec();
    if bytes.first().is_some_and(|byte| byte % 2 == 0) {
        let (disk, _) = Disk::open(&DiskOptions::new(dir.path(), 1 << 20), &IDENTITY, false).unwrap();
        disk.put(fathom_cache::disk::NewRecord {
            key: page_key(&[0; 32], &[1]),
            parent: [0; 32],
            kind: Kind::Page,
            tokens: vec![1],
            position: 1,
            payload: vec![1, 2, 3].into(),
            pinned: false,
        });
        drop(disk);
        let sound = fs::read(dir.path().join("00000000.seg")).unwrap();
        let keep = 128.min(sound.len());
        segment.splice(0..0, sound[..keep].iter().copied());
    }
    fs::write(dir.path().join("00000000.seg"), &segment).unwrap();
    let open = || Disk::open(&DiskOptions::new(dir.path(), 1 << 20), &IDENTITY, false).unwrap();
    let (disk, records) = open();
    for record in &records {
        let key = match record.kind {
            Kind::Page => page_key(&record.parent, &record.tokens),
            Kind::Snapshot => snapshot_key(&record.parent, &record.tokens),
        };
        assert_eq!(key, record.key);
        assert!(record.bytes <= segment.len() as u64);
        let mut into = vec![0; record.bytes as usize];
        if disk.read(&record.key, &mut into).is_ok() {
            assert!(into.is_empty() || segment.windows(into.len()).any(|window| window == into));
        }
        disk.used(&[record.key]);
    }
    disk.pump();
    drop(disk);
    open();
});
