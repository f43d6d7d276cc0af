//! One sequence's state: what later tokens need of earlier ones (spec §6.1).

use fathom_checkpoint::{Attention, Config};
use fathom_kernels::rows::{RowFormat, RowStore};

use crate::numerics::Numerics;
use crate::weights::{Model, ModelId};

/// One timeline of tokens. A clone is a fork: it shares what is stored and diverges from there.
///
/// Kept at fixed size: the last `sliding_window` KV rows of every layer and the tokens of open compressor windows.
/// Growing: compressed entries and indexer keys, packed as the model was trained with them under `reference`.
#[derive(Clone)]
pub struct State {
    pub(crate) len: usize,
    pub(crate) broken: bool,
    pub(crate) model: ModelId,
    pub(crate) layers: Vec<LayerState>,
}

#[derive(Clone)]
pub(crate) struct LayerState {
    /// KV rows by position modulo [`window_slots`].
    pub(crate) window: RowStore,
    pub(crate) compressed: Option<CompressedState>,
    /// Indexer keys, in sparse layers.
    pub(crate) index: Option<CompressedState>,
}

/// Entries emitted so far and the tokens of the window that is still open.
#[derive(Clone)]
pub(crate) struct CompressedState {
    pub(crate) entries: RowStore,
    /// Keys and gates (position bias included) of the last `pending_len` tokens, `[_, token_width]`: the open window and,
    /// with overlap, the one before it.
    pub(crate) keys: Vec<f32>,
    pub(crate) gates: Vec<f32>,
}

impl CompressedState {
    fn new(format: RowFormat, ratio: usize, token_width: usize, overlap: bool) -> Self {
        let tokens = pending_max(ratio, overlap);
        Self {
            entries: RowStore::new(format),
            keys: Vec::with_capacity(tokens * token_width),
            gates: Vec::with_capacity(tokens * token_width),
        }
    }
}

/// Slots of a layer's ring of KV rows.
pub(crate) fn window_slots(config: &Config) -> usize {
    config.sliding_window.min(config.max_position_embeddings)
}

/// Tokens kept at most for windows that are still needed.
pub(crate) fn pending_max(ratio: usize, overlap: bool) -> usize {
    if overlap { 2 * ratio - 1 } else { ratio - 1 }
}

/// Tokens kept after `len` tokens: from the start of the open window, or with overlap of the one before it.
pub(crate) fn pending_len(len: usize, ratio: usize, overlap: bool) -> usize {
    let open = len / ratio * ratio;
    len - if overlap { open.saturating_sub(ratio) } else { open }
}

impl Model {
    /// The state of an empty sequence.
    pub fn new_state(&self) -> State {
        let config = self.config();
        let layers = config
            .layers
            .iter()
            .map(|layer| layer_state(config, self.numerics(), layer.attention))
            .collect();
        State {
            len: 0,
            broken: false,
            model: self.id(),
            layers,
        }
    }
}

fn layer_state(config: &Config, numerics: Numerics, attention: Attention) -> LayerState {
    let (width, rope) = (config.head_dim, config.qk_rope_head_dim);
    let (kv, key) = match numerics {
        Numerics::Exact => (
            RowFormat::F32 { width },
            RowFormat::F32 {
                width: config.index_head_dim,
            },
        ),
        Numerics::Reference | Numerics::Fast => (
            RowFormat::Kv {
                nope: width - rope,
                rope,
            },
            RowFormat::IndexKey {
                width: config.index_head_dim,
            },
        ),
    };
    let (compressed, index) = match attention {
        Attention::Window => (None, None),
        Attention::Sparse { ratio } => (
            Some(CompressedState::new(kv, ratio, 2 * width, true)),
            Some(CompressedState::new(key, ratio, 2 * config.index_head_dim, true)),
        ),
        Attention::Heavy { ratio } => (Some(CompressedState::new(kv, ratio, width, false)), None),
    };
    LayerState {
        window: RowStore::zeroed(kv, window_slots(config)),
        compressed,
        index,
    }
}

impl State {
    /// Tokens in the sequence.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of stored rows: compressed entries, indexer keys and window rows.
    pub fn kv_bytes(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| {
                let lists = [&layer.compressed, &layer.index];
                let compressed: usize = lists.into_iter().flatten().map(|list| list.entries.bytes()).sum();
                layer.window.bytes() + compressed
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_tokens_reach_back_to_the_window_that_is_needed() {
        assert_eq!(
            (0..10).map(|len| pending_len(len, 4, true)).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 7, 4, 5]
        );
        assert_eq!(
            (126..130)
                .map(|len| pending_len(len, 128, false))
                .collect::<Vec<_>>(),
            [126, 127, 0, 1]
        );
        for (ratio, overlap) in [(4, true), (128, false), (1, true), (1, false)] {
            let most = (0..1000).map(|len| pending_len(len, ratio, overlap)).max();
            assert_eq!(most, Some(pending_max(ratio, overlap)));
        }
    }
}
