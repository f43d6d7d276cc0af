//! A session that was saved goes on as if it had never been away, in another process too.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use fathom_cache::saved::LoadError;
use fathom_engine::{CacheSettings, EngineOptions, RestoreError, Session, generation};
use fathom_model::Numerics;
use tempfile::TempDir;

use crate::support::{append, bits, cold_logits, engine, engine_with, tokens};

/// A directory, and the path of a session in it.
fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("session");
    (dir, path)
}

/// Appends everything; returns how many tokens were computed for that.
fn append_counted(session: &mut Session, tokens: &[u32]) -> usize {
    let mut computed = 0;
    let flow = session.append(tokens, &mut |prefill| {
        computed = prefill.total;
        ControlFlow::Continue(())
    });
    assert_eq!(flow.unwrap(), ControlFlow::Continue(()));
    computed
}

/// What `session` makes of `prompt`, greedily, and how many tokens of it were cached.
fn generate(session: &mut Session, prompt: &[u32]) -> (Vec<u32>, usize) {
    let options = generation::Options {
        sampling: fathom_engine::sampling::Params::greedy(),
        tokens_max: Some(12),
        logprobs: None,
        ..generation::Options::default()
    };
    let generation = session.generate(prompt, &options, 4).unwrap();
    let generation = generation.finish_blocking().unwrap();
    (generation.tokens, generation.cached)
}

#[test]
fn a_restored_session_reads_nothing_again_and_has_the_cold_bits() {
    for numerics in Numerics::ALL {
        // Below a page, at its end, beyond it, and far beyond the window.
        for len in [1, 100, 128, 129, 300] {
            let (_dir, path) = place();
            let before = engine(numerics);
            let (held, more) = (tokens(&before, len, 1), tokens(&before, 20, 2));
            let mut session = before.session();
            append(&mut session, &held);
            session.save(&path, b"a note").unwrap();
            let logits = bits(&session);
            drop((session, before));

            let after = engine(numerics);
            let (mut session, note) = after.restore(&path).unwrap();
            assert_eq!(note, b"a note");
            assert_eq!(session.tokens(), held);
            assert_eq!(bits(&session), logits, "the logits come back too");
            assert_eq!(append_counted(&mut session, &more), 20, "{numerics}, {len}");
            assert_eq!(
                bits(&session),
                cold_logits(&after, &[held, more].concat()),
                "{numerics}, {len}"
            );
        }
    }
}

#[test]
fn generation_goes_on_from_the_saved_logits_and_others_find_the_state() {
    let (_dir, path) = place();
    let before = engine(Numerics::Reference);
    let prompt = tokens(&before, 200, 3);
    let mut session = before.session();
    append(&mut session, &prompt);
    session.save(&path, b"").unwrap();
    let cold = generate(&mut before.session_of("cold"), &prompt).0;
    drop((session, before));

    let after = engine(Numerics::Reference);
    let (mut session, _) = after.restore(&path).unwrap();
    assert_eq!(generate(&mut session, &prompt), (cold, 200));
    // What was restored lies in the cache as well.
    let longer = [&prompt[..], &[7, 8, 9]].concat();
    assert_eq!(after.session().reusable(&longer), 200);
    assert_eq!(after.session_of("somebody else").reusable(&longer), 0);
}

#[test]
fn a_rewound_session_is_saved_whole() {
    let (_dir, path) = place();
    let before = engine(Numerics::Reference);
    let (held, more) = (tokens(&before, 250, 4), tokens(&before, 9, 5));
    let mut session = before.session();
    append(&mut session, &held);
    session.rewind(177);
    session.save(&path, b"").unwrap();
    assert_eq!(session.tokens(), &held[..177]);
    drop((session, before));

    let after = engine(Numerics::Reference);
    let (mut session, _) = after.restore(&path).unwrap();
    assert_eq!(session.tokens(), &held[..177]);
    assert_eq!(append_counted(&mut session, &more), 9);
    assert_eq!(
        bits(&session),
        cold_logits(&after, &[&held[..177], &more].concat())
    );
}

#[test]
fn earlier_places_are_saved_and_nothing_before_them_is_read_again() {
    let (_dir, path) = place();
    let before = engine(Numerics::Reference);
    let held = tokens(&before, 300, 9);
    let mut session = before.session();
    for range in [0..50, 50..128, 128..131, 131..300] {
        append(&mut session, &held[range]);
    }
    // Between two states it is the one before.
    session.save_with(&path, b"note", &[131, 60, 128, 300]).unwrap();
    drop((session, before));

    let after = engine(Numerics::Reference);
    let (mut session, note) = after.restore(&path).unwrap();
    assert_eq!(note, b"note");
    for (kept, computed) in [(131, 1), (128, 1), (50, 1), (60, 11), (300, 1)] {
        let mut other = session.fork();
        other.rewind(kept);
        assert_eq!(append_counted(&mut other, &[9]), computed, "{kept}");
        assert_eq!(
            bits(&other),
            cold_logits(&after, &[&held[..kept], &[9]].concat()),
            "{kept}"
        );
    }
}

#[test]
fn an_empty_session_can_be_saved() {
    let (_dir, path) = place();
    let engine = engine(Numerics::Exact);
    engine.session().save(&path, b"empty").unwrap();
    let (mut session, note) = engine.restore(&path).unwrap();
    assert!(session.is_empty() && session.logits().is_none());
    assert_eq!(note, b"empty");
    let some = tokens(&engine, 5, 6);
    append(&mut session, &some);
    assert_eq!(bits(&session), cold_logits(&engine, &some));
}

#[test]
fn recalling_computes_nothing() {
    let engine = engine(Numerics::Reference);
    let held = tokens(&engine, 200, 7);
    let mut session = engine.session();
    append(&mut session, &held);
    let longer = [&held[..], &[7, 8, 9]].concat();
    let mut other = engine.session();
    assert_eq!(other.recall(&longer), 200, "from the cache");
    assert_eq!(other.tokens(), held);
    assert_eq!(session.recall(&longer), 200, "its own");
    assert_eq!(session.recall(&[5, 6, 7]), 0, "nothing like it was seen");
    assert!(session.is_empty());
    assert_eq!(append_counted(&mut other, &[7, 8, 9]), 3);
    assert_eq!(bits(&other), cold_logits(&engine, &longer));
}

#[test]
fn files_that_are_no_session_of_this_model_are_refused_with_the_reason() {
    let (dir, path) = place();
    let engine = engine(Numerics::Reference);
    let mut session = engine.session();
    append(&mut session, &tokens(&engine, 150, 8));
    session.save(&path, b"").unwrap();

    let exact = engine_with(&EngineOptions {
        numerics: Numerics::Exact,
        ..EngineOptions::default()
    });
    let error = exact.restore(&path).err().unwrap();
    assert!(
        matches!(&error, RestoreError::File(LoadError::OtherModel { expected, found, .. })
            if expected == exact.identity() && found == engine.identity()),
        "{error}"
    );
    assert!(error.to_string().contains("expected "), "{error}");

    let small = engine_with(&EngineOptions {
        cache: CacheSettings {
            ram_bytes: Some(1),
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    });
    let error = small.restore(&path).err().unwrap();
    assert!(matches!(error, RestoreError::Memory(_)), "{error}");

    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = engine.restore(&path).err().unwrap();
    assert!(
        matches!(&error, RestoreError::File(LoadError::Damaged { part, .. }) if part == "page 0"),
        "{error}"
    );
    fs::write(&path, &bytes[..last]).unwrap();
    let error = engine.restore(&path).err().unwrap();
    assert!(
        matches!(error, RestoreError::File(LoadError::Length { .. })),
        "{error}"
    );
    let error = engine.restore(&dir.path().join("none")).err().unwrap();
    assert!(
        matches!(error, RestoreError::File(LoadError::Read { .. })),
        "{error}"
    );
}

#[test]
fn a_sound_file_with_other_contents_is_refused() {
    let (_dir, path) = place();
    let engine = engine(Numerics::Reference);
    let write = |tokens: &[u32], live: &[u8], user: &[u8]| {
        fathom_cache::saved::write(
            &path,
            &fathom_cache::saved::ToSave {
                identity: engine.identity(),
                tokens,
                pages: &[],
                live,
                user,
            },
        )
        .unwrap();
        match engine.restore(&path) {
            Err(RestoreError::Content { reason, .. }) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("expected an error"),
        }
    };
    assert!(write(&[u32::MAX], b"", &[0; 16]).starts_with("expected token ids below "));
    assert!(write(&[1], b"short", &[0; 16]).contains("the live state has 5 bytes"));
    // No numbers at all, one logit, an endless number of them, and a state of five bytes at position 0.
    let number = |number: u64| number.to_le_bytes();
    let logit = [&number(1)[..], &[9; 4], &number(0)].concat();
    let state = [&number(0)[..], &number(1), &number(0), &number(5), b"state"].concat();
    for user in [&b""[..], &logit, &[255; 16], &state] {
        assert!(write(&[1, 2], b"", user).starts_with("expected none or "));
    }
}
