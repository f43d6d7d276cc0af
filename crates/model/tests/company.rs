//! Sequences that share a step: what comes out of each is what would come out of it alone.

mod common;

use common::{MODELS, continue_with, ids, load, logits};
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, Model, Numerics, Part, State, Want};

/// Tokens before each sequence's first shared step: none, an open window, just past one, past several.
const LENGTHS: [usize; 4] = [0, 3, 33, 130];

/// Shared steps: `(sequence, tokens, want)` of each part, in the order of the step. Decode steps among chunks of
/// prompts, chunks that end inside and at the ends of windows, sequences that stay away, neighbours that change.
const STEPS: [&[(usize, usize, Want)]; 6] = [
    &[
        (0, 40, Want::Nothing),
        (1, 1, Want::Last),
        (2, 1, Want::Last),
        (3, 1, Want::Last),
    ],
    &[
        (3, 1, Want::Last),
        (0, 24, Want::All),
        (2, 7, Want::Nothing),
        (1, 1, Want::All),
    ],
    &[(1, 29, Want::All), (3, 1, Want::Last)],
    &[
        (2, 1, Want::Last),
        (3, 17, Want::Last),
        (0, 1, Want::Nothing),
        (1, 2, Want::All),
    ],
    &[
        (0, 1, Want::Last),
        (1, 1, Want::Last),
        (2, 1, Want::Last),
        (3, 1, Want::Last),
    ],
    &[
        (3, 4, Want::Nothing),
        (2, 90, Want::Nothing),
        (1, 1, Want::Nothing),
    ],
];
/// The most tokens of one of them.
const LARGEST: usize = 95;

/// Each sequence has its own tokens: the model's prompt, begun elsewhere.
fn sequences(name: &str) -> Vec<Vec<u32>> {
    let ids = ids(name);
    let turned = |by: usize| ids[by..].iter().chain(&ids[..by]).copied().collect();
    (0..LENGTHS.len()).map(|i| turned(i * 37)).collect()
}

/// A model, its sequences, and for each of them the logits of every position computed alone.
struct Alone {
    what: String,
    model: Model,
    sequences: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
}

impl Alone {
    fn new(name: &str, numerics: Numerics) -> Self {
        let (model, sequences) = (load(name, numerics), sequences(name));
        let longest = |i: usize| {
            let appended = STEPS
                .iter()
                .flat_map(|step| step.iter())
                .filter(|part| part.0 == i);
            LENGTHS[i] + appended.map(|part| part.1).sum::<usize>() + AFTERWARDS
        };
        let logits = sequences
            .iter()
            .enumerate()
            .map(|(i, ids)| logits(&model, &ids[..longest(i)], &[512], 2))
            .collect();
        Self {
            what: format!("{name} {numerics}"),
            model,
            sequences,
            logits,
        }
    }

    /// States that hold the first tokens of each sequence.
    fn states(&self) -> Vec<State> {
        let begun = |(ids, &len): (&Vec<u32>, &usize)| {
            let mut state = self.model.new_state();
            continue_with(&self.model, &mut state, &ids[..len], &[64], 2);
            state
        };
        self.sequences.iter().zip(&LENGTHS).map(begun).collect()
    }

    /// The logits of positions `from..to` of sequence `i`.
    fn rows(&self, i: usize, from: usize, to: usize) -> &[f32] {
        let vocab = self.model.config().vocab_size;
        &self.logits[i][from * vocab..to * vocab]
    }

    /// Runs the next tokens of every state and compares them.
    fn continues(&self, states: &mut [State], threads: usize) {
        for (i, state) in states.iter_mut().enumerate() {
            let len = state.len();
            let ids = &self.sequences[i][len..len + AFTERWARDS];
            let found = continue_with(&self.model, state, ids, &[1, 5], threads);
            let expected = self.rows(i, len, len + AFTERWARDS);
            assert!(found == expected, "{}: sequence {i} after {len}", self.what);
        }
    }
}

/// Tokens that each sequence goes on by at the end, alone: across an end of the short windows.
const AFTERWARDS: usize = 6;

/// The parts of a step, in its order or the opposite one.
fn parts<'a>(
    alone: &'a Alone,
    states: &'a mut [State],
    step: &[(usize, usize, Want)],
    reversed: bool,
) -> Vec<Part<'a>> {
    let mut free: Vec<_> = states.iter_mut().map(Some).collect();
    let mut parts: Vec<_> = step
        .iter()
        .map(|&(i, count, want)| {
            let state = free[i].take().expect("each sequence once");
            let tokens = &alone.sequences[i][state.len()..][..count];
            Part { state, tokens, want }
        })
        .collect();
    if reversed {
        parts.reverse();
    }
    parts
}

#[test]
fn company_changes_no_bit() {
    for numerics in Numerics::ALL {
        for name in MODELS {
            let alone = Alone::new(name, numerics);
            let begun = alone.states();
            for (threads, reversed) in [(1, false), (2, true)] {
                let (mut team, mut workspace) = (Team::new(threads), alone.model.new_workspace(LARGEST));
                let mut states = begun.clone();
                for (number, step) in STEPS.into_iter().enumerate() {
                    let mut expected = Vec::new();
                    let mut order = step.to_vec();
                    if reversed {
                        order.reverse();
                    }
                    for (i, count, want) in order {
                        let end = states[i].len() + count;
                        expected.extend_from_slice(match want {
                            Want::Nothing => &[],
                            Want::Last => alone.rows(i, end - 1, end),
                            Want::All => alone.rows(i, end - count, end),
                        });
                    }
                    let mut parts = parts(&alone, &mut states, step, reversed);
                    let found = alone
                        .model
                        .forward_parts(&mut team, &mut workspace, &mut parts)
                        .expect("forward");
                    let what = &alone.what;
                    assert!(found == expected, "{what}: step {number}, threads {threads}");
                }
                alone.continues(&mut states, threads);
            }
        }
    }
}

/// One token for each of several states, the states in any order.
#[test]
fn a_batch_is_its_sequences() {
    for numerics in Numerics::ALL {
        let alone = Alone::new("mini-fp4", numerics);
        let mut states = alone.states();
        let (mut team, mut workspace) = (Team::new(2), alone.model.new_workspace(states.len()));
        for step in 0..9 {
            let mut order: Vec<_> = states.iter_mut().enumerate().collect();
            order.rotate_left(step % LENGTHS.len());
            order.truncate(1 + (step * 3 + 3) % LENGTHS.len());
            let tokens: Vec<_> = order
                .iter()
                .map(|(i, state)| alone.sequences[*i][state.len()])
                .collect();
            let expected: Vec<_> = order
                .iter()
                .flat_map(|(i, state)| alone.rows(*i, state.len(), state.len() + 1))
                .copied()
                .collect();
            let mut batch: Vec<&mut State> = order.into_iter().map(|(_, state)| state).collect();
            let found = alone
                .model
                .forward_batch(&mut team, &mut workspace, &mut batch, &tokens)
                .expect("forward");
            assert!(found == expected, "{}: step {step}", alone.what);
        }
        alone.continues(&mut states, 2);
    }
}

/// One part that cannot be appended, wherever it stands, leaves every state as it was.
#[test]
fn a_refused_part_spoils_no_company() {
    for numerics in Numerics::ALL {
        let alone = Alone::new("mini-sparse", numerics);
        let vocab_size = alone.model.config().vocab_size;
        let mut foreign = load("mini-sparse", numerics).new_state();
        let mut states = alone.states();
        let (mut team, mut workspace) = (Team::new(2), alone.model.new_workspace(64));
        let bad_token = [1, vocab_size as u32];
        let bad: [(&[u32], bool, ForwardError); 4] = [
            (
                &bad_token,
                false,
                ForwardError::TokenOutOfRange {
                    token: bad_token[1],
                    position: LENGTHS[2] + 1,
                    vocab_size,
                },
            ),
            (&[], false, ForwardError::EmptyChunk),
            (
                &[1; 60],
                false,
                ForwardError::ChunkTooLong { tokens: 65, max: 64 },
            ),
            (&[1], true, ForwardError::Foreign),
        ];
        for (tokens, is_foreign, error) in bad {
            for at in [2, 0] {
                let [first, second, third, _] = &mut states[..] else {
                    unreachable!("four states")
                };
                let (one, two) = (
                    Part {
                        state: first,
                        tokens: &[1, 2, 3, 4],
                        want: Want::All,
                    },
                    Part {
                        state: second,
                        tokens: &[5],
                        want: Want::Last,
                    },
                );
                let mut parts = vec![one, two];
                let state = if is_foreign { &mut foreign } else { third };
                parts.insert(
                    at,
                    Part {
                        state,
                        tokens,
                        want: Want::Nothing,
                    },
                );
                let result = alone
                    .model
                    .forward_parts(&mut team, &mut workspace, &mut parts)
                    .map(<[f32]>::to_vec);
                assert_eq!(result, Err(error.clone()), "{} part {at}", alone.what);
            }
        }
        assert!(states.iter().map(State::len).eq(LENGTHS), "{}", alone.what);
        alone.continues(&mut states, 2);
        let nothing = alone.model.forward_parts(&mut team, &mut workspace, &mut []);
        assert_eq!(nothing, Ok(&[][..]), "{}", alone.what);
    }
}
