//! What the engine's tests share: the built-in model, loaded in several ways.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fathom_checkpoint::Checkpoint;
use fathom_engine::answer::{Answer, Event, Options};
use fathom_engine::sampling::Params;
use fathom_engine::{Engine, EngineOptions, Session, answer};
use fathom_model::Numerics;
use fathom_prompt::Conversation;

/// The built-in model. Its weights change from release to release; tests rely on none of its answers.
pub(crate) fn engine_with(options: &EngineOptions) -> Arc<Engine> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    Engine::load(Checkpoint::open(&dir).unwrap(), options).unwrap()
}

/// The built-in model, in small chunks so that prompts take several.
pub(crate) fn engine(numerics: Numerics) -> Arc<Engine> {
    engine_with(&EngineOptions {
        numerics,
        chunk_tokens: 16,
        ..EngineOptions::default()
    })
}

/// Some `len` tokens of ordinary text, different for each `seed`.
pub(crate) fn tokens(engine: &Engine, len: usize, seed: u32) -> Vec<u32> {
    let first = 300;
    let count = engine.config().vocab_size as u32 - first;
    (0..len as u32)
        .map(|n| first + (n * 131 + seed * 7919 + n * n) % count)
        .collect()
}

/// Appends everything; panics on errors.
pub(crate) fn append(session: &mut Session, tokens: &[u32]) {
    let flow = session
        .append(tokens, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(flow, ControlFlow::Continue(()));
}

/// A session that finds nothing in the cache: its isolation id is nobody else's.
pub(crate) fn cold_session(engine: &Arc<Engine>) -> Session {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    engine.session_of(&format!("cold {}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// The bits of the logits after `tokens`, computed from nothing.
pub(crate) fn cold_logits(engine: &Arc<Engine>, tokens: &[u32]) -> Vec<u32> {
    let mut session = cold_session(engine);
    append(&mut session, tokens);
    bits(&session)
}

/// The bits of a session's logits.
pub(crate) fn bits(session: &Session) -> Vec<u32> {
    session
        .logits()
        .expect("something was appended")
        .iter()
        .map(|logit| logit.to_bits())
        .collect()
}

/// Sampling at temperature 1 with a seed, and a short answer.
pub(crate) fn options(seed: u64) -> Options {
    Options {
        sampling: Params {
            seed,
            ..Params::default()
        },
        max_tokens: Some(24),
        ..Options::default()
    }
}

/// Answers and ignores events.
pub(crate) fn ask(session: &mut Session, conversation: &Conversation, options: &Options) -> Answer {
    answer::answer(session, conversation, options, &mut |_: Event| {
        ControlFlow::Continue(())
    })
    .unwrap()
}
