//! The same model in every layout and storage: official, what transformers saves, fused experts, -Base, embedded.

mod support;

use fathom_checkpoint::{
    Checkpoint, Draft, Dtype, EmbeddedParts, Encoding, ExpertStorage, Group, Layout, Matrix,
};
use serde_json::json;
use support::{
    Tensors, assert_says, official_tensors, safetensors, stored, tiny_config, write_sharded, write_single,
};
use tempfile::TempDir;

fn open_single(config: &serde_json::Value, tensors: &Tensors) -> Checkpoint {
    let dir = TempDir::new().unwrap();
    write_single(dir.path(), config, tensors);
    Checkpoint::open(dir.path()).unwrap()
}

/// The first byte of row `row` holds `row`, so that slices can be told apart.
fn number_rows(tensor: &mut support::Stored, rows: usize) {
    let stride = tensor.bytes.len() / rows;
    for row in 0..rows {
        tensor.bytes[row * stride] = row as u8;
    }
}

#[test]
fn official_tensors_are_found_in_one_file_and_in_shards() {
    let config = tiny_config();
    let tensors = official_tensors(&config);
    let dir = TempDir::new().unwrap();
    write_sharded(dir.path(), &config, &tensors);
    for checkpoint in [
        Checkpoint::open(dir.path()).unwrap(),
        open_single(&config, &tensors),
    ] {
        assert_eq!(checkpoint.layout(), Layout::Official);
        assert_eq!(checkpoint.profile().draft, Draft::Mtp { blocks: 1 });
        assert_eq!(checkpoint.expert_storage(), Some(ExpertStorage::Fp4));
        let audit = checkpoint.audit();
        assert!(audit.is_complete(), "{audit:?}");
        assert_eq!(audit.unexpected.count, 0);
        assert_eq!(audit.census.total().tensors, tensors.len() as u64);
        let bytes: usize = tensors.values().map(|tensor| tensor.bytes.len()).sum();
        assert_eq!(audit.census.total().bytes, bytes as u64);
    }
}

#[test]
fn matrices_come_as_stored_with_their_scales() {
    let config = tiny_config();
    let mut tensors = official_tensors(&config);
    tensors.get_mut("layers.1.attn.wkv.weight").unwrap().bytes[7] = 0x55;
    tensors.get_mut("layers.1.attn.wkv.scale").unwrap().bytes[1] = 120;
    let checkpoint = open_single(&config, &tensors);

    let Matrix {
        rows,
        cols,
        data,
        encoding,
    } = checkpoint.matrix("layers.1.attn.wkv", 32, 160).unwrap();
    assert_eq!((rows, cols, data.len(), data[7]), (32, 160, 32 * 160, 0x55));
    let Encoding::Fp8 { scale } = encoding else {
        panic!("{encoding:?}")
    };
    assert_eq!(
        (scale.dtype, scale.shape, &*scale.data),
        (Dtype::F8E8M0, vec![1, 2], &[0, 120][..])
    );

    let expert = checkpoint.matrix("layers.0.ffn.experts.2.w1", 32, 160).unwrap();
    let Encoding::Fp4 { scale } = expert.encoding else {
        panic!("{:?}", expert.encoding)
    };
    assert_eq!(
        (expert.cols, expert.data.len(), scale.shape),
        (160, 32 * 80, vec![32, 5])
    );
    assert!(matches!(
        checkpoint.matrix("embed", 40, 160).unwrap().encoding,
        Encoding::Bf16
    ));
}

#[test]
fn vectors_are_widened_exactly() {
    let config = tiny_config();
    let mut tensors = official_tensors(&config);
    let norm = &mut tensors.get_mut("norm.weight").unwrap().bytes;
    norm[..4].copy_from_slice(&[0x80, 0x3F, 0x49, 0xC0]);
    let scale = &mut tensors.get_mut("hc_head_scale").unwrap().bytes;
    scale.copy_from_slice(&0.1_f32.to_le_bytes());
    let checkpoint = open_single(&config, &tensors);
    assert_eq!(
        checkpoint.vector("norm.weight", &[160]).unwrap()[..3],
        [1.0, -3.140_625, 0.0]
    );
    assert_eq!(checkpoint.vector("hc_head_scale", &[1]).unwrap(), [0.1]);
}

#[test]
fn experts_of_base_checkpoints_are_fp8_with_float_scales() {
    let config = tiny_config();
    for scale_type in ["F32", "F8_E8M0"] {
        let mut tensors = official_tensors(&config);
        for (name, tensor) in &mut tensors {
            if name.contains(".experts.") && name.ends_with(".weight") {
                let shape = [tensor.shape[0], tensor.shape[1] * 2];
                *tensor = stored("F8_E4M3", &shape);
            } else if name.contains(".experts.") {
                let cols = tensor.shape[1] * 32;
                *tensor = stored(scale_type, &[tensor.shape[0].div_ceil(128), cols.div_ceil(128)]);
            }
        }
        let checkpoint = open_single(&config, &tensors);
        assert_eq!(checkpoint.expert_storage(), Some(ExpertStorage::Fp8));
        assert!(
            checkpoint.audit().is_complete(),
            "{scale_type}: {:?}",
            checkpoint.audit()
        );
        let expert = checkpoint.matrix("layers.2.ffn.experts.1.w2", 160, 32).unwrap();
        let Encoding::Fp8 { scale } = expert.encoding else {
            panic!("{:?}", expert.encoding)
        };
        assert_eq!((scale.dtype.name(), scale.shape), (scale_type, vec![2, 1]));
    }
}

#[test]
fn the_configuration_never_decides_the_storage() {
    let mut config = tiny_config();
    config["expert_dtype"] = json!("fp8");
    assert_eq!(
        open_single(&config, &official_tensors(&config)).expert_storage(),
        Some(ExpertStorage::Fp4)
    );
}

/// The tiny model with every matrix in BF16, under names made by `rename`; draft blocks dropped.
fn unquantized(config: &serde_json::Value, rename: impl Fn(&str) -> Option<String>) -> Tensors {
    let mut tensors = Tensors::new();
    for (name, tensor) in official_tensors(config) {
        if tensor.dtype == "F8_E8M0" || name.starts_with("mtp.") {
            continue;
        }
        let tensor = match tensor.dtype {
            "I8" => stored("BF16", &[tensor.shape[0], tensor.shape[1] * 2]),
            "F8_E4M3" => stored("BF16", &tensor.shape),
            _ => tensor,
        };
        if let Some(name) = rename(&name) {
            tensors.insert(name, tensor);
        }
    }
    tensors
}

#[test]
fn what_transformers_saves_by_default_is_read() {
    let config = tiny_config();
    // Names as transformers 5.23 writes them.
    let tensors = unquantized(&config, |name| {
        Some(match name {
            "embed.weight" => "model.embed_tokens.weight".to_owned(),
            "head.weight" => name.to_owned(),
            "hc_head_fn" => "model.hc_head.hc_fn".to_owned(),
            "hc_head_base" => "model.hc_head.hc_base".to_owned(),
            "hc_head_scale" => "model.hc_head.hc_scale".to_owned(),
            _ => format!("model.{}", name.replace("kv_norm", "norm")),
        })
    });
    let checkpoint = open_single(&config, &tensors);
    assert_eq!(checkpoint.layout(), Layout::Saved);
    let audit = checkpoint.audit();
    assert!(audit.is_complete() && audit.unexpected.count == 0, "{audit:?}");
    assert_eq!(checkpoint.expert_storage(), Some(ExpertStorage::Unquantized));
    assert!(checkpoint.vector("layers.1.attn.kv_norm.weight", &[32]).is_ok());
}

/// The tiny model under transformers' own names, experts fused; every row of `gate_up_proj` and `down_proj` numbered.
fn fused(config: &serde_json::Value) -> Tensors {
    let mut tensors = unquantized(config, |name| {
        let Some(rest) = name.strip_prefix("layers.") else {
            return Some(match name {
                "embed.weight" => "model.embed_tokens.weight".to_owned(),
                "head.weight" => "lm_head.weight".to_owned(),
                "norm.weight" => "model.norm.weight".to_owned(),
                other => format!("model.hc_head.{}", other.replace("hc_head_", "hc_")),
            });
        };
        if rest.contains(".experts.") {
            return None;
        }
        // Written out pair by pair, as the checkpoint of a saved model shows them.
        let mut renamed = rest.to_owned();
        for (official, transformers) in [
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
            ("hc_attn_", "attn_hc."),
            ("hc_ffn_", "ffn_hc."),
            (
                ".attn.indexer.compressor.ape",
                ".self_attn.compressor.indexer.position_bias",
            ),
            (
                ".attn.indexer.compressor.norm",
                ".self_attn.compressor.indexer.kv_norm",
            ),
            (
                ".attn.indexer.compressor.wkv",
                ".self_attn.compressor.indexer.kv_proj",
            ),
            (
                ".attn.indexer.compressor.wgate",
                ".self_attn.compressor.indexer.gate_proj",
            ),
            (".attn.indexer.wq_b", ".self_attn.compressor.indexer.q_b_proj"),
            (
                ".attn.indexer.weights_proj",
                ".self_attn.compressor.indexer.scorer.weights_proj",
            ),
            (".attn.compressor.ape", ".self_attn.compressor.position_bias"),
            (".attn.compressor.norm", ".self_attn.compressor.kv_norm"),
            (".attn.compressor.wkv", ".self_attn.compressor.kv_proj"),
            (".attn.compressor.wgate", ".self_attn.compressor.gate_proj"),
            (".attn.attn_sink", ".self_attn.sinks"),
            (".attn.wq_a", ".self_attn.q_a_proj"),
            (".attn.q_norm", ".self_attn.q_a_norm"),
            (".attn.wq_b", ".self_attn.q_b_proj"),
            (".attn.wkv", ".self_attn.kv_proj"),
            (".attn.kv_norm", ".self_attn.kv_norm"),
            (".attn.wo_a", ".self_attn.o_a_proj"),
            (".attn.wo_b", ".self_attn.o_b_proj"),
            (".ffn.shared_experts.w1", ".mlp.shared_experts.gate_proj"),
            (".ffn.shared_experts.w2", ".mlp.shared_experts.down_proj"),
            (".ffn.shared_experts.w3", ".mlp.shared_experts.up_proj"),
            (".ffn.gate.bias", ".mlp.gate.e_score_correction_bias"),
            (".ffn.gate", ".mlp.gate"),
        ] {
            renamed = renamed.replace(official, transformers);
        }
        Some(format!("model.layers.{renamed}"))
    });
    for layer in 0..3 {
        for (name, shape) in [("gate_up_proj", [4, 64, 160]), ("down_proj", [4, 160, 32])] {
            let mut tensor = stored("BF16", &shape);
            number_rows(&mut tensor, shape[0] * shape[1]);
            tensors.insert(format!("model.layers.{layer}.mlp.experts.{name}"), tensor);
        }
    }
    tensors
}

#[test]
fn fused_experts_are_sliced() {
    let config = tiny_config();
    let checkpoint = open_single(&config, &fused(&config));
    assert_eq!(checkpoint.layout(), Layout::Transformers);
    let audit = checkpoint.audit();
    assert!(audit.is_complete() && audit.unexpected.count == 0, "{audit:?}");
    assert_eq!(
        audit.census.group(Group::RoutedExperts).parameters,
        3 * 4 * 3 * 32 * 160
    );
    assert_eq!(
        audit.census.group(Group::RoutedExperts).bytes,
        2 * 3 * 4 * 3 * 32 * 160
    );

    let first_row = |module: &str, rows, cols| {
        let matrix = checkpoint.matrix(module, rows, cols).unwrap();
        assert_eq!(matrix.data.len(), 2 * rows * cols, "{module}");
        matrix.data[0]
    };
    assert_eq!(first_row("layers.1.ffn.experts.0.w1", 32, 160), 0);
    assert_eq!(
        first_row("layers.1.ffn.experts.0.w3", 32, 160),
        32,
        "up rows follow the gate's"
    );
    assert_eq!(first_row("layers.1.ffn.experts.3.w1", 32, 160), 3 * 64);
    assert_eq!(first_row("layers.1.ffn.experts.3.w3", 32, 160), 3 * 64 + 32);
    assert_eq!(first_row("layers.1.ffn.experts.1.w2", 160, 32), 160);

    let error = checkpoint
        .matrix("layers.1.ffn.experts.4.w1", 32, 160)
        .unwrap_err();
    assert_says("no such expert", &error, &["gate_up_proj[4] is missing"]);
    let error = checkpoint
        .matrix("layers.1.ffn.experts.0.w1", 16, 160)
        .unwrap_err();
    assert_says(
        "wrong rows",
        &error,
        &["has shape [4, 64, 160]", "implies [4, 32, columns]"],
    );
    let error = checkpoint
        .matrix("layers.1.ffn.experts.0.w2", 160, 31)
        .unwrap_err();
    assert_says(
        "wrong columns",
        &error,
        &["has shape [160, 32]", "implies [160, 31]"],
    );
}

#[test]
fn fused_fp8_experts_are_sliced_with_their_scales() {
    let mut config = tiny_config();
    config["moe_intermediate_size"] = json!(128);
    let mut tensors = fused(&config);
    for layer in 0..3 {
        let name = format!("model.layers.{layer}.mlp.experts.gate_up_proj");
        tensors.insert(name.clone(), stored("F8_E4M3", &[4, 256, 160]));
        let mut scale = stored("F32", &[4, 2, 2]);
        for (i, value) in scale.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *value = (i as f32).to_le_bytes();
        }
        tensors.insert(format!("{name}_scale_inv"), scale);
        tensors.insert(
            format!("model.layers.{layer}.mlp.experts.down_proj"),
            stored("BF16", &[4, 160, 128]),
        );
    }
    let checkpoint = open_single(&config, &tensors);
    let up = checkpoint.matrix("layers.0.ffn.experts.2.w3", 128, 160).unwrap();
    let Encoding::Fp8 { scale } = up.encoding else {
        panic!("{:?}", up.encoding)
    };
    assert_eq!(scale.shape, [1, 2]);
    // Expert 2 begins at value 8; its second row of blocks is the up half's.
    assert_eq!(
        &*scale.data,
        [10.0_f32.to_le_bytes(), 11.0_f32.to_le_bytes()].concat()
    );

    // With halves of 32 rows a block of 128 would belong to both: refused.
    let config = tiny_config();
    let mut tensors = fused(&config);
    let name = "model.layers.0.mlp.experts.gate_up_proj";
    tensors.insert(name.to_owned(), stored("F8_E4M3", &[4, 64, 160]));
    tensors.insert(format!("{name}_scale_inv"), stored("F32", &[4, 1, 2]));
    let error = open_single(&config, &tensors)
        .matrix("layers.0.ffn.experts.0.w1", 32, 160)
        .unwrap_err();
    assert_says(
        "straddling scales",
        &error,
        &["gate and up halves of a multiple of 128 rows"],
    );
}

#[test]
fn a_tied_head_is_the_embedding() {
    let mut config = tiny_config();
    config["tie_word_embeddings"] = json!(true);
    let checkpoint = open_single(&config, &official_tensors(&config));
    assert!(!checkpoint.contains("head.weight"));
    assert_eq!(checkpoint.matrix("head", 40, 160).unwrap().rows, 40);
    assert!(checkpoint.audit().is_complete());
}

#[test]
fn missing_and_unexpected_tensors_are_counted_and_named() {
    let config = tiny_config();
    let mut tensors = official_tensors(&config);
    tensors.retain(|name, _| !name.starts_with("layers.2.ffn.experts."));
    tensors.insert("layers.2.attn.extra".to_owned(), stored("F32", &[1]));
    let audit = open_single(&config, &tensors).audit();
    assert!(!audit.is_complete());
    assert_eq!(audit.missing.count, 4 * 3);
    assert_eq!(audit.missing.first[0], "layers.2.ffn.experts.0.w1.weight");
    assert_eq!(
        (audit.unexpected.count, audit.unexpected.first[0].as_str()),
        (1, "layers.2.attn.extra")
    );

    let mut tensors = official_tensors(&config);
    tensors.retain(|name, _| !name.starts_with("mtp."));
    let audit = open_single(&config, &tensors).audit();
    assert!(
        audit.missing.first.iter().all(|name| name.starts_with("mtp.0.")),
        "{:?}",
        audit.missing
    );
    assert_eq!(
        (audit.missing.count > 20, audit.missing.first.len()),
        (true, 20),
        "many are counted, few named"
    );
}

#[test]
fn an_embedded_checkpoint_needs_no_files() {
    let config = tiny_config();
    let leak = |bytes: Vec<u8>| -> &'static [u8] { Box::leak(bytes.into_boxed_slice()) };
    let parts = EmbeddedParts {
        config: leak(config.to_string().into_bytes()),
        tokenizer: b"tokenizer",
        tokenizer_config: b"tokenizer config",
        weights: leak(safetensors(&official_tensors(&config))),
    };
    let checkpoint = Checkpoint::from_embedded(parts).unwrap();
    assert!(checkpoint.audit().is_complete());
    assert_eq!(&*checkpoint.tokenizer_json().unwrap(), b"tokenizer");
    assert_eq!(&*checkpoint.tokenizer_config_json().unwrap(), b"tokenizer config");
    let error = Checkpoint::from_embedded(EmbeddedParts {
        weights: b"short",
        ..parts
    })
    .err()
    .unwrap();
    assert_says(
        "damaged",
        &error,
        &["model.safetensors: expected at least 8 bytes"],
    );
}

#[test]
fn clones_of_data_outlive_the_checkpoint() {
    let config = tiny_config();
    let matrix = open_single(&config, &official_tensors(&config))
        .matrix("head", 40, 160)
        .unwrap();
    assert!(
        matrix.data.iter().all(|&byte| byte == 0),
        "the mapping is still there"
    );
}
