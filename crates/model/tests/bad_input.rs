//! Bad input ends in one message that says what was expected, what was found and what to do, and spoils nothing.

mod common;

use std::path::Path;

use common::{continue_with, copy_of, edit_config, ids, load, logits};
use fathom_checkpoint::Checkpoint;
use fathom_kernels::team::Team;
use fathom_model::{ForwardError, Model, Numerics, Want};

fn forward(
    model: &Model,
    state: &mut fathom_model::State,
    max_chunk: usize,
    tokens: &[u32],
) -> Result<(), ForwardError> {
    let mut workspace = model.new_workspace(max_chunk);
    model
        .forward(&mut Team::new(2), &mut workspace, state, tokens, Want::Last)
        .map(|_| ())
}

#[test]
fn a_refused_step_leaves_the_state_as_it_was() {
    let model = load("mini-fp4", Numerics::Reference);
    let ids = ids("mini-fp4");
    let vocab = model.config().vocab_size as u32;
    let mut state = model.new_state();
    continue_with(&model, &mut state, &ids[..50], &[50], 2);
    for (tokens, message) in [
        (vec![], "nothing to append"),
        (vec![1; 65], "chunk of 65 tokens is longer than the 64"),
        (
            vec![1, vocab],
            &format!("token id {vocab} at position 51 is out of range"),
        ),
        (vec![u32::MAX], "token id 4294967295 at position 50"),
    ] {
        let error = forward(&model, &mut state, 64, &tokens)
            .expect_err(message)
            .to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(state.len(), 50);
    }
    let rest = continue_with(&model, &mut state, &ids[50..], &[64], 2);
    assert_eq!(rest, logits(&model, &ids, &[300], 1)[50 * vocab as usize..]);
}

#[test]
fn the_context_ends_with_a_message() {
    let copy = copy_of("mini-fp4");
    edit_config(copy.path(), |config| {
        config["max_position_embeddings"] = 40.into();
    });
    let model = open(copy.path()).expect("loads");
    let mut state = model.new_state();
    forward(&model, &mut state, 64, &[1; 38]).expect("fits");
    let error = forward(&model, &mut state, 64, &[1; 3]).expect_err("does not fit");
    assert_eq!(
        error.to_string(),
        "3 more tokens after 38 make 41, but this model's context ends at 40; shorten the prompt or start a new session"
    );
    forward(&model, &mut state, 64, &[1; 2]).expect("fits exactly");
}

#[test]
fn states_and_workspaces_belong_to_their_model() {
    let (one, other) = (
        load("mini-fp4", Numerics::Exact),
        load("mini-fp4", Numerics::Exact),
    );
    let error = forward(&one, &mut other.new_state(), 4, &[1]).expect_err("foreign state");
    assert_eq!(error, ForwardError::Foreign);
}

/// A NaN in the weights is an error that names the layer, never a token.
#[test]
fn a_nan_in_the_weights_names_its_layer() {
    for (tensor, dtype_size, stage) in [
        ("layers.1.attn.wkv.weight", 1, "layer 1 attention"),
        ("layers.1.ffn.shared_experts.w2.weight", 1, "layer 1 experts"),
        ("layers.0.hc_ffn_fn", 4, "layer 0"),
        ("head.weight", 2, "the output head"),
        ("embed.weight", 2, "layer 0 attention"),
    ] {
        let copy = copy_of("mini-fp4");
        poison(copy.path(), tensor, dtype_size);
        let model = open(copy.path()).unwrap_or_else(|error| panic!("{tensor}: {error}"));
        for numerics in Numerics::ALL {
            let model = match Model::load(Checkpoint::open(copy.path()).expect("opens"), numerics) {
                Ok(model) => model,
                Err(error) => {
                    // Integer products cannot carry a NaN, so `fast` looks for it first.
                    assert!(numerics == Numerics::Fast && dtype_size == 1, "{error}");
                    assert!(error.to_string().contains(tensor), "{error}");
                    continue;
                }
            };
            let mut state = model.new_state();
            let error = forward(&model, &mut state, 128, &[5; 100]).expect_err(tensor);
            assert!(error.to_string().contains(stage), "{tensor} {numerics}: {error}");
            assert!(error.to_string().contains("verify the checkpoint"), "{error}");
            assert_eq!(forward(&model, &mut state, 4, &[5]), Err(ForwardError::Broken));
        }
        drop(model);
    }
    // Small tensors are read when the model is loaded, and refused there by name.
    let copy = copy_of("mini-fp4");
    poison(copy.path(), "layers.2.attn_norm.weight", 2);
    let error = open(copy.path()).err().expect("refused").to_string();
    assert!(error.contains("layers.2.attn_norm.weight"), "{error}");
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    let copy = copy_of("mini-fp4");
    edit_config(copy.path(), |config| config["moe_intermediate_size"] = 160.into());
    let error = open(copy.path()).err().expect("refused").to_string();
    assert!(
        error.contains("layers.0.ffn.experts.0.w1") && error.contains("160"),
        "{error}"
    );
    let copy = copy_of("mini-fp4");
    edit_config(copy.path(), |config| {
        config["compress_ratios"]
            .as_array_mut()
            .expect("ratios")
            .push(0.into());
        config["num_hidden_layers"] = (config["num_hidden_layers"].as_u64().expect("layers") + 1).into();
    });
    let error = open(copy.path()).err().expect("refused").to_string();
    assert!(error.contains("layers."), "{error}");
}

fn open(dir: &Path) -> Result<Model, Box<dyn std::error::Error>> {
    Ok(Model::load(Checkpoint::open(dir)?, Numerics::Exact)?)
}

/// Overwrites every element of a tensor by NaN, in whichever shard it lies.
fn poison(dir: &Path, tensor: &str, element_size: usize) {
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "safetensors")
        {
            continue;
        }
        let mut bytes = std::fs::read(&path).expect("shard");
        let header_len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).expect("header");
        let Some(info) = header.get(tensor) else { continue };
        let offset = |i: usize| info["data_offsets"][i].as_u64().expect("offset") as usize + 8 + header_len;
        let nan: &[u8] = match element_size {
            1 => &[0x7F],
            2 => &[0xC0, 0x7F],
            _ => &[0, 0, 0xC0, 0x7F],
        };
        for element in bytes[offset(0)..offset(1)].chunks_exact_mut(element_size) {
            element.copy_from_slice(nan);
        }
        std::fs::write(&path, bytes).expect("shard");
        return;
    }
    panic!("{tensor} is in no shard");
}
