//! Grafted states: as long as real ones, at the cost of real ones, without the work.

mod common;

use common::load;
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, GraftError, Model, Numerics, State, Want};

fn read(model: &Model, tokens: usize) -> State {
    let vocab = model.config().vocab_size as u32;
    let ids: Vec<u32> = (0..tokens as u32).map(|i| (i * 7919 + 2) % vocab).collect();
    let mut state = model.new_state();
    common::continue_with(model, &mut state, &ids, &[16], 1);
    state
}

fn decode(model: &Model, state: &mut State, tokens: &[u32]) -> Vec<f32> {
    let (mut team, mut workspace) = (Team::new(2), model.new_workspace(1));
    let mut logits = Vec::new();
    for &token in tokens {
        let row = model.forward(&mut team, &mut workspace, state, &[token], Want::Last);
        logits = row.expect("forward").to_vec();
    }
    logits
}

#[test]
fn a_graft_is_as_long_as_a_real_state_and_decodes() {
    for name in common::MODELS {
        for numerics in Numerics::ALL {
            let model = load(name, numerics);
            let period = model.graft_period();
            for offset in [0, 1, period - 1] {
                let donor = read(&model, period + offset);
                let depth = 4 * period + offset;
                if depth + 9 > model.config().max_position_embeddings {
                    continue;
                }
                let mut real = read(&model, depth);
                let mut grafted = model.graft(&donor, depth, 1).expect("graft");
                assert_eq!(grafted.len(), real.len(), "{name} {numerics}");
                assert_eq!(grafted.kv_bytes(), real.kv_bytes(), "{name} {numerics}");
                let tokens: Vec<u32> = (2..11).collect();
                decode(&model, &mut real, &tokens);
                let logits = decode(&model, &mut grafted, &tokens);
                assert_eq!(grafted.kv_bytes(), real.kv_bytes(), "{name} {numerics}");
                assert!(logits.iter().all(|logit| logit.is_finite()), "{name} {numerics}");
            }
        }
    }
}

#[test]
fn a_seed_gives_one_state_and_the_donor_stays() {
    let model = load("mini-hybrid", Numerics::Reference);
    let period = model.graft_period();
    let donor = read(&model, period);
    let before = decode(&model, &mut donor.clone(), &[5]);
    let of_seed = |seed| {
        let mut state = model.graft(&donor, 3 * period, seed).expect("graft");
        decode(&model, &mut state, &[5])
    };
    assert_eq!(of_seed(1), of_seed(1));
    assert_ne!(of_seed(1), of_seed(2));
    assert_eq!(decode(&model, &mut donor.clone(), &[5]), before);
    // A graft may be lengthened in its turn.
    let graft = model.graft(&donor, 2 * period, 1).expect("graft");
    assert_eq!(
        model.graft(&graft, 3 * period, 1).map(|state| state.len()),
        Ok(3 * period)
    );
}

#[test]
fn what_cannot_be_lengthened_is_refused() {
    let model = load("mini-hybrid", Numerics::Reference);
    let (period, max) = (model.graft_period(), model.config().max_position_embeddings);
    let refused = |donor: &State, depth| model.graft(donor, depth, 1).map(|_| ()).unwrap_err();
    let donor = read(&model, period);
    assert!(matches!(refused(&donor, period - 1), GraftError::Length { .. }));
    assert!(matches!(
        refused(&model.new_state(), period),
        GraftError::Length { .. }
    ));
    assert!(matches!(
        refused(&donor, period + 1),
        GraftError::Alignment { .. }
    ));
    let error = refused(&donor, (max / period + 1) * period);
    assert!(matches!(
        error,
        GraftError::State(ForwardError::ContextFull { .. })
    ));
    let other = load("mini-hybrid", Numerics::Reference);
    assert_eq!(
        other.graft(&donor, period, 1).map(|_| ()),
        Err(ForwardError::Foreign.into())
    );
}
