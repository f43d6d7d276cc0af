//! The cells: ways to the same answers.

use std::thread;

use fathom_cache::Policy;
use fathom_cache::disk::DiskOptions;
use fathom_engine::StepRules;

use crate::Failures;
use crate::common::{self, Hit, Task, drive, options, read, turn};
use crate::ground::{Ground, Question, Rules, Way, one_by_one, periodic, together};

fn way(what: &str, isolation: &str, rules: Rules) -> Way {
    Way {
        what: what.to_owned(),
        isolation: isolation.to_owned(),
        rules,
    }
}

/// As the scheduler likes.
fn freely(_step: usize) -> StepRules {
    StepRules {
        prefill_tokens: Some(512),
        ..StepRules::default()
    }
}

/// Chunks of `N` tokens.
fn chunks<const N: usize>(_step: usize) -> StepRules {
    StepRules {
        prefill_tokens: Some(N),
        ..StepRules::default()
    }
}

/// Chunks of lengths that have nothing to do with each other.
fn ragged(step: usize) -> StepRules {
    StepRules {
        prefill_tokens: Some([1, 130, 3, 29, 4, 64, 127][step % 7]),
        ..StepRules::default()
    }
}

/// Few decode steps at a time beside ragged chunks: who advances with whom changes from step to step.
fn crowded(step: usize) -> StepRules {
    StepRules {
        decodes: Some(1 + step % 3),
        ..ragged(step)
    }
}

/// Every third step begins by putting a sequence back into the queue, one that started late or early.
fn pushed_out(step: usize) -> StepRules {
    StepRules {
        preempt: (step % 3 == 1).then_some(step % 4),
        ..ragged(step)
    }
}

fn all(ground: &Ground) -> Vec<&Question> {
    ground.questions.iter().collect()
}

/// Something that must be so for a cell to have gone its way.
fn must(failures: &mut Failures, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        failures.push(what());
    }
}

pub(crate) fn chunking(ground: &Ground) -> Failures {
    let engine = ground.engine(Policy::None, None);
    let [a, b, c, d, e, short] = [0, 1, 2, 3, 4, 5].map(|i| &ground.questions[i]);
    let ways: [(&str, Rules, Vec<&Question>); 7] = [
        ("1", chunks::<1>, vec![short]),
        ("5", chunks::<5>, vec![d]),
        ("32", chunks::<32>, vec![c]),
        ("127", chunks::<127>, vec![e]),
        ("128", chunks::<128>, vec![a]),
        ("512", chunks::<512>, vec![b]),
        ("ragged", ragged, vec![a]),
    ];
    let mut failures = Vec::new();
    for (name, rules, questions) in ways {
        let way = way(&format!("chunks of {name}"), name, rules);
        let (differing, hits) = one_by_one(&engine, &questions, &way);
        failures.extend(differing);
        must(&mut failures, hits.iter().all(|hit| hit.cached == 0), || {
            format!("not cold: {hits:?}")
        });
    }
    failures
}

pub(crate) fn company(ground: &Ground) -> Failures {
    let engine = ground.engine(periodic(), None);
    let mut failures = Vec::new();
    // Apart, nobody finds anything; in one room, they find what others computed a moment ago.
    for (what, apart, backwards) in [("apart", true, false), ("in one room, backwards", false, true)] {
        let mut sessions: Vec<_> = (0..ground.questions.len())
            .map(|i| {
                engine.session_of(&if apart {
                    format!("{what} {i}")
                } else {
                    what.to_owned()
                })
            })
            .collect();
        let mut asked: Vec<_> = sessions.iter_mut().zip(&ground.questions).collect();
        if backwards {
            asked.reverse();
        }
        failures.extend(together(&engine, asked, &way(what, what, crowded)).0);
    }
    failures
}

pub(crate) fn ram_hit(ground: &Ground) -> Failures {
    let engine = ground.engine(periodic(), None);
    let way = way("again", "", ragged);
    let (mut failures, _) = one_by_one(&engine, &all(ground), &way);
    let (differing, hits) = one_by_one(&engine, &all(ground), &way);
    failures.extend(differing);
    for (hit, question) in hits.iter().zip(&ground.questions) {
        // The state before the last token was kept.
        must(&mut failures, hit.cached == question.prompt.len() - 1, || {
            format!("no hit: {hit:?}")
        });
    }
    failures
}

pub(crate) fn disk_hit(ground: &Ground) -> Failures {
    let mut failures = Vec::new();
    for policy in [periodic(), Policy::None] {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = DiskOptions::new(dir.path(), 1 << 30);
        let first = ground.engine(policy, Some(disk.clone()));
        let asked: Vec<_> = ground.questions[2..].iter().collect();
        let written = way(&format!("{policy:?}, while written"), "", freely);
        failures.extend(one_by_one(&first, &asked, &written).0);
        first.cache().pump();
        drop(first);
        let second = ground.engine(policy, Some(disk));
        let (differing, hits) = one_by_one(
            &second,
            &all(ground),
            &way(&format!("{policy:?}, restarted"), "", ragged),
        );
        failures.extend(differing);
        let from_disk = |hit: &Hit| hit.cached + hit.replayed >= 512;
        must(&mut failures, hits[..5].iter().all(from_disk), || {
            format!("{policy:?}: nothing came from disk: {hits:?}")
        });
    }
    failures
}

/// Every question twice under one policy, the second time in another order.
fn policy(ground: &Ground, policy: Policy, went: fn(&Hit) -> bool) -> Failures {
    let engine = ground.engine(policy, None);
    let way = way("", "", freely);
    let mut questions = all(ground);
    let (mut failures, mut hits) = one_by_one(&engine, &questions, &way);
    questions.reverse();
    let (differing, again) = one_by_one(&engine, &questions, &way);
    failures.extend(differing);
    hits.extend(again);
    must(
        &mut failures,
        hits.iter().filter(|hit| went(hit)).count() >= 4,
        || format!("the policy was not used: {hits:?}"),
    );
    failures
}

pub(crate) fn policy_full(ground: &Ground) -> Failures {
    policy(ground, Policy::Full, |hit| hit.cached >= 128)
}

pub(crate) fn policy_periodic(ground: &Ground) -> Failures {
    policy(ground, periodic(), |hit| hit.cached >= 256)
}

pub(crate) fn policy_none(ground: &Ground) -> Failures {
    policy(ground, Policy::None, |hit| hit.replayed > 0)
}

pub(crate) fn saved(ground: &Ground) -> Failures {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (ground.engine(periodic(), None), ground.engine(Policy::None, None));
    let mut failures = Vec::new();
    // The whole prompt; less, in an open window and at the end of a page.
    for (name, question, cut) in [("whole", 0, 0), ("open", 3, 2), ("page", 2, 127), ("short", 5, 1)] {
        let question = &ground.questions[question];
        let path = dir.path().join(name);
        let mut session = first.session_of(name);
        let shared = &question.prompt[..question.prompt.len() - cut];
        let task: Task<'_, _> = Box::pin(read(&mut session, shared));
        drive(&first, vec![task], ragged);
        session.save(&path, b"note").expect("saved");
        let (mut restored, note) = second.restore_of(name, &path).expect("restored");
        must(&mut failures, note == b"note", || {
            format!("another note: {note:?}")
        });
        let way = way(name, name, ragged);
        let (differing, hits) = together(&second, vec![(&mut restored, question)], &way);
        failures.extend(differing);
        must(&mut failures, hits[0].cached == shared.len(), || {
            format!("{name}: computed again: {hits:?}")
        });
    }
    failures
}

pub(crate) fn fork(ground: &Ground) -> Failures {
    let engine = ground.engine(periodic(), None);
    let mut failures = Vec::new();
    // In an open window, at the end of one, at the end of a page, one beyond.
    for at in [511, 512, 513, 386] {
        let mut session = engine.session_of(&format!("fork at {at}"));
        let shared = &ground.base()[..at];
        let task: Task<'_, _> = Box::pin(read(&mut session, shared));
        drive(&engine, vec![task], ragged);
        let branches: Vec<_> = ground
            .questions
            .iter()
            .filter(|question| question.prompt.starts_with(shared))
            .collect();
        let mut forks: Vec<_> = branches.iter().skip(2).map(|_| session.fork()).collect();
        forks.push(session);
        let asked: Vec<_> = forks.iter_mut().zip(branches.iter().skip(1).copied()).collect();
        let (differing, hits) = together(&engine, asked, &way(&format!("forked at {at}"), "", crowded));
        failures.extend(differing);
        must(&mut failures, hits.iter().all(|hit| hit.cached >= at), || {
            format!("forks at {at} did not go on from there: {hits:?}")
        });
    }
    failures
}

pub(crate) fn rewind(ground: &Ground) -> Failures {
    let mut failures = Vec::new();
    for policy in [periodic(), Policy::None] {
        let engine = ground.engine(policy, None);
        let mut session = engine.session();
        for (to, question) in [(0, 0), (639, 1), (556, 3), (512, 4), (4, 2), (385, 0), (0, 5)] {
            session.rewind(to.min(session.len()));
            let question = &ground.questions[question];
            let what = format!("{policy:?}, rewound to {to}");
            failures.extend(together(&engine, vec![(&mut session, question)], &way(&what, "", ragged)).0);
        }
    }
    failures
}

pub(crate) fn preempt(ground: &Ground) -> Failures {
    let mut failures = Vec::new();
    for policy in [periodic(), Policy::None] {
        let engine = ground.engine(policy, None);
        let mut sessions: Vec<_> = (0..3).map(|i| engine.session_of(&format!("user {i}"))).collect();
        let asked: Vec<_> = sessions
            .iter_mut()
            .zip([0, 3, 5].map(|i| &ground.questions[i]))
            .collect();
        let way = way(&format!("{policy:?}"), "", pushed_out);
        failures.extend(together(&engine, asked, &way).0);
        let preemptions = engine.stats().preemptions;
        must(&mut failures, preemptions >= 4, || {
            format!("{policy:?}: {preemptions} preemptions")
        });
    }
    failures
}

pub(crate) fn threads(ground: &Ground) -> Failures {
    let mut failures = Vec::new();
    for threads in [1, 2] {
        let engine = ground.running_engine(threads);
        let found = thread::scope(|scope| {
            // Two users at a time, for the engine's thread decides who shares a step.
            let users = [0, 1].map(|user| {
                let engine = &engine;
                scope.spawn(move || {
                    let asked = ground.questions.iter().skip(user).step_by(2);
                    let mut session = engine.session_of(&user.to_string());
                    asked
                        .filter_map(|question| differs_blocking(&mut session, question))
                        .collect::<Failures>()
                })
            });
            users.map(|user| user.join().expect("no panic")).concat()
        });
        failures.extend(
            found
                .into_iter()
                .map(|failure| format!("{threads} threads: {failure}")),
        );
    }
    failures
}

/// Asks on this thread and compares.
fn differs_blocking(session: &mut fathom_engine::Session, question: &Question) -> Option<String> {
    use std::ops::ControlFlow::Continue;
    let prompt = &question.prompt;
    let shared = session
        .tokens()
        .iter()
        .zip(prompt)
        .take_while(|(a, b)| a == b)
        .count();
    session.rewind(shared.min(prompt.len() - 1));
    let rest = prompt[session.len()..].to_vec();
    assert!(
        session
            .append(&rest, &mut |_| Continue(()))
            .expect("append")
            .is_continue()
    );
    let first = common::bits(session.logits().expect("just computed"));
    let mut run = session.generate(prompt, &question.options, 3).expect("a prompt");
    let mut logprobs = Vec::new();
    while let Some(event) = run.next_blocking() {
        if let fathom_engine::generation::Event::Token { logprob, .. } = event {
            logprobs.extend(logprob.as_ref().map(common::Logprob::from));
        }
    }
    let tokens = run.finish_blocking().expect("generate").tokens;
    let last = *tokens.last().expect("at least one token");
    let last = common::bits(session.step(last).expect("step"));
    let answer = common::Answer {
        first,
        tokens,
        logprobs,
        last,
    };
    answer
        .differs(&question.cold)
        .map(|difference| format!("prompt of {} tokens: {difference}", prompt.len()))
}

pub(crate) fn come_and_go(ground: &Ground) -> Failures {
    let engine = ground.engine(periodic(), None);
    let way = way("", "", crowded);
    let sampled: Vec<_> = ground.questions[1..4].iter().collect();
    let mut failures = Vec::new();
    for round in 0..2 {
        let mut sessions: Vec<_> = sampled.iter().map(|_| engine.session_of("sampled")).collect();
        let mut others: Vec<_> = (0..4)
            .map(|i| engine.session_of(&format!("other {round} {i}")))
            .collect();
        let mut tasks: Vec<Task<'_, Option<String>>> = Vec::new();
        for (session, question) in sessions.iter_mut().zip(&sampled) {
            tasks.push(Box::pin(async {
                let (answer, _) = common::observe(session, &question.prompt, &question.options).await;
                answer.differs(&question.cold)
            }));
        }
        for (i, other) in others.iter_mut().enumerate() {
            let prompt = &ground.questions[(i + round) % 6].prompt;
            tasks.push(Box::pin(async move {
                // Each leaves after a few steps, half-way through whatever it is at, and comes back once.
                for _ in 0..2 {
                    let run = other.generate(prompt, &options(50, 5), 60).expect("a prompt");
                    for _ in 0..3 + 4 * i {
                        turn().await;
                    }
                    drop(run);
                    // The next step takes note, and brings the session home.
                    turn().await;
                }
                None
            }));
        }
        failures.extend(drive(&engine, tasks, way.rules).into_iter().flatten());
    }
    failures
}
