//! The promise: however a sequence is computed, a position's logits have the same bits.

mod common;

use common::{MODELS, continue_with, ids, load, logits};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, Want};
use proptest::prelude::*;

fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let differs = found
        .iter()
        .zip(expected)
        .position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs, None, "{what}: first differing logit");
}

#[test]
fn one_shot_is_token_by_token_is_any_number_of_threads() {
    for numerics in Numerics::ALL {
        for name in MODELS {
            let model = load(name, numerics);
            let ids = ids(name);
            let one_shot = logits(&model, &ids, &[ids.len()], 1);
            for (chunks, threads) in [
                (vec![1], 1),
                (vec![1], 2),
                (vec![ids.len()], 2),
                (vec![ids.len()], 5),
                (vec![2], 3),
            ] {
                let found = logits(&model, &ids, &chunks, threads);
                assert_same(
                    &found,
                    &one_shot,
                    &format!("{name} {numerics} chunks {chunks:?} threads {threads}"),
                );
            }
        }
    }
}

#[test]
fn every_split_in_two_is_the_whole() {
    // A model with sparse, heavy and window layers; splits on both sides of every window boundary.
    for numerics in Numerics::ALL {
        let model = load("mini-fp4", numerics);
        let ids = &ids("mini-fp4")[..140];
        let whole = logits(&model, ids, &[ids.len()], 2);
        for split in 1..ids.len() {
            let mut state = model.new_state();
            let mut found = continue_with(&model, &mut state, &ids[..split], &[split], 2);
            found.extend(continue_with(&model, &mut state, &ids[split..], &[ids.len()], 2));
            assert_same(&found, &whole, &format!("{numerics} split at {split}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn any_chunking_is_the_whole(
        which in 0..MODELS.len(),
        numerics in 0..Numerics::ALL.len(),
        chunks in prop::collection::vec(1usize..90, 1..12),
        threads in 1usize..4,
    ) {
        let (name, numerics) = (MODELS[which], Numerics::ALL[numerics]);
        let model = load(name, numerics);
        let ids = ids(name);
        let whole = logits(&model, &ids, &[ids.len()], 1);
        let found = logits(&model, &ids, &chunks, threads);
        let differs = found.iter().zip(&whole).position(|(a, b)| a.to_bits() != b.to_bits());
        prop_assert_eq!(differs, None, "{} {} {:?}", name, numerics, chunks);
    }
}

/// A fork goes its own way, and neither side notices the other. Trap 13 of spec §15: the open windows go with it.
#[test]
fn trap_13_a_fork_is_a_cold_run() {
    for numerics in Numerics::ALL {
        for name in MODELS {
            let model = load(name, numerics);
            let ids = ids(name);
            let (prefix, rest) = ids.split_at(131);
            let other: Vec<u32> = rest.iter().rev().copied().collect();
            let mut state = model.new_state();
            continue_with(&model, &mut state, prefix, &[50], 2);
            let mut fork = state.clone();
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for (ours_next, theirs_next) in rest.chunks(13).zip(other.chunks(13)) {
                ours.extend(continue_with(&model, &mut state, ours_next, &[13], 1));
                theirs.extend(continue_with(&model, &mut fork, theirs_next, &[5], 2));
            }
            let vocab = model.config().vocab_size;
            let cold = |tail: &[u32]| {
                let all: Vec<u32> = prefix.iter().chain(tail).copied().collect();
                logits(&model, &all, &[all.len()], 1)[prefix.len() * vocab..].to_vec()
            };
            assert_same(&ours, &cold(rest), &format!("{name} {numerics}"));
            assert_same(&theirs, &cold(&other), &format!("{name} {numerics} fork"));
        }
    }
}

/// Trap 15 of spec §15: every prompt length modulo 4 (and around 128), continued token by token.
#[test]
fn trap_15_prompt_lengths_modulo_four() {
    for numerics in Numerics::ALL {
        let model = load("mini-sparse", numerics);
        let ids = ids("mini-sparse");
        let whole = logits(&model, &ids, &[ids.len()], 2);
        for prompt in (33..41).chain(125..132).chain(253..260) {
            let mut state = model.new_state();
            let mut found = continue_with(&model, &mut state, &ids[..prompt], &[prompt], 2);
            found.extend(continue_with(
                &model,
                &mut state,
                &ids[prompt..prompt + 9],
                &[1],
                2,
            ));
            assert_same(
                &found,
                &whole[..found.len()],
                &format!("{numerics} prompt of {prompt}"),
            );
        }
    }
}

/// The logits of the last token alone are the last row of all logits.
#[test]
fn what_is_asked_for_changes_nothing() {
    fn last(model: &Model, ids: &[u32], first: Want) -> Vec<f32> {
        let (mut team, mut workspace, mut state) =
            (Team::new(2), model.new_workspace(ids.len()), model.new_state());
        let (head, tail) = ids.split_at(100);
        model
            .forward(&mut team, &mut workspace, &mut state, head, first)
            .expect("forward");
        model
            .forward(&mut team, &mut workspace, &mut state, tail, Want::Last)
            .expect("forward")
            .to_vec()
    }
    for numerics in Numerics::ALL {
        let model = load("mini-sparse", numerics);
        let ids = ids("mini-sparse");
        let all = logits(&model, &ids, &[ids.len()], 2);
        for first in [Want::Nothing, Want::Last, Want::All] {
            assert_same(
                &last(&model, &ids, first),
                &all[all.len() - model.config().vocab_size..],
                "last row",
            );
        }
    }
}
