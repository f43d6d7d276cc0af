//! Saved sessions: read back whole, or refused with the reason.

use std::fs;
use std::path::Path;

use fathom_cache::Payload;
use fathom_cache::saved::{LoadError, SaveError, SavedState, ToSave, read, write};
use proptest::prelude::*;

const IDENTITY: [u8; 32] = [3; 32];

struct Session {
    tokens: Vec<u32>,
    pages: Vec<Payload>,
    live: Vec<u8>,
    user: Vec<u8>,
}

fn session(pages: usize) -> Session {
    Session {
        tokens: (0..4 * pages as u32 + 3).map(|id| id * 0x0101_0101).collect(),
        pages: (0..pages).map(|page| vec![page as u8; 100].into()).collect(),
        live: (0..77).collect(),
        user: b"what was said".to_vec(),
    }
}

fn save(path: &Path, session: &Session) -> Result<(), SaveError> {
    write(
        path,
        &ToSave {
            identity: &IDENTITY,
            tokens: &session.tokens,
            pages: &session.pages,
            live: &session.live,
            user: &session.user,
        },
    )
}

fn load(path: &Path) -> Result<(Vec<u32>, Vec<u8>, SavedState), LoadError> {
    let mut saved = read(path)?;
    let (tokens, user) = (std::mem::take(&mut saved.tokens), std::mem::take(&mut saved.user));
    Ok((tokens, user, saved.state(&IDENTITY)?))
}

#[test]
fn what_is_saved_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    for pages in [0, 1, 5] {
        let session = session(pages);
        save(&path, &session).unwrap();
        let (tokens, user, state) = load(&path).unwrap();
        assert_eq!((tokens, user), (session.tokens, session.user));
        assert_eq!((state.pages, state.live), (session.pages, session.live));
    }
    // Nothing but the session is left.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    save(&path, &session(2)).unwrap();
    let sound = fs::read(&path).unwrap();
    for cut in 0..sound.len() {
        fs::write(&path, &sound[..cut]).unwrap();
        load(&path).unwrap_err();
    }
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        load(&path).unwrap_err();
    }
}

#[test]
fn pages_cannot_change_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    save(&path, &session(2)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() - 232;
    bytes[pages..].rotate_left(116);
    fs::write(&path, &bytes).unwrap();
    let error = load(&path).unwrap_err();
    assert!(
        error.to_string().contains("the checksum of its page 0 is wrong"),
        "{error}"
    );
}

#[test]
fn errors_say_what_was_expected_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let text = load(&path).unwrap_err().to_string();
        text.replace(&path.display().to_string(), "PATH")
    };
    assert_eq!(
        message(b"#!/bin/sh"),
        "PATH is not a saved session: expected it to begin with FATHOMST. Name another file"
    );
    save(&path, &session(1)).unwrap();
    let sound = fs::read(&path).unwrap();
    assert_eq!(
        message(&sound[..300]),
        "the saved session PATH has 300 bytes, expected 410; it was cut off or changed. Start a new one"
    );
    let mut newer = sound.clone();
    newer[8] = 2;
    assert_eq!(
        message(&newer),
        "PATH is a saved session of format 2, expected 1; read it with the program that wrote it"
    );
    fs::write(&path, &sound).unwrap();
    let error = read(&path).unwrap().state(&[4; 32]).unwrap_err().to_string();
    assert!(
        error.contains("expected 040404040404, found 030303030303"),
        "{error}"
    );
    let error = save(&dir.path().join("none/session"), &session(1)).unwrap_err();
    assert!(
        error.to_string().contains("What was there before is untouched"),
        "{error}"
    );
    let mut uneven = session(2);
    uneven.pages[1] = vec![0; 99].into();
    let error = save(&path, &uneven).unwrap_err().to_string();
    assert!(
        error.starts_with("page 1 has 99 bytes, the first one 100"),
        "{error}"
    );
    // The old one is untouched.
    assert_eq!(fs::read(&path).unwrap(), sound);
}

#[test]
fn a_transcript_outlives_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    save(&path, &session(2)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let saved = read(&path).unwrap();
    assert_eq!(saved.user, b"what was said");
    assert_eq!(saved.tokens.len(), 11);
    assert!(matches!(saved.state(&IDENTITY), Err(LoadError::Damaged { .. })));
}

proptest! {
    /// Anything may be in the file.
    #[test]
    fn arbitrary_bytes_are_refused_and_nothing_more(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ours in any::<bool>(),
        numbers in proptest::array::uniform5(prop_oneof![0u64..64, any::<u64>()]),
    ) {
        if ours && bytes.len() >= 128 {
            // A header that is as it should be but for what it says.
            bytes[..16].copy_from_slice(b"FATHOMST\x01\0\0\0\0\0\0\0");
            for (i, number) in numbers.iter().enumerate() {
                bytes[48 + 8 * i..56 + 8 * i].copy_from_slice(&number.to_le_bytes());
            }
            let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..120]);
            bytes[120..128].copy_from_slice(&sum.to_le_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session");
        fs::write(&path, &bytes).unwrap();
        prop_assert!(load(&path).is_err());
    }
}
