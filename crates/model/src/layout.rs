//! Where a sequence's rows lie: compressed entries in pages, window rows in a ring, and what of compressor windows is
//! still open.

use fathom_checkpoint::{Attention, Config};
use fathom_kernels::pages::RowList;
use fathom_kernels::rows::RowFormat;

use crate::error::LoadError;
use crate::numerics::Numerics;

/// A page has the entries of so many tokens at least.
const PAGE_TOKENS_MIN: usize = 128;

/// Largest page of a model that is loaded: a state allocates its pages one by one, however short it is. Flash has 440 KiB,
/// or 1.7 MiB in float32.
const PAGE_BYTES_MAX: usize = 1 << 30;

/// The places of everything in a state, the same for all states of a model.
///
/// A *page* holds what `page_tokens` tokens leave for good: layer after layer its compressed entries, then its indexer
/// keys, rows packed one after the other. `page_tokens` is a multiple of every compression ratio, so no entry's window
/// crosses the end of a page.
pub(crate) struct Layout {
    pub(crate) page_tokens: usize,
    pub(crate) page_bytes: usize,
    /// Rows in each layer's ring: a position's row is at the position modulo this.
    pub(crate) window_slots: usize,
    /// All rings together, layer after layer.
    pub(crate) window_bytes: usize,
    pub(crate) layers: Vec<LayerLayout>,
    /// Every list of pages, in the order they lie there.
    pub(crate) lists: Vec<ListLayout>,
}

pub(crate) struct LayerLayout {
    pub(crate) window: RowList,
    /// Which of [`Layout::lists`] has the compressed entries.
    pub(crate) entries: Option<usize>,
    /// Which has the indexer keys, in sparse layers.
    pub(crate) keys: Option<usize>,
}

/// What a compressor makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Compressed entries: E4M3 on all but the rotary dimensions.
    Kv,
    /// Indexer keys: Hadamard transform and E2M1.
    IndexKey,
}

/// A compressor's entries.
#[derive(Clone, Copy)]
pub(crate) struct ListLayout {
    pub(crate) stored: Stored,
    pub(crate) rows: RowList,
    /// Tokens of an entry.
    pub(crate) ratio: usize,
    /// Whether an entry also pools the window before its own.
    overlap: bool,
    /// Width of a token's keys, and of its gates.
    pub(crate) token_width: usize,
}

impl ListLayout {
    /// Tokens of windows that are still needed after `len` tokens: from the start of the open one, or with overlap of
    /// the one before it.
    pub(crate) fn pending_tokens(&self, len: usize) -> usize {
        let open = len / self.ratio * self.ratio;
        let kept = if self.overlap {
            open.saturating_sub(self.ratio)
        } else {
            open
        };
        len - kept
    }

    /// The most there can be.
    pub(crate) fn pending_tokens_max(&self) -> usize {
        if self.overlap {
            2 * self.ratio - 1
        } else {
            self.ratio - 1
        }
    }

    /// Bytes of their keys and gates, float32.
    pub(crate) fn pending_bytes(&self, len: usize) -> usize {
        2 * self.pending_tokens(len) * self.token_width * size_of::<f32>()
    }
}

impl Layout {
    pub(crate) fn new(config: &Config, numerics: Numerics) -> Result<Self, LoadError> {
        let format = |stored| row_format(config, numerics, stored);
        let ratios = config.layers.iter().map(|layer| layer.attention.ratio());
        let common = ratios.filter(|&ratio| ratio > 0).fold(1, least_common_multiple);
        let page_tokens = PAGE_TOKENS_MIN.div_ceil(common).saturating_mul(common);
        let window_slots = config.sliding_window.min(config.max_position_embeddings);
        let mut layout = Self {
            page_tokens,
            page_bytes: 0,
            window_slots,
            window_bytes: 0,
            layers: Vec::with_capacity(config.layers.len()),
            lists: Vec::new(),
        };
        for layer in &config.layers {
            let window = RowList {
                format: format(Stored::Kv),
                offset: layout.window_bytes,
                rows_per_page: window_slots,
            };
            layout.window_bytes += window.bytes();
            let mut add =
                |stored, ratio, overlap| layout.add(stored, format(stored), ratio, overlap).map(Some);
            let (entries, keys) = match layer.attention {
                Attention::Window => (None, None),
                Attention::Sparse { ratio } => {
                    (add(Stored::Kv, ratio, true)?, add(Stored::IndexKey, ratio, true)?)
                }
                Attention::Heavy { ratio } => (add(Stored::Kv, ratio, false)?, None),
            };
            layout.layers.push(LayerLayout {
                window,
                entries,
                keys,
            });
        }
        Ok(layout)
    }

    /// Puts a list behind those already in a page.
    fn add(
        &mut self,
        stored: Stored,
        format: RowFormat,
        ratio: usize,
        overlap: bool,
    ) -> Result<usize, LoadError> {
        let rows = RowList {
            format,
            offset: self.page_bytes,
            rows_per_page: self.page_tokens / ratio,
        };
        self.page_bytes = rows
            .rows_per_page
            .saturating_mul(format.bytes())
            .saturating_add(self.page_bytes);
        if self.page_bytes > PAGE_BYTES_MAX {
            return Err(LoadError::PageTooLarge {
                tokens: self.page_tokens,
                max: PAGE_BYTES_MAX,
            });
        }
        self.lists.push(ListLayout {
            stored,
            rows,
            ratio,
            overlap,
            token_width: if overlap { 2 } else { 1 } * format.width(),
        });
        Ok(self.lists.len() - 1)
    }

    /// Window rows that tokens after the first `len` still see.
    pub(crate) fn window_rows(&self, len: usize) -> usize {
        len.min(self.window_slots - 1)
    }

    /// Bytes of everything a state of `len` tokens needs beside its complete pages.
    pub(crate) fn live_bytes(&self, len: usize) -> usize {
        let window = |layer: &LayerLayout| self.window_rows(len) * layer.window.format.bytes();
        let open = |list: &ListLayout| {
            let rows = len % self.page_tokens / list.ratio;
            list.pending_bytes(len) + rows * list.rows.format.bytes()
        };
        self.layers.iter().map(window).sum::<usize>() + self.lists.iter().map(open).sum::<usize>()
    }

    /// Tokens before the end of a page from which on everything must be computed again, over entries that are there, so
    /// that the state at the end of the page is exact.
    ///
    /// *Why so many.* Let `w` be [`window_slots`](Self::window_slots), and let the computation begin at position `s`
    /// with nothing in windows and pending tokens but zeros. A token's input of layer 0 is its embedding: exact from `s`
    /// on. If layer `l`'s inputs are exact from `a` on, so are its window rows, keys and gates, each computed from one
    /// position's input. Its outputs at position `p` follow from its input there, the window rows at `p − w + 1 ..= p`, and
    /// the entries visible at `p`, which are there and exact. So its outputs, the inputs of layer `l + 1`, are exact
    /// from `a + w − 1` on; and layer `l`'s inputs, window rows, keys and gates from `s + l · (w − 1)` on.
    ///
    /// At the end of a page, position `b`, a layer's state consists of the window rows from `b − (w − 1)` on, and of
    /// pending tokens: `b` is a multiple of the ratio, so no window is open, and with overlap those of the window before are
    /// kept, from `b − ratio` on. Layer `l`'s state is therefore exact if `l · (w − 1)` and the longer of the two lie between
    /// `s` and `b`. This is the largest such sum. It also covers the last layer's `w − 1`, so the logits from `b` on are exact
    /// too. A computation that begins at position 0 is exact throughout.
    pub(crate) fn replay_tokens(&self) -> usize {
        let seen = self.window_slots - 1;
        let needed = self.layers.iter().enumerate().map(|(l, layer)| {
            let lists = [layer.entries, layer.keys].into_iter().flatten();
            let pending = lists.map(|list| self.lists[list].pending_tokens(self.page_tokens));
            l * seen + pending.fold(seen, usize::max)
        });
        needed.max().unwrap_or(0)
    }
}

/// How rows are kept; a window's are as compressed entries.
fn row_format(config: &Config, numerics: Numerics, stored: Stored) -> RowFormat {
    let rope = config.qk_rope_head_dim;
    let width = match stored {
        Stored::Kv => config.head_dim,
        Stored::IndexKey => config.index_head_dim,
    };
    match stored {
        _ if !numerics.packs() => RowFormat::F32 { width },
        Stored::Kv => RowFormat::Kv {
            nope: width - rope,
            rope,
        },
        Stored::IndexKey => RowFormat::IndexKey { width },
    }
}

pub(crate) fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use fathom_checkpoint::budget::{RowBytes, kv_bytes_per_token};

    use super::*;

    fn list(ratio: usize, overlap: bool) -> ListLayout {
        let rows = RowList {
            format: RowFormat::F32 { width: 1 },
            offset: 0,
            rows_per_page: 1,
        };
        ListLayout {
            stored: Stored::Kv,
            rows,
            ratio,
            overlap,
            token_width: 1,
        }
    }

    #[test]
    fn pending_tokens_reach_back_to_the_window_that_is_needed() {
        let pending = |ratio, overlap, lens: std::ops::Range<usize>| -> Vec<usize> {
            let list = list(ratio, overlap);
            lens.map(|len| list.pending_tokens(len)).collect()
        };
        assert_eq!(pending(4, true, 0..10), [0, 1, 2, 3, 4, 5, 6, 7, 4, 5]);
        assert_eq!(pending(128, false, 126..130), [126, 127, 0, 1]);
        for (ratio, overlap) in [(4, true), (128, false), (1, true), (1, false)] {
            let most = pending(ratio, overlap, 0..1000).into_iter().max();
            assert_eq!(most, Some(list(ratio, overlap).pending_tokens_max()));
        }
    }

    fn config(name: &str, edit: impl FnOnce(&mut serde_json::Value)) -> Config {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/configs");
        let text = std::fs::read(dir.join(name)).expect("configuration");
        let mut json = serde_json::from_slice(&text).expect("configuration");
        edit(&mut json);
        Config::from_json(json.to_string().as_bytes()).expect("configuration")
    }

    /// Spec §7: what `plan` counts, and not a byte more.
    #[test]
    fn pages_of_the_releases_have_the_published_bytes_per_token() {
        for (name, bytes_per_token, replay_tokens) in [
            ("flash.json", 3514.25, 43 * 127),
            ("pro.json", 5031.4375, 61 * 127),
        ] {
            let config = config(name, |_| {});
            let layout = Layout::new(&config, Numerics::Reference).expect("layout");
            assert_eq!(layout.page_tokens, 128);
            let per_token = layout.page_bytes as f64 / layout.page_tokens as f64;
            assert_eq!(per_token, bytes_per_token, "{name}");
            assert_eq!(per_token, kv_bytes_per_token(&config, RowBytes::packed(&config)));
            assert_eq!(layout.replay_tokens(), replay_tokens, "{name}");
            let exact = Layout::new(&config, Numerics::Exact).expect("layout");
            let floats = kv_bytes_per_token(&config, RowBytes::float32(&config));
            assert_eq!(exact.page_bytes as f64, floats * 128.0);
        }
        let flash = Layout::new(&config("flash.json", |_| {}), Numerics::Reference).expect("layout");
        assert_eq!(flash.page_bytes, 449_824);
        // 127 rows of 43 layers; in 21 sparse layers 4 pending tokens, 2 · (512 + 128) keys and as many gates each.
        assert_eq!(flash.live_bytes(1280), 43 * 127 * 584 + 21 * 4 * 2 * 1280 * 4);
        assert_eq!(flash.live_bytes(0), 0);
    }

    #[test]
    fn ratios_without_a_common_multiple_in_reach_are_refused() {
        let edited = |ratios: &[usize]| {
            config("tiny.json", |json| {
                json["num_hidden_layers"] = ratios.len().into();
                json["compress_ratios"] = ratios.into();
            })
        };
        let layout = |ratios| Layout::new(&edited(ratios), Numerics::Reference);
        for (ratios, tokens) in [
            (&[0, 0][..], 128),
            (&[0, 3], 129),
            (&[4, 6], 132),
            (&[1, 5], 130),
            (&[200, 4], 200),
        ] {
            assert_eq!(layout(ratios).expect("layout").page_tokens, tokens, "{ratios:?}");
        }
        for ratios in [
            &[4, 65_521, 65_519][..],
            &[4, 65_521, 65_519, 65_497, 65_479, 65_449],
        ] {
            let error = layout(ratios).map(|_| ()).expect_err("too large");
            assert!(matches!(error, LoadError::PageTooLarge { .. }));
        }
    }
}
