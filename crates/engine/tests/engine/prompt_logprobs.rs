//! What the model thinks of a prompt's own tokens, to the bit of a pass of the model alone.

use crate::scheduling::{by_hand, run_all};
use crate::support::{engine, tokens};
use fathom_engine::answer::{self, Prompt};
use fathom_engine::generation::Options;
use fathom_engine::sampling::{Params, TokenLogprob, token_logprob};
use fathom_engine::{Engine, StepRules};
use fathom_kernels::team::Team;
use fathom_model::{Numerics, Want};
use std::ops::ControlFlow;

const TOP: usize = 5;

fn options(tokens_max: usize, prompt_logprobs: Option<usize>) -> Options {
    Options {
        sampling: Params {
            seed: 3,
            ..Params::default()
        },
        tokens_max: Some(tokens_max),
        logprobs: Some(1),
        prompt_logprobs,
        ..Options::default()
    }
}

/// One thread, one pass, no engine: as `fathom logits` computes them.
fn expected(engine: &Engine, prompt: &[u32]) -> Vec<TokenLogprob> {
    let model = engine.model();
    let mut workspace = model.new_workspace(prompt.len());
    let logits = model
        .forward(
            &mut Team::new(1),
            &mut workspace,
            &mut model.new_state(),
            prompt,
            Want::All,
        )
        .unwrap();
    logits
        .chunks_exact(engine.config().vocab_size)
        .zip(&prompt[1..])
        .map(|(row, &token)| token_logprob(row, token, TOP))
        .collect()
}

#[test]
fn every_token_is_scored_whatever_the_cache_has() {
    for numerics in [Numerics::Reference, Numerics::Exact] {
        let engine = engine(numerics);
        for len in [1, 2, 17, 150, 300] {
            let prompt = tokens(&engine, len, len as u32);
            let expected = expected(&engine, &prompt);
            let mut session = engine.session();
            for (round, tokens_max) in [2, 0, 3].into_iter().enumerate() {
                // The first fills the cache and the session; the others must not start there.
                let asked = (round > 0).then_some(TOP);
                let run = session.generate(&prompt, &options(tokens_max, asked), 2).unwrap();
                let done = run.finish_blocking().unwrap();
                let wanted = if round > 0 { expected.as_slice() } else { &[] };
                assert_eq!(done.prompt_logprobs, wanted, "{len} tokens, round {round}");
                assert!(done.tokens.len() <= tokens_max);
                if round > 0 && len > 1 {
                    assert_eq!((done.cached, done.computed), (0, len));
                }
            }
        }
    }
}

#[test]
fn in_company_and_put_back_into_the_queue_it_stays_the_same() {
    let prompts: Vec<_> = (0..5)
        .map(|i| tokens(&by_hand(None, 1, 0), 130 + 40 * i, i as u32))
        .collect();
    let asked = |i: usize| i.is_multiple_of(2).then_some(TOP);
    let alone: Vec<_> = (0..5)
        .map(|i| {
            let engine = by_hand(None, 1, 0);
            let mut session = engine.session();
            let mut runs = [session.generate(&prompts[i], &options(9, None), 4).unwrap()];
            run_all(&engine, &mut runs, |_| StepRules::default()).remove(0)
        })
        .collect();
    for every in [2, 3, 7] {
        let engine = by_hand(None, 8, 0);
        let mut sessions: Vec<_> = (0..5).map(|_| engine.session()).collect();
        let mut runs: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(i, session)| session.generate(&prompts[i], &options(9, asked(i)), 4).unwrap())
            .collect();
        let texts = run_all(&engine, &mut runs, |step| StepRules {
            prefill_tokens: Some(13 + step % 40),
            preempt: step.is_multiple_of(every).then_some(step % 5),
            ..StepRules::default()
        });
        assert_eq!(texts, alone, "every {every}");
        assert!(engine.stats().preemptions > 3, "{:?}", engine.stats());
        for (i, run) in runs.into_iter().enumerate() {
            let found = run.finish_blocking().unwrap().prompt_logprobs;
            let expected = asked(i)
                .map(|_| expected(&engine, &prompts[i]))
                .unwrap_or_default();
            assert_eq!(found, expected, "prompt {i}, every {every}");
        }
    }
}

#[test]
fn an_answer_has_them_too_and_may_be_empty() {
    let engine = engine(Numerics::Reference);
    let ids = tokens(&engine, 40, 8);
    let options = answer::Options {
        max_tokens: Some(0),
        prompt_logprobs: Some(TOP),
        ..answer::Options::default()
    };
    let prompt = Prompt::of_ids(&engine, ids.clone());
    let answer = answer::respond(&mut engine.session(), prompt, &options, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(answer.prompt_logprobs, expected(&engine, &ids));
    assert_eq!((answer.usage.prompt, answer.usage.generated), (40, 0));
    assert_eq!(answer.parsed.content, "");
}
