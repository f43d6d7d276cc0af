//! The disk tier as the tree uses it: what is put is read back, by whoever opens the directory, within its budget.

mod support;

use std::fs;

use fathom_cache::disk::{Disk, DiskOptions, Event, Queued, Unreadable};
use fathom_cache::{Key, root_key};
use support::{Chain, IDENTITY, open, options, payload, record, segments};

#[test]
fn records_are_found_again_with_all_they_were_put_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(7);
    let mut written: Vec<_> = (0..20).map(|i| chain.page(500 + i)).collect();
    written.push(chain.snapshot(9_000));
    let (disk, records) = open(&options(dir.path()));
    assert!(records.is_empty());
    for record in &written {
        assert_eq!(disk.put(record.clone()), Queued::Yes);
    }
    disk.flush();
    let stored: Vec<Event> = written.iter().map(|record| Event::Stored(record.key)).collect();
    assert_eq!(disk.events(), stored);
    assert_eq!(disk.events(), []);
    check_all(&disk, &written);
    drop(disk);
    let (disk, records) = open(&options(dir.path()));
    assert_eq!(records.len(), written.len());
    for (found, written) in records.iter().zip(&written) {
        assert_eq!(
            (found.key, found.parent, found.kind, &found.tokens),
            (written.key, written.parent, written.kind, &written.tokens)
        );
        assert_eq!(
            (found.position, found.bytes, found.pinned),
            (written.position, written.payload.len() as u64, written.pinned)
        );
    }
    check_all(&disk, &written);
    assert_eq!(disk.stats().skipped.total(), 0);
}

fn check_all(disk: &Disk, written: &[fathom_cache::disk::NewRecord]) {
    let mut buffers: Vec<Vec<u8>> = written
        .iter()
        .map(|record| vec![0; record.payload.len()])
        .collect();
    for (record, buffer) in written.iter().zip(&mut buffers) {
        disk.read(&record.key, buffer).unwrap();
        assert_eq!(**buffer, *record.payload);
        buffer.fill(0);
    }
    let mut wanted: Vec<(Key, &mut [u8])> = written
        .iter()
        .zip(&mut buffers)
        .map(|(record, buffer)| (record.key, &mut buffer[..]))
        .collect();
    assert!(disk.read_many(&mut wanted).iter().all(Result::is_ok));
    for (record, buffer) in written.iter().zip(&buffers) {
        assert_eq!(**buffer, *record.payload);
    }
}

#[test]
fn without_a_thread_nothing_is_written_until_pumped() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
    let page = Chain::new(1).page(100);
    disk.put(page.clone());
    assert_eq!(disk.stats().queued_records, 1);
    assert!(matches!(
        disk.read(&page.key, &mut [0; 100]),
        Err(Unreadable::Missing)
    ));
    disk.pump();
    assert_eq!(disk.stats().queued_records, 0);
    disk.read(&page.key, &mut [0; 100]).unwrap();
    assert!(matches!(
        disk.read(&page.key, &mut [0; 99]),
        Err(Unreadable::Size {
            expected: 99,
            found: 100
        })
    ));
}

#[test]
fn queue_is_bounded_in_bytes_and_counts_what_it_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.queue_bytes = 1_000;
    let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
    let mut chain = Chain::new(1);
    let answers: Vec<Queued> = (0..4).map(|_| disk.put(chain.page(400))).collect();
    assert_eq!(answers, [Queued::Yes, Queued::Yes, Queued::Full, Queued::Full]);
    assert_eq!(disk.stats().queue_full, 2);
    disk.pump();
    assert_eq!(disk.put(chain.page(400)), Queued::Yes);
    assert_eq!(disk.stats().written_records, 2);
}

#[test]
fn files_stay_within_the_budget_and_the_least_recently_used_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bytes = 1 << 20;
    let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
    // A conversation that is returned to all the time, among many that are not.
    let mut kept = Chain::new(0);
    let kept: Vec<_> = (0..10).map(|_| kept.page(9_000)).collect();
    for record in &kept {
        disk.put(record.clone());
    }
    let keys: Vec<Key> = kept.iter().rev().map(|record| record.key).collect();
    for other in 1..60 {
        let mut chain = Chain::new(other);
        for _ in 0..10 {
            disk.put(chain.page(9_000));
        }
        disk.pump();
        disk.used(&keys);
        let on_disk: u64 = segments(dir.path())
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert!(on_disk <= options.bytes, "{on_disk} bytes of {}", options.bytes);
        assert_eq!(disk.stats().file_bytes, on_disk);
    }
    check_all(&disk, &kept);
    let stats = disk.stats();
    assert!(
        stats.evicted > 0 && stats.records + stats.evicted == 600,
        "{stats:?}"
    );
    // Nearly all of the budget is in use.
    assert!(stats.live_bytes > options.bytes * 7 / 10, "{stats:?}");
    // The order survives: what is left is in order of use, and parents outlive their children.
    drop(disk);
    let (disk, records) = Disk::open(&options, &IDENTITY, false).unwrap();
    assert_eq!(records.len() as u64, stats.records);
    let last: Vec<Key> = records[records.len() - 10..]
        .iter()
        .map(|record| record.key)
        .collect();
    assert_eq!(last, keys);
    let present: std::collections::HashSet<Key> = records.iter().map(|record| record.key).collect();
    for record in &records {
        assert!(record.position as usize == record.tokens.len() || present.contains(&record.parent));
    }
    check_all(&disk, &kept);
}

#[test]
fn every_eviction_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bytes = 200_000;
    let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
    let mut there = std::collections::HashSet::new();
    for other in 0..30 {
        let mut chain = Chain::new(other);
        (0..5).for_each(|_| assert_eq!(disk.put(chain.page(5_000)), Queued::Yes));
        disk.pump();
        for event in disk.events() {
            assert!(match event {
                Event::Stored(key) => there.insert(key),
                Event::Dropped(key) => there.remove(&key),
            });
        }
        assert_eq!(there.len() as u64, disk.stats().records);
    }
    for key in there {
        disk.read(&key, &mut [0; 5_000]).unwrap();
    }
}

#[test]
fn pinned_records_and_what_they_need_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bytes = 200_000;
    let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
    let mut chain = Chain::new(0);
    let mut kept: Vec<_> = (0..3).map(|_| chain.page(5_000)).collect();
    kept.push(support::pinned(chain.snapshot(7_000)));
    for record in &kept {
        disk.put(record.clone());
    }
    for other in 1..40 {
        let mut chain = Chain::new(other);
        (0..5).for_each(|_| assert_eq!(disk.put(chain.page(5_000)), Queued::Yes));
        disk.pump();
    }
    check_all(&disk, &kept);
    drop(disk);
    // The pin is on disk as well, and can be taken back.
    let (disk, records) = Disk::open(&options, &IDENTITY, false).unwrap();
    let pinned: Vec<Key> = records
        .iter()
        .filter(|record| record.pinned)
        .map(|record| record.key)
        .collect();
    assert_eq!(pinned, [kept[3].key]);
    disk.set_pinned(&kept[3].key, false);
    for other in 40..80 {
        let mut chain = Chain::new(other);
        (0..5).for_each(|_| assert_eq!(disk.put(chain.page(5_000)), Queued::Yes));
        disk.pump();
    }
    for record in &kept {
        assert!(matches!(
            disk.read(&record.key, &mut vec![0; record.payload.len()]),
            Err(Unreadable::Missing)
        ));
    }
}

#[test]
fn what_cannot_fit_is_counted_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bytes = 50_000;
    let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
    let mut chain = Chain::new(0);
    let large = chain.page(60_000);
    disk.put(large.clone());
    disk.pump();
    assert_eq!(disk.events(), [Event::Dropped(large.key)]);
    // All that is there is pinned.
    let pinned: Vec<_> = (1..=5)
        .map(|other| support::pinned(Chain::new(other).page(9_000)))
        .collect();
    for record in &pinned {
        disk.put(record.clone());
    }
    let late = Chain::new(6).page(9_000);
    disk.put(late.clone());
    disk.pump();
    assert_eq!(disk.events().last(), Some(&Event::Dropped(late.key)));
    assert_eq!(disk.stats().no_room, 2);
    check_all(&disk, &pinned);
}

#[test]
fn a_smaller_budget_shrinks_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    {
        let (disk, _) = Disk::open(&options, &IDENTITY, false).unwrap();
        let mut chain = Chain::new(0);
        for _ in 0..100 {
            disk.put(chain.page(5_000));
        }
    }
    options.bytes = 200_000;
    let (disk, records) = Disk::open(&options, &IDENTITY, false).unwrap();
    assert_eq!(records.len(), 100);
    disk.pump();
    let stats = disk.stats();
    assert!(stats.file_bytes <= 200_000 && stats.records > 20, "{stats:?}");
    // From the end of the chain.
    for record in &records[..stats.records as usize] {
        disk.read(&record.key, &mut [0; 5_000]).unwrap();
    }
}

#[test]
fn removed_records_stay_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(&options(dir.path()));
    let mut chain = Chain::new(0);
    let pages: Vec<_> = (0..3).map(|_| chain.page(5_000)).collect();
    for page in &pages {
        disk.put(page.clone());
    }
    disk.flush();
    disk.remove(&pages[2].key);
    assert!(matches!(
        disk.read(&pages[2].key, &mut [0; 5_000]),
        Err(Unreadable::Missing)
    ));
    drop(disk);
    let (disk, records) = open(&options(dir.path()));
    assert_eq!(records.len(), 2);
    // And can be put again.
    disk.put(pages[2].clone());
    disk.flush();
    check_all(&disk, &pages);
}

#[test]
fn models_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options(dir.path());
    small.bytes = 400_000;
    let other = [9; 32];
    let theirs = {
        let (disk, _) = Disk::open(&small, &other, false).unwrap();
        let first = record(&root_key(&other, ""), 0, &[1, 2, 3], 20_000);
        disk.put(first.clone());
        first
    };
    let mut chain = Chain::new(0);
    let ours: Vec<_> = (0..4).map(|_| chain.page(20_000)).collect();
    {
        let (disk, records) = Disk::open(&small, &IDENTITY, false).unwrap();
        assert!(records.is_empty());
        assert_eq!(disk.foreign().identities, [other]);
        assert!(disk.foreign().first_pages.contains(&theirs.key));
        assert!(matches!(
            disk.read(&theirs.key, &mut [0; 1]),
            Err(Unreadable::Size { .. })
        ));
        for page in &ours {
            disk.put(page.clone());
        }
    }
    {
        let (disk, records) = Disk::open(&small, &other, false).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(disk.stats().other_records, 4);
        check_all(&disk, std::slice::from_ref(&theirs));
    }
    // The budget is for the directory: what was used longest ago goes, whosever it is.
    let (disk, records) = Disk::open(&small, &IDENTITY, false).unwrap();
    assert_eq!(records.len(), 4);
    let mut chain = Chain::new(1);
    for _ in 0..16 {
        disk.put(chain.page(20_000));
    }
    disk.pump();
    assert_eq!(disk.stats().other_records, 0);
    // Only of one's own records is anything said.
    assert!(!disk.events().contains(&Event::Dropped(theirs.key)));
}

#[test]
fn a_second_process_reads_only_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(&options(dir.path()));
    let page = Chain::new(0).page(100);
    first.put(page.clone());
    first.flush();
    let (second, records) = open(&options(dir.path()));
    assert_eq!(records.len(), 1);
    let notice = second.notice().unwrap();
    assert!(
        notice.contains(&format!("process {} writes to the cache", std::process::id())),
        "{notice}"
    );
    check_all(&second, &[page]);
    assert_eq!(second.put(Chain::new(1).page(100)), Queued::Refused);
    assert!(second.stats().read_only);
    second.flush();
    drop((first, second));
    let (third, _) = open(&options(dir.path()));
    assert_eq!(third.notice(), None);
}

#[test]
fn a_full_disk_is_counted_rested_from_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
    let mut chain = Chain::new(0);
    let early = chain.page(5_000);
    disk.put(early.clone());
    disk.pump();
    disk.fail_writes_after(Some(3_000));
    let torn = chain.page(5_000);
    disk.put(torn.clone());
    disk.put(chain.page(5_000));
    disk.pump();
    let stats = disk.stats();
    assert_eq!((stats.write_errors, stats.refused, stats.records), (1, 2, 1));
    assert!(disk.notice().unwrap().contains("could not be written"));
    assert!(disk.events().contains(&Event::Dropped(torn.key)));
    check_all(&disk, std::slice::from_ref(&early));
    // The next ones are not even tried.
    for _ in 0..8 {
        assert_eq!(disk.put(chain.page(5_000)), Queued::Refused);
    }
    disk.fail_writes_after(None);
    let late = chain.page(5_000);
    assert_eq!(disk.put(late.clone()), Queued::Yes);
    disk.pump();
    check_all(&disk, &[early.clone(), late.clone()]);
    drop(disk);
    let (disk, records) = open(&options(dir.path()));
    assert_eq!((records.len(), disk.stats().skipped.total()), (2, 0));
    check_all(&disk, &[early, late]);
}

#[test]
fn what_is_abandoned_leaves_a_directory_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
    let mut chain = Chain::new(0);
    let written = chain.page(5_000);
    disk.put(written.clone());
    disk.pump();
    disk.put(chain.page(5_000));
    disk.abandon();
    let (disk, records) = open(&options(dir.path()));
    assert_eq!(records.len(), 1);
    check_all(&disk, &[written]);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Disk::open(&DiskOptions::new(file.join("cache"), 1), &IDENTITY, true).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot make the cache directory"),
        "{error}"
    );
    let error = Disk::open(&DiskOptions::new(&file, 1), &IDENTITY, true).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot make the cache directory"),
        "{error}"
    );
}

#[test]
fn payloads_may_be_empty_and_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(3);
    let written: Vec<_> = [0, 1, 63, 64, 65, 262_144, 262_145]
        .map(|bytes| chain.page(bytes))
        .into();
    let (disk, _) = open(&options(dir.path()));
    for record in &written {
        disk.put(record.clone());
    }
    drop(disk);
    let (disk, _) = open(&options(dir.path()));
    check_all(&disk, &written);
    assert_ne!(payload(&written[5].key, 64), payload(&written[6].key, 64));
}

#[test]
fn a_directory_without_write_access_is_read_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(0);
    let pages: Vec<_> = (0..3).map(|_| chain.page(5_000)).collect();
    {
        let (disk, _) = open(&options(dir.path()));
        for page in &pages {
            disk.put(page.clone());
        }
    }
    // Not even root can write to a lock that is a directory.
    fs::remove_file(dir.path().join("lock")).unwrap();
    fs::create_dir(dir.path().join("lock")).unwrap();
    check_read_only(dir.path(), &pages);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::remove_dir(dir.path().join("lock")).unwrap();
        let access = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        access(0o555);
        // Root may write all the same.
        if fs::write(dir.path().join("probe"), "").is_err() {
            check_read_only(dir.path(), &pages);
        }
        access(0o755);
    }
}

fn check_read_only(dir: &std::path::Path, pages: &[fathom_cache::disk::NewRecord]) {
    let (disk, records) = open(&options(dir));
    assert_eq!(records.len(), pages.len());
    check_all(&disk, pages);
    assert_eq!(disk.put(Chain::new(1).page(100)), Queued::Refused);
    disk.used(&[pages[0].key]);
    disk.remove(&pages[2].key);
    disk.flush();
    let notice = disk.notice().unwrap();
    assert!(notice.contains("cannot be written"), "{notice}");
    assert!(
        notice.ends_with("it is only read. Make it writable, or choose another directory"),
        "{notice}"
    );
    drop(disk);
    // Nothing has changed.
    assert_eq!(open(&options(dir)).1.len(), pages.len());
}

/// `FATHOM_SMALL_DIR` names a directory on a file system of a few megabytes, such as `mount -t tmpfs -o size=8m none DIR`.
#[test]
fn a_file_system_that_is_full_is_survived() {
    let Ok(small) = std::env::var("FATHOM_SMALL_DIR") else {
        return;
    };
    let dir = tempfile::tempdir_in(small).unwrap();
    let mut stored = Vec::new();
    let (disk, _) = Disk::open(&options(dir.path()), &IDENTITY, false).unwrap();
    for seed in 0..300 {
        let page = Chain::new(seed).page(400_000);
        if disk.put(page.clone()) == Queued::Yes {
            disk.pump();
            if disk.events() == [Event::Stored(page.key)] {
                stored.push(page);
            }
        }
    }
    let stats = disk.stats();
    assert!(
        stats.write_errors > 0 && stats.refused > stats.write_errors && stored.len() > 2,
        "{stats:?}"
    );
    check_all(&disk, &stored);
    drop(disk);
    let (disk, records) = open(&options(dir.path()));
    assert_eq!((records.len(), disk.stats().skipped.total()), (stored.len(), 0));
    check_all(&disk, &stored);
}
