//! The cold run: the model alone, one thread, nothing cached, nobody beside it.

use fathom_engine::generation::Options;
use fathom_engine::sampling::{Sampler, token_logprob};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, State, Want, Workspace};

use super::{Answer, Logprob, bits};

/// A model that is asked without an engine.
pub(crate) struct Cold {
    model: Model,
    team: Team,
    workspace: Workspace,
    eos: u32,
}

/// Tokens of one forward pass: more than most prompts have.
const CHUNK: usize = 1024;

impl Cold {
    pub(crate) fn new(model: super::Model, numerics: Numerics, eos: u32) -> Self {
        let model = Model::load(model.checkpoint(), numerics).expect("the model loads");
        Self {
            workspace: model.new_workspace(CHUNK),
            team: Team::new(1),
            model,
            eos,
        }
    }

    fn vocab_size(&self) -> usize {
        self.model.config().vocab_size
    }

    fn forward(&mut self, state: &mut State, tokens: &[u32], want: Want) -> Vec<f32> {
        let mut logits = Vec::new();
        let chunks = tokens.chunks(CHUNK);
        let last = chunks.len() - 1;
        for (i, chunk) in chunks.enumerate() {
            let want = if i < last && want == Want::Last {
                Want::Nothing
            } else {
                want
            };
            let forward = self
                .model
                .forward(&mut self.team, &mut self.workspace, state, chunk, want);
            logits.extend_from_slice(forward.expect("forward"));
        }
        logits
    }

    /// The answer, token by token.
    pub(crate) fn answer(&mut self, prompt: &[u32], options: &Options) -> Answer {
        let mut sampler = Sampler::new(options.sampling).expect("parameters");
        let mut state = self.model.new_state();
        let mut logits = self.forward(&mut state, prompt, Want::Last);
        let first = bits(&logits);
        let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
        while tokens.len() < options.tokens_max.expect("a number of tokens") {
            let token = sampler
                .sample(&logits, prompt.len() + tokens.len())
                .expect("a token");
            logprobs.extend(
                options
                    .logprobs
                    .map(|top| Logprob::from(&token_logprob(&logits, token, top))),
            );
            tokens.push(token);
            logits = self.forward(&mut state, &[token], Want::Last);
            if token == self.eos {
                break;
            }
        }
        Answer {
            first,
            tokens,
            logprobs,
            last: bits(&logits),
        }
    }

    /// Logits after each of `tokens[from..]`, one row each.
    fn rows(&mut self, tokens: &[u32], from: usize) -> Vec<f32> {
        let mut state = self.model.new_state();
        if from > 0 {
            self.forward(&mut state, &tokens[..from], Want::Nothing);
        }
        self.forward(&mut state, &tokens[from..], Want::All)
    }

    /// Whether a run alone would have chosen `tokens` after `prompt` and reported `logprobs`: each token is chosen
    /// again from cold logits after those before it.
    pub(crate) fn check(
        &mut self,
        prompt: &[u32],
        options: &Options,
        tokens: &[u32],
        logprobs: &[Logprob],
    ) -> Result<(), String> {
        if tokens.is_empty() {
            return Ok(());
        }
        let all = [prompt, &tokens[..tokens.len() - 1]].concat();
        let rows = self.rows(&all, prompt.len() - 1);
        let mut sampler = Sampler::new(options.sampling).map_err(|error| error.to_string())?;
        for (i, (&token, logits)) in tokens
            .iter()
            .zip(rows.chunks_exact(self.vocab_size()))
            .enumerate()
        {
            let position = prompt.len() + i;
            let expected = sampler
                .sample(logits, position)
                .map_err(|error| error.to_string())?;
            if token != expected {
                return Err(format!("position {position}: token {token}, cold {expected}"));
            }
            let Some(top) = options.logprobs else { continue };
            let expected = Logprob::from(&token_logprob(logits, token, top));
            if logprobs.get(i) != Some(&expected) {
                return Err(format!(
                    "position {position}: log-probabilities {:?}, cold {expected:?}",
                    logprobs.get(i)
                ));
            }
        }
        Ok(())
    }
}
