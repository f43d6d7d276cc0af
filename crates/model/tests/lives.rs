//! Random lives of states: forks, rewinds, restored and replayed states, shared pages, in any company and any chunks.
//! Logits, pages and live states are what the tokens alone make them.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{MODELS, ids, load};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, Part, State, Want, Workspace};
use fathom_synthetic::{Random, Synthetic, TINY};

/// Two sequences that share their first tokens.
const SEQUENCES: usize = 2;
/// States alive at a time, at most.
const STATES_MAX: usize = 6;
/// Tokens of a step, at most.
const STEP_TOKENS_MAX: usize = 200;

/// A state and the sequence whose first tokens it has.
struct Life {
    state: State,
    sequence: usize,
}

struct World<'a> {
    what: String,
    model: &'a Model,
    team: Team,
    workspace: Workspace,
    random: Random,
    sequences: [Vec<u32>; SEQUENCES],
    /// Tokens that both have.
    shared: usize,
    /// Of every position, computed in one go: `[tokens, vocab_size]`.
    logits: [Vec<f32>; SEQUENCES],
    /// The complete pages of whole sequences.
    pages: [Vec<Arc<[u8]>>; SEQUENCES],
    /// Live states by sequence and length, as first seen.
    lives: BTreeMap<(usize, usize), Vec<u8>>,
    states: Vec<Life>,
}

impl<'a> World<'a> {
    fn new(what: String, model: &'a Model, first: &[u32], shared: usize, seed: u64) -> Self {
        let mut team = Team::new(2);
        let mut workspace = model.new_workspace(first.len().max(STEP_TOKENS_MAX));
        let vocab_size = model.config().vocab_size as u32;
        let mut second = first.to_vec();
        second[shared..]
            .iter_mut()
            .for_each(|id| *id = (*id + 1) % vocab_size);
        let sequences = [first.to_vec(), second];
        let mut whole = |ids: &Vec<u32>| {
            let mut state = model.new_state();
            let logits = model.forward(&mut team, &mut workspace, &mut state, ids, Want::All);
            (logits.unwrap().to_vec(), state.pages().to_vec())
        };
        let [(a, pages_a), (b, pages_b)] = sequences.each_ref().map(&mut whole);
        Self {
            what,
            model,
            team,
            workspace,
            random: Random::new(seed),
            sequences,
            shared,
            logits: [a, b],
            pages: [pages_a, pages_b],
            lives: BTreeMap::new(),
            states: Vec::new(),
        }
    }

    /// One random event.
    fn step(&mut self) {
        if self.states.len() >= STATES_MAX {
            let dies = self.random.below(self.states.len());
            self.states.swap_remove(dies);
        }
        let sequence = self.random.below(SEQUENCES);
        match self.random.below(8) {
            0 => self.states.push(Life {
                state: self.model.new_state(),
                sequence,
            }),
            1 => self.restore(sequence),
            2 => self.replay(sequence),
            3 if !self.states.is_empty() => self.fork(),
            4 if !self.states.is_empty() => self.share(),
            _ => self.append(),
        }
        for life in &self.states {
            check_bytes(&self.what, self.shared, &self.pages, &mut self.lives, life);
        }
    }

    /// A copy, on the other sequence if it is still the same.
    fn fork(&mut self) {
        let parent = &self.states[self.random.below(self.states.len())];
        let other = 1 - parent.sequence;
        let sequence = if parent.state.known() <= self.shared {
            other
        } else {
            parent.sequence
        };
        let state = parent.state.clone();
        self.states.push(Life { state, sequence });
    }

    /// A state from any live state seen before and the pages of a whole sequence.
    fn restore(&mut self, sequence: usize) {
        let seen: Vec<_> = self.lives.keys().filter(|key| key.0 == sequence).collect();
        let Some(&&(_, len)) = seen.get(self.random.below(seen.len())) else {
            return;
        };
        let pages = &self.pages[sequence][..len / self.model.page_tokens()];
        let state = self.model.restore(len, pages, &self.lives[&(sequence, len)]);
        self.states.push(Life {
            state: state.unwrap(),
            sequence,
        });
    }

    fn replay(&mut self, sequence: usize) {
        let pages = &self.pages[sequence];
        let pages = &pages[..self.random.between(0, pages.len())];
        let state = self.model.replay(pages).unwrap();
        let known = pages.len() * self.model.page_tokens();
        assert_eq!(state.known(), known);
        assert!(state.len() <= known && state.len().is_multiple_of(self.model.page_tokens()));
        self.states.push(Life { state, sequence });
    }

    fn share(&mut self) {
        let life = self.random.below(self.states.len());
        let life = &mut self.states[life];
        for (index, page) in self.pages[life.sequence].iter().enumerate() {
            // Also pages that the state does not have.
            life.state.share_page(index, Arc::clone(page));
        }
        for (own, page) in life.state.pages().iter().zip(&self.pages[life.sequence]) {
            assert!(Arc::ptr_eq(own, page), "{}", self.what);
        }
    }

    /// Some of the states get tokens in one step; their logits are compared.
    fn append(&mut self) {
        let mut left = STEP_TOKENS_MAX;
        let mut parts = Vec::new();
        let mut expected: Vec<f32> = Vec::new();
        let vocab_size = self.model.config().vocab_size;
        for life in &mut self.states {
            let ids = &self.sequences[life.sequence];
            let (from, known) = (life.state.len(), life.state.known());
            let most = (ids.len() - from).min(left);
            if most == 0 || self.random.chance(30) {
                continue;
            }
            // One token half of the time, as in decoding.
            let count = if self.random.chance(50) {
                1
            } else {
                self.random.between(1, most)
            };
            let end = from + count;
            left -= count;
            let want = match self.random.below(3) {
                0 if from >= known => Want::All,
                1 if end > known => Want::Last,
                _ => Want::Nothing,
            };
            let rows = match want {
                Want::All => from..end,
                Want::Last => end - 1..end,
                Want::Nothing => end..end,
            };
            expected.extend(&self.logits[life.sequence][rows.start * vocab_size..rows.end * vocab_size]);
            parts.push(Part {
                state: &mut life.state,
                tokens: &ids[from..end],
                want,
            });
        }
        if parts.is_empty() {
            return;
        }
        let team = if self.random.chance(50) {
            &mut self.team
        } else {
            &mut Team::new(1)
        };
        let found = self
            .model
            .forward_parts(team, &mut self.workspace, &mut parts)
            .unwrap();
        assert_eq!(found.len(), expected.len(), "{}", self.what);
        let differs = found
            .iter()
            .zip(&expected)
            .position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{}: first logit that differs", self.what);
    }
}

/// Pages and live state are those of any other state with the same tokens.
fn check_bytes(
    what: &str,
    shared: usize,
    pages: &[Vec<Arc<[u8]>>; SEQUENCES],
    lives: &mut BTreeMap<(usize, usize), Vec<u8>>,
    life: &Life,
) {
    let (state, len) = (&life.state, life.state.len());
    for (index, (own, page)) in state.pages().iter().zip(&pages[life.sequence]).enumerate() {
        assert!(own == page, "{what}: page {index} after {len} tokens");
    }
    let Some(live) = state.live() else {
        assert!(len < state.known(), "{what}: no live state after {len} tokens");
        return;
    };
    for sequence in 0..SEQUENCES {
        if sequence == life.sequence || len <= shared {
            let seen = lives.entry((sequence, len)).or_insert_with(|| live.clone());
            assert!(*seen == live, "{what}: live state after {len} tokens");
        }
    }
}

fn run(what: String, model: &Model, ids: &[u32], shared: usize, seed: u64, steps: usize) {
    let mut world = World::new(what, model, ids, shared, seed);
    for _ in 0..steps {
        world.step();
    }
}

#[test]
fn lives_of_states_of_the_mini_models() {
    for numerics in Numerics::ALL {
        for (seed, name) in MODELS.into_iter().enumerate() {
            let model = load(name, numerics);
            let ids = ids(name);
            run(
                format!("{name} {numerics}"),
                &model,
                &ids,
                ids.len() / 2,
                seed as u64,
                80,
            );
        }
    }
}

/// Long enough that replaying begins behind position 0.
#[test]
fn lives_of_long_states() {
    let mut config: serde_json::Value = serde_json::from_str(TINY).unwrap();
    for (key, value) in [
        ("vocab_size", 64),
        ("hidden_size", 64),
        ("num_attention_heads", 4),
        ("head_dim", 64),
        ("moe_intermediate_size", 32),
        ("sliding_window", 8),
        ("index_topk", 12),
    ] {
        config[key] = value.into();
    }
    let mut random = Random::new(1);
    let ids: Vec<u32> = (0..700).map(|_| random.below(64) as u32).collect();
    for numerics in Numerics::ALL {
        let checkpoint = Synthetic::new(config.to_string().as_bytes(), 1)
            .unwrap()
            .checkpoint();
        let model = Model::load(checkpoint.unwrap(), numerics).unwrap();
        assert!(
            model.replay_tokens() < 384,
            "replaying must begin behind position 0"
        );
        for seed in 0..2 {
            run(
                format!("long {numerics} seed {seed}"),
                &model,
                &ids,
                300,
                seed,
                150,
            );
        }
    }
}
