//! Directories that are not a usable checkpoint: each is refused with a message that says what was expected, what was
//! found and what to do.

mod support;

use std::path::Path;

use fathom_checkpoint::{Checkpoint, CheckpointError};
use serde_json::{Value, json};
use support::{
    SHARDS, Stored, Tensors, assert_says, official_tensors, safetensors, stored, tiny_config, write_index,
    write_sharded, write_single,
};
use tempfile::TempDir;

fn refuse_to_open(case: &str, dir: &Path, phrases: &[&str]) {
    match Checkpoint::open(dir) {
        Ok(_) => panic!("{case}: opened"),
        Err(error) => assert_says(case, &error, phrases),
    }
}

/// A sharded checkpoint, changed by `damage` (which gets the directory and the index), must not open.
fn damaged(case: &str, damage: impl FnOnce(&Path, Value), phrases: &[&str]) {
    let dir = TempDir::new().unwrap();
    let config = tiny_config();
    let index = write_sharded(dir.path(), &config, &official_tensors(&config));
    assert!(
        Checkpoint::open(dir.path()).is_ok(),
        "{case}: whole before the damage"
    );
    damage(dir.path(), index);
    refuse_to_open(case, dir.path(), phrases);
}

#[test]
fn directories_without_a_checkpoint() {
    let dir = TempDir::new().unwrap();
    refuse_to_open(
        "no such directory",
        &dir.path().join("nowhere"),
        &["cannot read", "nowhere"],
    );
    refuse_to_open(
        "empty directory",
        dir.path(),
        &["config.json is missing", "Finish the download"],
    );
    std::fs::write(dir.path().join("config.json"), tiny_config().to_string()).unwrap();
    refuse_to_open(
        "a file",
        &dir.path().join("config.json"),
        &["is not a directory", "Pass the directory"],
    );
    refuse_to_open(
        "no weights",
        dir.path(),
        &["neither model.safetensors.index.json nor model.safetensors"],
    );
    std::fs::write(dir.path().join("model.safetensors"), b"").unwrap();
    refuse_to_open(
        "empty weights",
        dir.path(),
        &["model.safetensors: expected at least 8 bytes", "found 0"],
    );
    std::fs::write(dir.path().join("model.safetensors"), safetensors(&Tensors::new())).unwrap();
    refuse_to_open(
        "no tensors",
        dir.path(),
        &["no tensor is named embed.weight", "found 0 tensors"],
    );
    let mut foreign = Tensors::new();
    foreign.insert("transformer.wte.weight".to_owned(), stored("BF16", &[2, 2]));
    std::fs::write(dir.path().join("model.safetensors"), safetensors(&foreign)).unwrap();
    refuse_to_open(
        "foreign names",
        dir.path(),
        &["found 1 tensors", "transformer.wte.weight"],
    );
}

#[test]
fn damaged_shards() {
    damaged(
        "shard missing",
        |dir, _| std::fs::remove_file(dir.join(SHARDS[1])).unwrap(),
        &[
            "shard model-00002-of-00002.safetensors is missing",
            "places",
            "tensors in it",
            "Finish the download",
        ],
    );
    damaged(
        "shard truncated",
        |dir, _| {
            let bytes = std::fs::read(dir.join(SHARDS[0])).unwrap();
            std::fs::write(dir.join(SHARDS[0]), &bytes[..bytes.len() / 2]).unwrap();
        },
        &[
            "model-00001-of-00002.safetensors: ",
            "the file was cut off",
            "download it again",
        ],
    );
    damaged(
        "shard is a directory",
        |dir, _| {
            std::fs::remove_file(dir.join(SHARDS[0])).unwrap();
            std::fs::create_dir(dir.join(SHARDS[0])).unwrap();
        },
        &["cannot read", SHARDS[0], "it is a directory"],
    );
    damaged(
        "shards swapped",
        |dir, _| {
            let [first, second] = SHARDS.map(|shard| dir.join(shard));
            let bytes = std::fs::read(&first).unwrap();
            std::fs::copy(&second, &first).unwrap();
            std::fs::write(&second, bytes).unwrap();
        },
        &["which the index places in", "different versions"],
    );
    damaged(
        "tensor absent from its shard",
        |dir, mut index| {
            index["weight_map"]["layers.9.extra"] = json!(SHARDS[0]);
            write_index(dir, &index);
        },
        &[
            "the index places tensor layers.9.extra in model-00001-of-00002.safetensors",
            "does not hold it",
        ],
    );
    damaged(
        "tensor in two shards",
        |dir, _| {
            let mut both = official_tensors(&tiny_config());
            both.retain(|name, _| name == "embed.weight" || name == "hc_head_base");
            std::fs::write(dir.join(SHARDS[0]), safetensors(&both)).unwrap();
        },
        &[
            "holds tensor",
            "which the index places in model-00002-of-00002.safetensors",
        ],
    );
    damaged(
        "tensor not in the index",
        |dir, mut index| {
            index["weight_map"]
                .as_object_mut()
                .unwrap()
                .remove("embed.weight");
            write_index(dir, &index);
        },
        &["holds tensor embed.weight, which the index does not list"],
    );
}

#[test]
fn damaged_indices() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "not JSON",
            "{",
            &["model.safetensors.index.json is not valid", "Download it again"],
        ),
        ("no weight_map", "{}", &["missing field `weight_map`"]),
        (
            "empty weight_map",
            r#"{"weight_map":{}}"#,
            &["its weight_map is empty"],
        ),
        (
            "name twice",
            r#"{"weight_map":{"a":"x","a":"y"}}"#,
            &["tensor a is listed twice"],
        ),
        ("not a name", r#"{"weight_map":{"a":3}}"#, &["is not valid"]),
        (
            "outside the directory",
            r#"{"weight_map":{"a":"../x.safetensors"}}"#,
            &["tensor a is placed in \"../x.safetensors\"", "same directory"],
        ),
        (
            "absolute path",
            r#"{"weight_map":{"a":"/x.safetensors"}}"#,
            &["same directory"],
        ),
        (
            "no file name",
            r#"{"weight_map":{"a":".."}}"#,
            &["same directory"],
        ),
        (
            "negative size",
            r#"{"metadata":{"total_size":-1},"weight_map":{"a":"x"}}"#,
            &["total_size must be a whole number"],
        ),
        (
            "size is text",
            r#"{"metadata":{"total_size":"1"},"weight_map":{"a":"x"}}"#,
            &["is not valid"],
        ),
    ];
    for (case, index, phrases) in cases {
        damaged(
            case,
            |dir, _| std::fs::write(dir.join("model.safetensors.index.json"), index).unwrap(),
            phrases,
        );
    }
    damaged(
        "another total",
        |dir, mut index| {
            index["metadata"]["total_size"] = json!(12_345);
            write_index(dir, &index);
        },
        &[
            "the tensors take",
            "announces 12345 (metadata.total_size)",
            "different versions",
        ],
    );
}

fn put(tensors: &mut Tensors, name: &str, tensor: Stored) {
    tensors.insert(name.to_owned(), tensor);
}

/// Opens a whole checkpoint after `change` has been made to its tensors.
fn open_changed(change: impl FnOnce(&mut Tensors)) -> Checkpoint {
    let dir = TempDir::new().unwrap();
    let config = tiny_config();
    let mut tensors = official_tensors(&config);
    change(&mut tensors);
    write_single(dir.path(), &config, &tensors);
    Checkpoint::open(dir.path()).unwrap()
}

#[test]
fn matrices_that_cannot_be_used() {
    type Case = (
        &'static str,
        fn(&mut Tensors),
        &'static str,
        [usize; 2],
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            "missing",
            |t| drop(t.remove("layers.1.attn.wkv.weight")),
            "layers.1.attn.wkv",
            [32, 160],
            &["tensor layers.1.attn.wkv.weight is missing", "fathom inspect"],
        ),
        (
            "scale missing",
            |t| drop(t.remove("layers.1.attn.wkv.scale")),
            "layers.1.attn.wkv",
            [32, 160],
            &[
                "tensor layers.1.attn.wkv.weight is F8_E4M3, which needs scales",
                "layers.1.attn.wkv.scale is missing",
            ],
        ),
        (
            "expert scale missing",
            |t| drop(t.remove("layers.0.ffn.experts.3.w2.scale")),
            "layers.0.ffn.experts.3.w2",
            [160, 32],
            &[
                "is I8, which needs scales",
                "layers.0.ffn.experts.3.w2.scale is missing",
            ],
        ),
        (
            "wrong shape",
            |t| put(t, "layers.1.attn.wkv.weight", stored("F8_E4M3", &[160, 32])),
            "layers.1.attn.wkv",
            [32, 160],
            &[
                "tensor layers.1.attn.wkv.weight has shape [160, 32]",
                "implies [32, 160]",
                "do not belong together",
            ],
        ),
        (
            "FP4 not packed",
            |t| put(t, "layers.0.ffn.experts.0.w1.weight", stored("I8", &[32, 160])),
            "layers.0.ffn.experts.0.w1",
            [32, 160],
            &["has shape [32, 160]", "implies [32, 80]"],
        ),
        (
            "FP8 scale of wrong shape",
            |t| put(t, "layers.1.attn.wkv.scale", stored("F8_E8M0", &[1, 1])),
            "layers.1.attn.wkv",
            [32, 160],
            &[
                "tensor layers.1.attn.wkv.scale has shape [1, 1]",
                "implies [1, 2]",
            ],
        ),
        (
            "FP4 scale of wrong shape",
            |t| put(t, "layers.0.ffn.experts.0.w1.scale", stored("F8_E8M0", &[1, 2])),
            "layers.0.ffn.experts.0.w1",
            [32, 160],
            &[
                "tensor layers.0.ffn.experts.0.w1.scale has shape [1, 2]",
                "implies [32, 5]",
            ],
        ),
        (
            "FP8 scale of wrong type",
            |t| put(t, "layers.1.attn.wkv.scale", stored("BF16", &[1, 2])),
            "layers.1.attn.wkv",
            [32, 160],
            &[
                "tensor layers.1.attn.wkv.scale is BF16",
                "expected F8_E8M0 or F32",
            ],
        ),
        (
            "FP4 scale of wrong type",
            |t| put(t, "layers.0.ffn.experts.0.w1.scale", stored("F32", &[32, 5])),
            "layers.0.ffn.experts.0.w1",
            [32, 160],
            &[
                "tensor layers.0.ffn.experts.0.w1.scale is F32",
                "expected F8_E8M0",
            ],
        ),
        (
            "integers",
            |t| put(t, "embed.weight", stored("I64", &[40, 160])),
            "embed",
            [40, 160],
            &["tensor embed.weight is I64", "expected BF16, F32, F8_E4M3, I8"],
        ),
    ];
    for (case, change, module, [rows, cols], phrases) in cases {
        let checkpoint = open_changed(*change);
        match checkpoint.matrix(module, *rows, *cols) {
            Ok(_) => panic!("{case}: handed out"),
            Err(error) => assert_says(case, &error, phrases),
        }
        assert!(!checkpoint.audit().is_complete(), "{case}: the audit notices too");
    }
}

#[test]
fn small_tensors_that_cannot_be_used() {
    let set = |name: &'static str, tensor: Stored| {
        move |tensors: &mut Tensors| {
            tensors.insert(name.to_owned(), tensor);
        }
    };
    let mut nan = stored("BF16", &[160]);
    nan.bytes[6..8].copy_from_slice(&0x7FC0_u16.to_le_bytes());
    let checkpoint = open_changed(set("norm.weight", nan));
    let error = checkpoint.vector("norm.weight", &[160]).unwrap_err();
    assert_says(
        "NaN",
        &error,
        &["tensor norm.weight holds NaN at element 3", "download it again"],
    );

    let mut infinite = stored("F32", &[3]);
    infinite.bytes[8..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    let checkpoint = open_changed(set("layers.0.hc_attn_scale", infinite));
    let error = checkpoint.vector("layers.0.hc_attn_scale", &[3]).unwrap_err();
    assert_says(
        "infinity",
        &error,
        &["tensor layers.0.hc_attn_scale holds -inf at element 2"],
    );

    let error = open_changed(|_| ()).vector("norm.weight", &[161]).unwrap_err();
    assert_says("shape", &error, &["norm.weight has shape [160]", "implies [161]"]);
    let error = open_changed(|_| ())
        .vector("layers.7.attn_norm.weight", &[160])
        .unwrap_err();
    assert_says("missing", &error, &["layers.7.attn_norm.weight is missing"]);
    let error = open_changed(set("norm.weight", stored("F8_E4M3", &[160])))
        .vector("norm.weight", &[160])
        .unwrap_err();
    assert_says(
        "dtype",
        &error,
        &["norm.weight is F8_E4M3", "expected F32 or BF16"],
    );

    let table = "layers.0.ffn.gate.tid2eid";
    for (id, bytes) in [(4_i64, 4_i64.to_le_bytes()), (-1, (-1_i64).to_le_bytes())] {
        let mut ids = stored("I64", &[40, 2]);
        ids.bytes[8 * 13..8 * 14].copy_from_slice(&bytes);
        let error = open_changed(set(table, ids)).table(table, 40, 2).unwrap_err();
        let found = format!("routes token 6 to expert {id}, but the experts are 0 to 3");
        assert_says("expert out of range", &error, &[table, &found]);
    }
    let mut ids = stored("I32", &[40, 2]);
    ids.bytes[4 * 79..].copy_from_slice(&9_i32.to_le_bytes());
    let error = open_changed(set(table, ids)).table(table, 40, 2).unwrap_err();
    assert_says("I32", &error, &["routes token 39 to expert 9"]);
    assert!(
        open_changed(set(table, stored("I32", &[40, 2])))
            .table(table, 40, 2)
            .is_ok(),
        "I32 is accepted"
    );
    let error = open_changed(set(table, stored("F32", &[40, 2])))
        .table(table, 40, 2)
        .unwrap_err();
    assert_says("float table", &error, &["is F32", "expected I64 or I32"]);
}

#[test]
fn a_missing_tokenizer_is_reported_when_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let config = tiny_config();
    write_single(dir.path(), &config, &official_tensors(&config));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = checkpoint.tokenizer_json().unwrap_err();
    assert!(matches!(
        error,
        CheckpointError::MissingFile {
            file: "tokenizer.json",
            ..
        }
    ));
    std::fs::write(dir.path().join("tokenizer.json"), b"{}").unwrap();
    assert_eq!(&*checkpoint.tokenizer_json().unwrap(), b"{}");
}
