//! One step: tokens are appended to a state and logits come out (spec §4).

use fathom_kernels::formats::bf16;
use fathom_kernels::hyper;
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::norm::{rms_norm, rms_norm_into};
use fathom_kernels::quant::{ACTIVATION_BLOCK, e4m3_round_trip};
use fathom_kernels::team::Team;

use crate::error::ForwardError;
use crate::state::State;
use crate::weights::{LayerWeights, Linear, Model, Site};
use crate::workspace::Workspace;

/// Which positions' logits a step returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the step only fills the state.
    Nothing,
    /// Of the last token.
    Last,
    /// Of every token.
    All,
}

/// What the sublayers of one step share.
pub(crate) struct Step<'a> {
    pub(crate) model: &'a Model,
    pub(crate) team: &'a mut Team,
    pub(crate) tokens: &'a [u32],
    /// Position of the first token.
    pub(crate) start: usize,
    /// Whether activations are rounded: the `reference` profile.
    pub(crate) round: bool,
    /// Whether what is stored goes through the storage format first.
    pub(crate) packs: bool,
}

impl Step<'_> {
    /// `x` as a quantised linear sees it under `reference`: each 128 elements of a row through E4M3 (spec §9.3).
    pub(crate) fn quantise(&mut self, x: &[f32], width: usize, out: &mut [f32]) {
        if self.round {
            e4m3_round_trip(self.team, x, width, ACTIVATION_BLOCK, out);
        }
    }

    /// `out = x · Wᵀ`, from the plain or the quantised input as the weight asks for.
    pub(crate) fn product<'p>(
        &self,
        linear: &'p Linear,
        plain: &'p [f32],
        quantised: &'p [f32],
        out: &'p mut [f32],
    ) -> Product<'p> {
        let x = if self.round && linear.is_quantised() {
            quantised
        } else {
            plain
        };
        Product::new(linear.view(), x, out).rounded(self.round)
    }
}

impl Model {
    /// Appends `tokens` (1 to the workspace's size) to `state` and returns the logits that `want` asks for, float32
    /// `[rows, vocab_size]`, borrowed from `workspace`.
    ///
    /// After [`ForwardError::NotFinite`] the state is unusable; after any other error it is as it was.
    pub fn forward<'w>(
        &self,
        team: &mut Team,
        workspace: &'w mut Workspace,
        state: &mut State,
        tokens: &[u32],
        want: Want,
    ) -> Result<&'w [f32], ForwardError> {
        self.check(workspace, state, tokens)?;
        state.broken = true;
        let mut step = Step {
            model: self,
            team,
            tokens,
            start: state.len,
            round: self.numerics().rounds(),
            packs: self.numerics().packs(),
        };
        workspace.set_rotations(step.start, tokens.len());
        step.embed(workspace);
        for (i, layer) in self.layers.iter().enumerate() {
            let finite = step.layer(workspace, layer, &mut state.layers[i]);
            finite
                .map_err(|sublayer| not_finite(format!("layer {i} {sublayer}"), step.start, tokens.len()))?;
        }
        let rows = match want {
            Want::Nothing => 0,
            Want::Last => 1,
            Want::All => tokens.len(),
        };
        step.logits(workspace, rows)
            .then_some(())
            .ok_or_else(|| not_finite("the output head".to_owned(), step.start, tokens.len()))?;
        state.len += tokens.len();
        state.broken = false;
        Ok(&workspace.logits[..rows * self.config().vocab_size])
    }

    fn check(&self, workspace: &Workspace, state: &State, tokens: &[u32]) -> Result<(), ForwardError> {
        let config = self.config();
        if workspace.model != self.id() || state.model != self.id() {
            return Err(ForwardError::Foreign);
        }
        if state.broken {
            return Err(ForwardError::Broken);
        }
        if tokens.is_empty() {
            return Err(ForwardError::EmptyChunk);
        }
        if tokens.len() > workspace.max_chunk {
            return Err(ForwardError::ChunkTooLong {
                tokens: tokens.len(),
                max: workspace.max_chunk,
            });
        }
        let max = config.max_position_embeddings;
        if tokens.len() > max.saturating_sub(state.len) {
            return Err(ForwardError::ContextFull {
                len: state.len,
                adding: tokens.len(),
                max,
            });
        }
        match tokens
            .iter()
            .position(|&token| token as usize >= config.vocab_size)
        {
            Some(at) => Err(ForwardError::TokenOutOfRange {
                token: tokens[at],
                position: state.len + at,
                vocab_size: config.vocab_size,
            }),
            None => Ok(()),
        }
    }
}

fn not_finite(stage: String, start: usize, tokens: usize) -> ForwardError {
    ForwardError::NotFinite {
        stage,
        from: start,
        to: start + tokens - 1,
    }
}

impl Workspace {
    /// Sines and cosines for positions `start .. start + tokens` and for the entries they complete.
    fn set_rotations(&mut self, start: usize, tokens: usize) {
        let end = start + tokens;
        self.rotations.window.set(start..end);
        self.rotations.compress.set(start..end);
        for (ratio, table) in &mut self.rotations.entries {
            // An entry turns by the position of its window's first token (trap 5).
            table.set((start / *ratio..end / *ratio).map(|window| window * *ratio));
        }
    }
}

impl Step<'_> {
    /// Embedding rows, copied to every stream.
    fn embed(&mut self, workspace: &mut Workspace) {
        let d = self.model.config().hidden_size;
        let n = self.model.config().hc_mult;
        let table = self.model.embed.view();
        for (&token, streams) in self.tokens.iter().zip(workspace.streams.chunks_exact_mut(n * d)) {
            let (first, rest) = streams.split_at_mut(d);
            table.decode(token as usize, 0, first);
            if self.round {
                bf16::round_all(first);
            }
            rest.chunks_exact_mut(d)
                .for_each(|stream| stream.copy_from_slice(first));
        }
    }

    /// Attention and experts, each between a read from and a write to the streams. An error names the sublayer whose
    /// result is not finite.
    fn layer(
        &mut self,
        workspace: &mut Workspace,
        layer: &LayerWeights,
        state: &mut crate::state::LayerState,
    ) -> Result<(), &'static str> {
        self.read(workspace, &layer.attention_site, &layer.attention_norm);
        self.attention(workspace, &layer.attention, state);
        self.write(workspace).then_some(()).ok_or("attention")?;
        self.read(workspace, &layer.experts_site, &layer.experts_norm);
        self.experts(workspace, &layer.experts);
        self.write(workspace).then_some(()).ok_or("experts")
    }

    /// From the streams to a sublayer's normalised input, plain and quantised.
    fn read(&mut self, workspace: &mut Workspace, site: &Site, norm: &[f32]) {
        let (t, d) = (self.tokens.len(), self.model.config().hidden_size);
        let shape = self.model.hyper_shape();
        let streams = &workspace.streams[..t * shape.streams * d];
        let mix = &mut workspace.mix[..t * shape.mix_width()];
        let reading = &mut workspace.reading[..t * d];
        let normed = &mut workspace.normed[..t * d];
        multiply(self.team, &[Product::new(site.projection.view(), streams, mix)]);
        hyper::read(self.team, shape, &site.constants, streams, mix, reading);
        rms_norm_into(
            self.team,
            reading,
            d,
            Some(norm),
            shape.norm_eps,
            self.round,
            normed,
        );
        self.quantise(normed, d, &mut workspace.normed_quantised[..t * d]);
    }

    /// A sublayer's output back into the streams; whether all of it is finite.
    fn write(&mut self, workspace: &mut Workspace) -> bool {
        let (t, d) = (self.tokens.len(), self.model.config().hidden_size);
        let shape = self.model.hyper_shape();
        hyper::write(
            self.team,
            shape,
            &workspace.mix[..t * shape.mix_width()],
            &workspace.output[..t * d],
            &mut workspace.streams[..t * shape.streams * d],
        )
    }

    /// Logits of the last `rows` tokens (spec §5.7); whether all are finite.
    fn logits(&mut self, workspace: &mut Workspace, rows: usize) -> bool {
        if rows == 0 {
            return true;
        }
        let config = self.model.config();
        let (t, d, vocab) = (self.tokens.len(), config.hidden_size, config.vocab_size);
        let shape = self.model.hyper_shape();
        let site = &self.model.head_site;
        let streams = &workspace.streams[(t - rows) * shape.streams * d..t * shape.streams * d];
        let mix = &mut workspace.mix[..rows * shape.streams];
        let x = &mut workspace.normed[..rows * d];
        if workspace.logits.len() < rows * vocab {
            workspace.logits.resize(rows * vocab, 0.0);
        }
        let logits = &mut workspace.logits[..rows * vocab];
        multiply(self.team, &[Product::new(site.projection.view(), streams, mix)]);
        hyper::read_head(self.team, shape, &site.base, site.scale, streams, mix, x);
        rms_norm(
            self.team,
            x,
            d,
            Some(&self.model.head_norm),
            shape.norm_eps,
            self.round,
        );
        multiply(self.team, &[Product::new(self.model.head.view(), x, logits)]);
        logits.iter().all(|logit| logit.is_finite())
    }
}
