//! The traps of spec §15 that show in a whole model. Others are tested where they live: 2, 3, 6 to 12 and 26 in
//! `kernels`, 13, 15 and 17 in `bit_equality.rs`, 18, 19 (as row formats) and 20 in `checkpoint` and `kernels`, 23 to 25
//! in `prompt`. Without a test, because Fathom has no such part yet or by design never will: 16 (no generic cache
//! quantisation), 22 (no drafting yet), 27 (the mixing projections are used as stored, float32), 28 (no tensor
//! parallelism).

mod common;

use std::path::Path;

use common::{copy_of, edit_config, ids, load, logits};
use fathom_checkpoint::Checkpoint;
use fathom_model::{Model, Numerics};
use serde_json::{Value, json};

/// A fixture whose configuration is edited.
fn edited(name: &str, edit: impl FnOnce(&mut Value)) -> Model {
    let copy = copy_of(name);
    edit_config(copy.path(), edit);
    open(copy.path())
}

fn open(dir: &Path) -> Model {
    let checkpoint = Checkpoint::open(dir).unwrap_or_else(|error| panic!("{error}"));
    Model::load(checkpoint, Numerics::Exact).unwrap_or_else(|error| panic!("{error}"))
}

fn all_logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    logits(model, ids, &[ids.len()], 2)
}

/// `mini-fp4` without its layers that have a compressor, or without the others: the first layers of the list.
fn with_ratios(ratios: &[usize]) -> impl FnOnce(&mut Value) {
    move |config| {
        config["compress_ratios"] = json!(ratios);
        config["num_hidden_layers"] = json!(ratios.len());
    }
}

#[test]
fn trap_01_each_kind_of_layer_has_its_own_rotary_table() {
    let (mut name, mut windows) = ("", 0);
    for candidate in common::MODELS {
        let leading = load(candidate, Numerics::Exact)
            .config()
            .layers
            .iter()
            .take_while(|l| l.attention.ratio() == 0)
            .count();
        if leading > windows {
            (name, windows) = (candidate, leading);
        }
    }
    assert!(windows > 0, "a fixture starts with a window layer");
    let ids = ids(name);
    let window_only = || vec![0; windows];
    let change = |key: &'static str, value: f64| {
        edited(name, move |config| {
            with_ratios(&window_only())(config);
            config[key] = json!(value);
        })
    };
    let plain = all_logits(&edited(name, with_ratios(&window_only())), &ids);
    assert_eq!(
        all_logits(&change("compress_rope_theta", 777.0), &ids),
        plain,
        "window layers ignore the compress base"
    );
    assert_ne!(
        all_logits(&change("rope_theta", 777.0), &ids),
        plain,
        "and follow their own"
    );

    // mini-heavy-first begins with a layer that has a compressor.
    let name = "mini-heavy-first";
    let ratio = load(name, Numerics::Exact).config().layers[0].attention.ratio();
    assert_ne!(ratio, 0);
    let ids = common::ids(name);
    let change = |key: &'static str, value: f64| {
        edited(name, move |config| {
            with_ratios(&[ratio])(config);
            config[key] = json!(value);
        })
    };
    let plain = all_logits(&edited(name, with_ratios(&[ratio])), &ids);
    assert_eq!(
        all_logits(&change("rope_theta", 777.0), &ids),
        plain,
        "layers with a compressor ignore the main base"
    );
    // Everything in the layer follows the compress base, the window rows before the first entry too.
    let other = all_logits(&change("compress_rope_theta", 777.0), &ids);
    let vocab = load(name, Numerics::Exact).config().vocab_size;
    assert_ne!(other[vocab..2 * vocab], plain[vocab..2 * vocab]);
}

/// Without the turn back, a head's output would carry its absolute position: a constant sequence would not settle.
#[test]
fn trap_04_the_output_is_turned_back() {
    let name = "mini-fp4";
    let windows = load(name, Numerics::Exact)
        .config()
        .layers
        .iter()
        .take_while(|l| l.attention.ratio() == 0)
        .count();
    assert!(windows > 0);
    let model = edited(name, with_ratios(&vec![0; windows]));
    let reach = windows * model.config().sliding_window;
    let logits = all_logits(&model, &vec![5; reach + 50]);
    let vocab = model.config().vocab_size;
    let row = |t: usize| &logits[t * vocab..][..vocab];
    for t in reach..reach + 49 {
        let difference = row(t)
            .iter()
            .zip(row(t + 1))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(difference < 1e-3, "position {t}: {difference}");
    }
}

/// Below `index_topk · ratio` tokens every entry is used; beyond it the selection matters, and only there.
#[test]
fn trap_14_the_selection_starts_at_its_threshold() {
    let name = "mini-sparse";
    let model = load(name, Numerics::Exact);
    let config = model.config();
    let (vocab, topk) = (config.vocab_size, config.index_topk);
    let ratio = config
        .layers
        .iter()
        .map(|l| l.attention.ratio())
        .find(|&r| r == 4)
        .expect("a sparse layer");
    let unlimited = edited(name, |config| config["index_topk"] = json!(100_000));
    let ids = ids(name);
    // The first query that sees one entry too many is the one that completes it.
    let threshold = (topk + 1) * ratio - 1;
    assert!(
        threshold + 40 < ids.len(),
        "the fixture reaches beyond the threshold"
    );
    let (limited, unlimited) = (all_logits(&model, &ids), all_logits(&unlimited, &ids));
    assert_eq!(limited[..threshold * vocab], unlimited[..threshold * vocab]);
    assert_ne!(limited[threshold * vocab..], unlimited[threshold * vocab..]);
}

/// Draft blocks are not layers: entries beyond the backbone change nothing.
#[test]
fn trap_21_draft_blocks_are_not_layers() {
    let name = "mini-fp4";
    let ids = &ids(name)[..80];
    let with_draft = edited(name, |config| {
        config["compress_ratios"]
            .as_array_mut()
            .expect("ratios")
            .push(json!(0));
        config["num_nextn_predict_layers"] = json!(1);
    });
    assert_eq!(
        with_draft.config().layers.len(),
        load(name, Numerics::Exact).config().layers.len()
    );
    assert_eq!(
        all_logits(&with_draft, ids),
        all_logits(&load(name, Numerics::Exact), ids)
    );
}
