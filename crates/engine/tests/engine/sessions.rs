//! Reusing, forking and interleaving sessions changes no bit of what they compute.

use std::ops::ControlFlow;
use std::thread;

use crate::support::{append, bits, cold_logits, engine, engine_with, tokens};
use fathom_engine::{EngineOptions, SessionError};
use fathom_model::{ForwardError, Numerics};

#[test]
fn rewinding_anywhere_leads_to_the_cold_state() {
    for numerics in Numerics::ALL {
        let engine = engine(numerics);
        let held = tokens(&engine, 300, 1);
        let other = tokens(&engine, 100, 2);
        for (kept, own) in [
            (300, 30),
            (299, 1),
            (257, 20),
            (256, 1),
            (130, 3),
            (128, 70),
            (127, 1),
            (40, 9),
            (0, 9),
        ] {
            let mut session = engine.session();
            append(&mut session, &held);
            session.rewind(kept);
            assert_eq!(session.tokens(), &held[..kept]);
            assert_eq!(session.logits().is_some(), kept == 300);
            append(&mut session, &other[..own]);
            let prompt = [&held[..kept], &other[..own]].concat();
            assert_eq!(session.tokens(), prompt);
            assert_eq!(
                bits(&session),
                cold_logits(&engine, &prompt),
                "{numerics}: {kept} kept, {own} own"
            );
        }
    }
}

#[test]
fn another_session_finds_what_one_has_computed_unless_it_is_another_users() {
    let engine = engine(Numerics::Reference);
    let held = tokens(&engine, 300, 3);
    append(&mut engine.session(), &held);
    let prompt = [&held[..290], &tokens(&engine, 9, 4)].concat();
    let mut session = engine.session();
    assert!(session.reusable(&prompt) > 0);
    append(&mut session, &prompt);
    assert_eq!(bits(&session), cold_logits(&engine, &prompt));
    assert_eq!(engine.session_of("somebody else").reusable(&prompt), 0);
}

#[test]
fn forks_go_on_independently() {
    let engine = engine(Numerics::Reference);
    let trunk = tokens(&engine, 61, 5);
    let (left, right) = (tokens(&engine, 40, 6), tokens(&engine, 33, 7));
    let mut session = engine.session();
    append(&mut session, &trunk);
    let mut fork = session.fork();
    assert_eq!(bits(&fork), bits(&session));
    for at in 0..33 {
        append(&mut session, &left[at..=at]);
        append(&mut fork, &right[at..=at]);
    }
    append(&mut session, &left[33..]);
    assert_eq!(
        bits(&session),
        cold_logits(&engine, &[trunk.as_slice(), &left].concat())
    );
    assert_eq!(
        bits(&fork),
        cold_logits(&engine, &[trunk.as_slice(), &right].concat())
    );
}

#[test]
fn chunks_and_threads_change_no_bit() {
    let prompt = tokens(&engine(Numerics::Exact), 150, 8);
    for numerics in Numerics::ALL {
        let run = |chunk_tokens, threads| {
            let options = EngineOptions {
                numerics,
                threads: Some(threads),
                chunk_tokens,
                ..EngineOptions::default()
            };
            cold_logits(&engine_with(&options), &prompt)
        };
        let expected = run(512, 1);
        for (chunk_tokens, threads) in [(1, 2), (7, 1), (64, 3), (150, 2)] {
            assert_eq!(
                run(chunk_tokens, threads),
                expected,
                "{numerics}: chunks of {chunk_tokens}, {threads} threads"
            );
        }
    }
}

#[test]
fn sessions_that_run_at_once_compute_what_they_compute_alone() {
    let engine = engine(Numerics::Reference);
    let prompts: Vec<_> = (0..6)
        .map(|seed| tokens(&engine, 30 + 11 * seed as usize, seed))
        .collect();
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| cold_logits(&engine, prompt))
        .collect();
    let together: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = prompts
            .iter()
            .map(|prompt| scope.spawn(|| cold_logits(&engine, prompt)))
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn an_interrupted_append_leaves_a_session_to_go_on_with() {
    let engine = engine(Numerics::Reference);
    let prompt = tokens(&engine, 100, 9);
    let mut session = engine.session();
    let mut seen = Vec::new();
    let flow = session.append(&prompt, &mut |progress| {
        seen.push((progress.done, progress.total));
        if progress.done >= 48 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(flow.unwrap(), ControlFlow::Break(()));
    assert_eq!(seen, [(0, 100), (16, 100), (32, 100), (48, 100)]);
    assert_eq!(session.tokens(), &prompt[..48]);
    assert!(session.logits().is_none(), "they were not asked for");
    assert_eq!(session.reusable(&prompt), 48);
    append(&mut session, &prompt[48..]);
    assert_eq!(bits(&session), cold_logits(&engine, &prompt));
}

#[test]
fn what_cannot_be_appended_leaves_the_session_alone() {
    let engine = engine(Numerics::Reference);
    let held = tokens(&engine, 20, 10);
    let mut session = engine.session();
    append(&mut session, &held);
    let before = bits(&session);

    let vocab_size = engine.config().vocab_size;
    let mut bad = tokens(&engine, 40, 11);
    bad[37] = vocab_size as u32;
    let error = session
        .append(&bad, &mut |_| ControlFlow::Continue(()))
        .unwrap_err();
    let SessionError::Forward(ForwardError::TokenOutOfRange { token, position, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!((token as usize, position), (vocab_size, 57));

    let too_long = vec![5; engine.context_max() - 19];
    let error = session
        .append(&too_long, &mut |_| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(
        matches!(
            error,
            SessionError::Forward(ForwardError::ContextFull { len: 20, .. })
        ),
        "{error}"
    );

    assert_eq!((session.tokens(), bits(&session)), (held.as_slice(), before));
}

#[test]
fn an_empty_session_holds_nothing() {
    let engine = engine(Numerics::Reference);
    let mut session = engine.session();
    assert!(session.is_empty() && session.logits().is_none());
    assert_eq!(session.reusable(&[5, 6]), 0);
    append(&mut session, &[]);
    append(&mut session, &[5, 6]);
    assert!(session.kv_bytes() > 0);
    session.clear();
    assert!(session.is_empty() && session.logits().is_none());
    append(&mut session, &[7]);
    assert_eq!(bits(&session), cold_logits(&engine, &[7]));
}
