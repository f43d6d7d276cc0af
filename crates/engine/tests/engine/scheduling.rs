//! What the scheduler decides: who runs, who waits, who is refused. The engine is driven step by step.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::support::{cold_logits, engine_with, tokens};
use fathom_engine::generation::{Event, GenerateError, Generating, Options};
use fathom_engine::sampling::Params;
use fathom_engine::{CacheSettings, Engine, EngineOptions, Scheduling, Session, SessionError, StepRules};
use fathom_model::Numerics;

pub(crate) fn by_hand(ram_bytes: Option<u64>, running_max: usize, waiting_max: usize) -> Arc<Engine> {
    engine_with(&EngineOptions {
        numerics: Numerics::Fast,
        threads: Some(1),
        chunk_tokens: 64,
        cache: CacheSettings {
            ram_bytes,
            ..CacheSettings::default()
        },
        scheduling: Scheduling {
            running_max,
            waiting_max,
            ..Scheduling::default()
        },
        by_hand: true,
        ..EngineOptions::default()
    })
}

fn options(seed: u64, tokens_max: usize) -> Options {
    Options {
        sampling: Params {
            seed,
            ..Params::default()
        },
        tokens_max: Some(tokens_max),
        logprobs: Some(2),
        ..Options::default()
    }
}

/// Takes what has come. Returns the tokens, and whether the run is over.
fn look(run: &mut Generating<'_>) -> (Vec<u32>, bool) {
    let mut tokens = Vec::new();
    loop {
        match run.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Event::Token { token, .. })) => tokens.push(token),
            Poll::Ready(Some(Event::Prefill(_))) => {}
            Poll::Ready(None) => return (tokens, true),
            Poll::Pending => return (tokens, false),
        }
    }
}

/// Steps until every run is over; returns their tokens.
pub(crate) fn run_all(
    engine: &Engine,
    runs: &mut [Generating<'_>],
    rules: impl Fn(usize) -> StepRules,
) -> Vec<Vec<u32>> {
    let mut texts = vec![Vec::new(); runs.len()];
    for step in 0..10_000 {
        let mut over = true;
        for (run, text) in runs.iter_mut().zip(&mut texts) {
            let (tokens, ended) = look(run);
            text.extend(tokens);
            over &= ended;
        }
        if over {
            return texts;
        }
        engine.step(rules(step));
    }
    panic!("not over after 10,000 steps: {:?}", engine.stats());
}

/// The tokens that a request gives alone, in an engine of its own.
fn alone(prompt: &[u32], options: &Options) -> Vec<u32> {
    let engine = by_hand(None, 1, 0);
    let mut session = engine.session();
    let mut runs = [session.generate(prompt, options, 4).unwrap()];
    run_all(&engine, &mut runs, |_| StepRules::default()).remove(0)
}

#[test]
fn all_sequences_that_generate_share_a_step() {
    let engine = by_hand(None, 8, 0);
    let prompts: Vec<_> = (0..3)
        .map(|seed| tokens(&engine, 40 + seed as usize, seed))
        .collect();
    let mut sessions: Vec<_> = (0..3).map(|_| engine.session()).collect();
    let mut runs: Vec<_> = sessions
        .iter_mut()
        .zip(&prompts)
        .map(|(session, prompt)| session.generate(prompt, &options(1, 200), 1000).unwrap())
        .collect();
    while engine.stats().prefill_tokens < 123 {
        engine.step(StepRules::default());
    }
    let before = engine.stats();
    engine.step(StepRules::default());
    let after = engine.stats();
    assert_eq!(
        (
            after.steps - before.steps,
            after.decode_tokens - before.decode_tokens
        ),
        (1, 3)
    );
    let texts = run_all(&engine, &mut runs, |_| StepRules::default());
    for (prompt, text) in prompts.iter().zip(texts) {
        assert_eq!(text, alone(prompt, &options(1, 200)));
    }
}

#[test]
fn a_prompt_beside_decode_steps_takes_no_more_than_the_bound() {
    let engine = by_hand(None, 8, 0);
    let (short, long) = (tokens(&engine, 10, 1), tokens(&engine, 500, 2));
    let (mut first, mut second) = (engine.session(), engine.session());
    let mut writing = first.generate(&short, &options(1, 100), 1000).unwrap();
    while look(&mut writing).0.is_empty() {
        engine.step(StepRules::default());
    }
    let reading = second.generate(&long, &options(2, 1), 1000).unwrap();
    let rules = StepRules {
        prefill_tokens: Some(20),
        ..StepRules::default()
    };
    for _ in 0..5 {
        let before = engine.stats();
        engine.step(rules);
        let after = engine.stats();
        assert_eq!(after.prefill_tokens - before.prefill_tokens, 20);
        assert_eq!(look(&mut writing).0.len(), 1, "one token in every step");
    }
    drop(reading);
}

#[test]
fn a_slow_listener_rests_and_nobody_waits_for_it() {
    let engine = by_hand(None, 8, 0);
    let prompt = tokens(&engine, 20, 3);
    let (mut first, mut second) = (engine.session(), engine.session());
    let mut slow = first.generate(&prompt, &options(1, 50), 5).unwrap();
    let mut quick = [second.generate(&prompt, &options(2, 50), 1000).unwrap()];
    let texts = run_all(&engine, &mut quick, |_| StepRules::default());
    assert_eq!(texts[0], alone(&prompt, &options(2, 50)));
    assert!(
        !engine.step(StepRules::default()),
        "nothing to do for who does not listen"
    );
    let (text, over) = look(&mut slow);
    assert!(text.len() <= 5 && !over, "{} tokens ahead", text.len());
    let mut slow = [slow];
    let rest = run_all(&engine, &mut slow, |_| StepRules::default()).remove(0);
    assert_eq!([text, rest].concat(), alone(&prompt, &options(1, 50)));
}

#[test]
fn who_does_not_listen_for_long_gives_up_the_place_and_gets_it_back() {
    let engine = by_hand(None, 1, 1);
    let (prompt, other) = (tokens(&engine, 150, 3), tokens(&engine, 40, 4));
    let (mut first, mut second) = (engine.session(), engine.session());
    let mut slow = first.generate(&prompt, &options(1, 50), 5).unwrap();
    while engine.step(StepRules::default()) {}
    let mut quick = [second.generate(&other, &options(2, 50), 1000).unwrap()];
    let texts = run_all(&engine, &mut quick, |_| StepRules::default());
    assert_eq!(texts[0], alone(&other, &options(2, 50)));
    assert_eq!((engine.stats().preemptions, engine.stats().waiting), (1, 1));
    let (text, over) = look(&mut slow);
    assert!(!over);
    let rest = run_all(&engine, &mut [slow], |_| StepRules::default()).remove(0);
    assert_eq!([text, rest].concat(), alone(&prompt, &options(1, 50)));
    assert_eq!((engine.stats().running, engine.stats().waiting), (0, 0));
}

#[test]
fn cancelling_frees_the_place_within_a_step() {
    let engine = by_hand(None, 1, 1);
    let prompt = tokens(&engine, 300, 4);
    let (mut first, mut second, mut third) = (engine.session(), engine.session(), engine.session());
    let running = first.generate(&prompt, &options(1, 50), 1000).unwrap();
    engine.step(StepRules::default());
    let waiting = second.generate(&prompt, &options(1, 50), 1000).unwrap();
    engine.step(StepRules::default());
    assert_eq!((engine.stats().running, engine.stats().waiting), (1, 1));
    let Err(GenerateError::Session(SessionError::Busy(busy))) = third.generate(&prompt, &options(1, 1), 1)
    else {
        panic!("there was no room");
    };
    assert_eq!(busy.requests, 2);
    drop(running);
    engine.step(StepRules::default());
    assert_eq!((engine.stats().running, engine.stats().waiting), (1, 0));
    drop(waiting);
    engine.step(StepRules::default());
    assert_eq!((engine.stats().running, engine.stats().waiting), (0, 0));
    // What was read stays cached, and the session that was refused is as good as before.
    assert!(third.reusable(&prompt) > 0);
    let mut again = [third.generate(&prompt, &options(1, 50), 1000).unwrap()];
    let texts = run_all(&engine, &mut again, |_| StepRules::default());
    assert_eq!(texts[0], alone(&prompt, &options(1, 50)));
}

#[test]
fn a_preempted_sequence_resumes_to_the_same_bits() {
    let prompt = tokens(&by_hand(None, 1, 0), 200, 5);
    let expected = alone(&prompt, &options(7, 60));
    for every in [1, 2, 3, 7] {
        let engine = by_hand(None, 4, 0);
        let mut sessions = [engine.session(), engine.session()];
        let mut runs: Vec<_> = sessions
            .iter_mut()
            .map(|session| session.generate(&prompt, &options(7, 60), 1000).unwrap())
            .collect();
        let texts = run_all(&engine, &mut runs, |step| StepRules {
            preempt: (step % (every + 1) == every).then_some(step % 2),
            ..StepRules::default()
        });
        assert_eq!(texts, [expected.clone(), expected.clone()], "every {every} steps");
        assert!(engine.stats().preemptions > 5);
    }
}

#[test]
fn what_can_never_fit_is_refused_before_it_starts() {
    let engine = by_hand(Some(400_000), 4, 4);
    let mut session = engine.session();
    let prompt = tokens(&engine, 12_000, 6);
    let error = session.generate(&prompt, &options(1, 10), 1).err().unwrap();
    assert!(
        matches!(&error, GenerateError::Session(SessionError::Memory(_))),
        "{error}"
    );
    assert!(error.to_string().contains("a context of 12010 tokens"), "{error}");
    assert!(error.to_string().contains("--cache-ram"), "{error}");
    // Asking for more tokens than fit is refused as well; not saying how many is not.
    assert!(session.generate(&prompt[..50], &options(1, 12_000), 1).is_err());
    let unlimited = Options {
        tokens_max: None,
        ..options(1, 0)
    };
    drop(session.generate(&prompt[..50], &unlimited, 1).unwrap());
}

#[test]
fn sequences_that_outgrow_the_memory_together_are_finished_one_after_the_other() {
    let probe = by_hand(None, 1, 0);
    let page = probe.model().page_bytes() as u64;
    let live = (probe.model().live_bytes(127) as u64) + page;
    let prompts: Vec<_> = (0..4).map(|seed| tokens(&probe, 300, seed + 20)).collect();
    // So hot that the end of the text is one token among thousands.
    let hot = Options {
        sampling: Params {
            temperature: 1e3,
            seed: 3,
            ..Params::default()
        },
        ..options(3, 400)
    };
    let expected: Vec<_> = prompts.iter().map(|prompt| alone(prompt, &hot)).collect();
    // Two of the four fit at the start, and at the end (5 pages each) hardly one does.
    let ram = 2 * live + 5 * page;
    let engine = by_hand(Some(ram), 4, 0);
    let mut sessions: Vec<_> = (0..4).map(|_| engine.session()).collect();
    let mut runs: Vec<_> = sessions
        .iter_mut()
        .zip(&prompts)
        .map(|(session, prompt)| session.generate(prompt, &hot, 10_000).unwrap())
        .collect();
    let texts = run_all(&engine, &mut runs, |_| StepRules::default());
    assert!(
        expected.iter().all(|text| text.len() > 100),
        "the answers are long enough to tell"
    );
    assert_eq!(texts, expected);
    assert!(engine.stats().preemptions > 0);
}

#[test]
fn users_take_turns() {
    let engine = by_hand(None, 16, 16);
    let long: Vec<_> = (0..4).map(|seed| tokens(&engine, 2000, seed + 30)).collect();
    let short = tokens(&engine, 500, 40);
    let mut greedy: Vec<Session> = (0..4).map(|_| engine.session_of("greedy")).collect();
    let mut modest = engine.session_of("modest");
    let mut theirs: Vec<_> = greedy
        .iter_mut()
        .zip(&long)
        .map(|(session, prompt)| session.generate(prompt, &options(1, 1), 1000).unwrap())
        .collect();
    for _ in 0..4 {
        engine.step(StepRules::default());
    }
    let mut ours = [modest.generate(&short, &options(1, 1), 1000).unwrap()];
    let before = engine.stats().prefill_tokens;
    run_all(&engine, &mut ours, |_| StepRules::default());
    let others = engine.stats().prefill_tokens - before - 500;
    assert!(others <= 600, "{others} tokens of others came first");
    run_all(&engine, &mut theirs, |_| StepRules::default());
}

#[test]
fn one_users_short_prompt_does_not_wait_for_a_long_one() {
    let engine = by_hand(None, 16, 16);
    let (long, short) = (tokens(&engine, 4000, 50), tokens(&engine, 60, 51));
    let (mut first, mut second) = (engine.session(), engine.session());
    let reading = first.generate(&long, &options(1, 1), 1000).unwrap();
    engine.step(StepRules::default());
    let mut quick = [second.generate(&short, &options(1, 1), 1000).unwrap()];
    run_all(&engine, &mut quick, |_| StepRules::default());
    assert!(engine.stats().prefill_tokens < 500, "{:?}", engine.stats());
    drop(reading);
}

#[test]
fn a_dropped_run_brings_the_session_home() {
    let engine = crate::support::engine(Numerics::Reference);
    let prompt = tokens(&engine, 100, 60);
    let mut session = engine.session();
    drop(session.generate(&prompt, &options(1, 50), 3).unwrap());
    let kept = session.fork().len();
    assert!(kept <= prompt.len() + 50);
    session.rewind(0);
    crate::support::append(&mut session, &prompt);
    assert_eq!(crate::support::bits(&session), cold_logits(&engine, &prompt));
}
