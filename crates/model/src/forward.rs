//! One step: tokens are appended to a state and logits come out (spec §4).

use fathom_kernels::formats::bf16;
use fathom_kernels::hyper;
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::norm::{rms_norm, rms_norm_into};
use fathom_kernels::team::Team;

use crate::error::ForwardError;
use crate::state::State;
use crate::weights::{LayerWeights, Linear, Model, Site};
use crate::workspace::{Quantised, Span, Workspace};

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

/// One sequence's share of a step: tokens to append and the logits wanted of them.
pub struct Part<'a> {
    /// What the tokens are appended to.
    pub state: &'a mut State,
    /// At least one.
    pub tokens: &'a [u32],
    /// Which of them return logits.
    pub want: Want,
}

impl Part<'_> {
    /// Rows of logits.
    fn rows(&self) -> usize {
        match self.want {
            Want::Nothing => 0,
            Want::Last => 1,
            Want::All => self.tokens.len(),
        }
    }
}

/// What the sublayers of one step share.
pub(crate) struct Step<'a> {
    pub(crate) model: &'a Model,
    pub(crate) team: &'a mut Team,
    /// Every part's, one after the other.
    pub(crate) tokens: Vec<u32>,
    /// Where each part lies among them.
    pub(crate) spans: Vec<Span>,
    /// Whether activations are rounded: the `reference` profile.
    pub(crate) round: bool,
    /// Whether what is stored goes through the storage format first.
    pub(crate) packs: bool,
}

impl Step<'_> {
    /// `x` as a quantised linear takes it: under `reference` each 128 elements of a row through E4M3 (spec §9.3), under
    /// `fast` in eight bits.
    pub(crate) fn quantise(&mut self, x: &[f32], width: usize, out: &mut Quantised) {
        if let Some(inputs) = out {
            inputs.quantise(self.team, x, width);
        }
    }

    /// `out = x · Wᵀ`, from the plain or the quantised input as the weight asks for.
    pub(crate) fn product<'p>(
        &self,
        linear: &'p Linear,
        plain: &'p [f32],
        quantised: &'p Quantised,
        out: &'p mut [f32],
    ) -> Product<'p> {
        let view = linear.view();
        let product = match quantised {
            Some(inputs) if linear.is_quantised() => Product::quantised(view, inputs.all(), out),
            _ => Product::new(view, plain, out),
        };
        product.rounded(self.round)
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
        self.forward_parts(team, workspace, &mut [Part { state, tokens, want }])
    }

    /// Appends one token to each of several states and returns each one's logits, `[states, vocab_size]`: see
    /// [`Model::forward_parts`].
    pub fn forward_batch<'w>(
        &self,
        team: &mut Team,
        workspace: &'w mut Workspace,
        states: &mut [&mut State],
        tokens: &[u32],
    ) -> Result<&'w [f32], ForwardError> {
        assert_eq!(states.len(), tokens.len(), "one token for each state");
        let parts = states.iter_mut().zip(tokens.chunks(1));
        let mut parts: Vec<_> = parts
            .map(|(state, tokens)| Part {
                state,
                tokens,
                want: Want::Last,
            })
            .collect();
        self.forward_parts(team, workspace, &mut parts)
    }

    /// Appends to several states in one step, in which every weight is read once: decode steps of many sequences
    /// together, chunks of prompts among them. Returns the logits that the parts want, part after part, float32
    /// `[rows, vocab_size]`. No bit of any part depends on the others.
    ///
    /// After [`ForwardError::NotFinite`] every part's state is unusable; after any other error all are as they were.
    pub fn forward_parts<'w>(
        &self,
        team: &mut Team,
        workspace: &'w mut Workspace,
        parts: &mut [Part<'_>],
    ) -> Result<&'w [f32], ForwardError> {
        let mut adding = 0;
        for part in &*parts {
            adding += part.tokens.len();
            self.check(workspace, part, adding)?;
        }
        if parts.is_empty() {
            return Ok(&[]);
        }
        let (mut tokens, mut spans) = (
            std::mem::take(&mut workspace.tokens),
            std::mem::take(&mut workspace.spans),
        );
        tokens.clear();
        spans.clear();
        for part in &mut *parts {
            part.state.broken = true;
            part.state.grow(part.state.len + part.tokens.len());
            spans.push(Span {
                start: part.state.len,
                first: tokens.len(),
                len: part.tokens.len(),
            });
            tokens.extend_from_slice(part.tokens);
        }
        let mut step = Step {
            model: self,
            team,
            tokens,
            spans,
            round: self.numerics().rounds(),
            packs: self.numerics().packs(),
        };
        let rows = step.run(workspace, parts);
        (workspace.tokens, workspace.spans) = (step.tokens, step.spans);
        let rows = rows.map_err(|stage| {
            let span = workspace.spans[0];
            not_finite(stage, span.start, span.len)
        })?;
        for part in parts {
            part.state.len += part.tokens.len();
            part.state.broken = false;
        }
        Ok(&workspace.logits[..rows * self.config().vocab_size])
    }

    /// Whether a part can be appended; `tokens` are those of all parts up to it.
    fn check(&self, workspace: &Workspace, part: &Part<'_>, tokens: usize) -> Result<(), ForwardError> {
        let config = self.config();
        let state = &*part.state;
        if workspace.model != self.id() || state.model != self.id() {
            return Err(ForwardError::Foreign);
        }
        if state.broken {
            return Err(ForwardError::Broken);
        }
        if part.tokens.is_empty() {
            return Err(ForwardError::EmptyChunk);
        }
        if tokens > workspace.max_chunk {
            return Err(ForwardError::ChunkTooLong {
                tokens,
                max: workspace.max_chunk,
            });
        }
        let max = config.max_position_embeddings;
        if part.tokens.len() > max.saturating_sub(state.len) {
            return Err(ForwardError::ContextFull {
                len: state.len,
                adding: part.tokens.len(),
                max,
            });
        }
        let (first, known) = (state.len + part.tokens.len() - part.rows(), state.known());
        if part.want != Want::Nothing && first < known {
            return Err(ForwardError::Replaying {
                position: first,
                known,
            });
        }
        match part
            .tokens
            .iter()
            .position(|&token| token as usize >= config.vocab_size)
        {
            Some(at) => Err(ForwardError::TokenOutOfRange {
                token: part.tokens[at],
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
    /// Sines and cosines for every token's position and for the entries that the parts complete, part after part.
    fn set_rotations(&mut self, spans: &[Span]) {
        let positions = || spans.iter().flat_map(|span| span.start..span.end());
        self.rotations.window.set(positions());
        self.rotations.compress.set(positions());
        for (ratio, table) in &mut self.rotations.entries {
            // An entry turns by the position of its window's first token (trap 5).
            let windows = spans
                .iter()
                .flat_map(|span| span.start / *ratio..span.end() / *ratio);
            table.set(windows.map(|window| window * *ratio));
        }
    }
}

impl Step<'_> {
    /// The whole step; returns the rows of logits, or what was not finite.
    fn run(&mut self, workspace: &mut Workspace, parts: &mut [Part<'_>]) -> Result<usize, String> {
        workspace.set_rotations(&self.spans);
        self.embed(workspace);
        for (i, layer) in self.model.layers.iter().enumerate() {
            self.layer(workspace, layer, parts, i)
                .map_err(|sublayer| format!("layer {i} {sublayer}"))?;
        }
        let rows = self.logits(workspace, parts);
        rows.ok_or_else(|| "the output head".to_owned())
    }

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
        parts: &mut [Part<'_>],
        index: usize,
    ) -> Result<(), &'static str> {
        self.read(workspace, &layer.attention_site, &layer.attention_norm);
        self.attention(workspace, &layer.attention, parts, index);
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
        self.quantise(normed, d, &mut workspace.normed_quantised);
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

    /// The logits that the parts want (spec §5.7); how many rows, or nothing if not all are finite.
    fn logits(&mut self, workspace: &mut Workspace, parts: &[Part<'_>]) -> Option<usize> {
        let rows: usize = parts.iter().map(Part::rows).sum();
        if rows == 0 {
            return Some(0);
        }
        let config = self.model.config();
        let (d, vocab) = (config.hidden_size, config.vocab_size);
        let shape = self.model.hyper_shape();
        let (streams, n) = (shape.streams * d, shape.streams);
        let site = &self.model.head_site;
        if workspace.logits.len() < rows * vocab {
            workspace.logits.resize(rows * vocab, 0.0);
        }
        let x = &mut workspace.normed[..rows * d];
        let logits = &mut workspace.logits[..rows * vocab];
        let wanted = |part: &Part<'_>, span: &Span| {
            let end = span.first + span.len;
            end - part.rows()..end
        };
        let (mut done, mut part) = (0, 0);
        while part < parts.len() {
            // Rows that lie together are read together.
            let mut range = wanted(&parts[part], &self.spans[part]);
            part += 1;
            while part < parts.len() && wanted(&parts[part], &self.spans[part]).start == range.end {
                range.end = wanted(&parts[part], &self.spans[part]).end;
                part += 1;
            }
            let from = &workspace.streams[range.start * streams..range.end * streams];
            let mix = &mut workspace.mix[..range.len() * n];
            let x = &mut x[done * d..(done + range.len()) * d];
            multiply(self.team, &[Product::new(site.projection.view(), from, mix)]);
            hyper::read_head(self.team, shape, &site.base, site.scale, from, mix, x);
            done += range.len();
        }
        rms_norm(
            self.team,
            x,
            d,
            Some(&self.model.head_norm),
            shape.norm_eps,
            self.round,
        );
        let head = &self.model.head;
        match &mut workspace.normed_quantised {
            // Re-quantised: the published path does not quantise this input.
            Some(inputs) if head.is_quantised() => {
                inputs.take_groups(self.team, x, d, 1);
                multiply(
                    self.team,
                    &[Product::quantised(head.view(), inputs.all(), logits)],
                );
            }
            _ => multiply(self.team, &[Product::new(head.view(), x, logits)]),
        }
        logits.iter().all(|logit| logit.is_finite()).then_some(rows)
    }
}
