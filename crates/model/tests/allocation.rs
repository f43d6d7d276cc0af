//! A token costs no allocation: only a page of entries and a buffer that grows with the context do.

mod common;

use common::{ids, load};
use fathom_kernels::team::Team;
use fathom_model::{Numerics, Want};

#[test]
fn decoding_does_not_allocate() {
    for numerics in Numerics::ALL {
        for name in common::MODELS {
            let model = load(name, numerics);
            let ids = ids(name);
            // Alone, because allocations are counted for this thread.
            let (mut team, mut workspace, mut state) =
                (Team::new(1), model.new_workspace(200), model.new_state());
            model
                .forward(&mut team, &mut workspace, &mut state, &ids[..200], Want::Last)
                .expect("forward");
            let mut steps = Vec::new();
            for &token in &ids[200..] {
                let begins_page = state.len().is_multiple_of(model.page_tokens());
                let step = allocation_counter::measure(|| {
                    model
                        .forward(&mut team, &mut workspace, &mut state, &[token], Want::Last)
                        .expect("forward");
                });
                // The page, and now and then a longer list of pages.
                let expected = u64::from(begins_page);
                let spare = step.count_total.saturating_sub(2 * expected);
                assert!(step.count_total >= expected, "{name} {numerics}: no page");
                steps.push(spare);
            }
            let allocating = steps.iter().filter(|&&count| count > 0).count();
            // Scratch that the first single-token steps size, and one doubling as the context passes 256.
            assert!(
                allocating <= 4,
                "{name} {numerics}: {allocating} of {} steps allocate: {steps:?}",
                steps.len()
            );
        }
    }
}
