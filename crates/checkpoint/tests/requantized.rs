//! Checkpoints as `fathom quantize` writes them: grouped integers beside the official formats.

mod support;

use fathom_checkpoint::{
    Census, Checkpoint, CheckpointError, Config, Encoding, ExpertStorage, ProfileName, Quantization, Storage,
    WeightFormat, announced_draft, parts,
};
use fathom_kernels::formats::grouped::Bits;
use serde_json::{Value, json};
use support::{Stored, Tensors, assert_says, official_tensors, stored, tiny_config, write_single};
use tempfile::TempDir;

/// The tiny model, wide enough for groups in some of its matrices.
fn config(quantization: Value) -> Value {
    let mut config = tiny_config();
    config["hidden_size"] = json!(256);
    config["q_lora_rank"] = json!(128);
    config["fathom_quantization"] = quantization;
    config
}

fn recorded() -> Value {
    json!({"version": 1, "dense": "q5", "queries": "q6", "head": "q8", "experts": "q4", "profile": "own"})
}

/// What quantising makes of the official tensors, zero everywhere.
fn tensors(config: &Value) -> Tensors {
    let mut tensors = official_tensors(config);
    let config = Config::from_json(config.to_string().as_bytes()).unwrap();
    let quantization = config.quantization.unwrap();
    for part in parts(&config, announced_draft(&config)) {
        let WeightFormat::Grouped(bits) = quantization.format_of(&part) else {
            continue;
        };
        let (fathom_checkpoint::Kind::Projection { rows, cols }
        | fathom_checkpoint::Kind::Expert { rows, cols }
        | fathom_checkpoint::Kind::Dense { rows, cols }) = part.kind
        else {
            panic!("{} is no matrix", part.name);
        };
        let name = part.name;
        tensors.insert(
            format!("{name}.weight"),
            stored("U8", &[rows, cols * bits.count() / 8]),
        );
        tensors.insert(format!("{name}.scale"), stored("U8", &[rows, cols / 32]));
        tensors.insert(format!("{name}.row_scale"), stored("F32", &[rows]));
    }
    tensors
}

fn open(config: &Value, tensors: &Tensors) -> Result<Checkpoint, CheckpointError> {
    let dir = TempDir::new().unwrap();
    write_single(dir.path(), config, tensors);
    Checkpoint::open(dir.path())
}

#[test]
fn tensors_are_recognised_and_counted() {
    let config = config(recorded());
    let mut tensors = tensors(&config);
    tensors.get_mut("layers.1.attn.wkv.row_scale").unwrap().bytes[4..8].copy_from_slice(&2f32.to_le_bytes());
    let checkpoint = open(&config, &tensors).unwrap();
    let matrix = checkpoint.matrix("layers.1.attn.wkv", 32, 256).unwrap();
    let Encoding::Grouped {
        bits,
        scale,
        row_scale,
    } = &matrix.encoding
    else {
        panic!("{matrix:?}")
    };
    assert_eq!((*bits, scale.shape.as_slice()), (Bits::Five, [32, 8].as_slice()));
    assert_eq!(row_scale.data[4..8], 2f32.to_le_bytes());
    matrix.view().assert_well_formed();
    let mut row = [1.0; 256];
    matrix.view().decode(1, 0, &mut row);
    // Code 0 is −16, scale byte 0 is 2^−15.
    assert_eq!(row, [-32.0 / 32768.0; 256]);

    // Too narrow for groups: 32 columns, as they were.
    let kept = checkpoint.matrix("layers.1.ffn.experts.0.w2", 256, 32).unwrap();
    assert!(matches!(kept.encoding, Encoding::Fp4 { .. }));
    let queries = checkpoint.matrix("layers.1.attn.wq_b", 128, 128).unwrap();
    assert!(matches!(
        queries.encoding,
        Encoding::Grouped { bits: Bits::Six, .. }
    ));
    let head = checkpoint.matrix("head", 40, 256).unwrap();
    assert!(matches!(
        head.encoding,
        Encoding::Grouped {
            bits: Bits::Eight,
            ..
        }
    ));
    let expert = checkpoint.matrix("layers.1.ffn.experts.0.w1", 32, 256).unwrap();
    assert!(matches!(
        expert.encoding,
        Encoding::Grouped { bits: Bits::Four, .. }
    ));

    let audit = checkpoint.audit();
    assert!(audit.is_complete(), "{audit:?}");
    assert_eq!(audit.unexpected.count, 0, "{audit:?}");
    let bytes: usize = tensors.values().map(|tensor| tensor.bytes.len()).sum();
    assert_eq!(audit.census.total().bytes, bytes as u64);
    assert_eq!(audit.census.total().tensors, tensors.len() as u64);

    // The configuration alone gives the same count.
    let config = checkpoint.config();
    let storage = Storage {
        quantized: true,
        experts: ExpertStorage::Fp4,
        requantized: config.quantization.unwrap(),
    };
    assert_eq!(Census::of(config, announced_draft(config), storage), audit.census);
}

#[test]
fn the_recorded_profile_decides_where_experts_cannot() {
    let checkpoint = open(&config(recorded()), &tensors(&config(recorded()))).unwrap();
    assert_eq!(checkpoint.expert_storage(), None);
    assert_eq!(checkpoint.profile().name, ProfileName::Own);
    let said = checkpoint.profile().evidence.join("; ");
    assert!(
        said.contains("quantised from a checkpoint of profile own"),
        "{said}"
    );
}

#[test]
fn what_is_recorded_survives_writing() {
    for profile in [None, Some(ProfileName::FlashBase)] {
        let quantization = Quantization {
            latents: WeightFormat::Keep,
            queries: WeightFormat::Grouped(Bits::Four),
            profile,
            ..Quantization::new(
                WeightFormat::Grouped(Bits::Six),
                WeightFormat::Fp8,
                WeightFormat::Keep,
            )
        };
        let config = config(quantization.to_json());
        let config = Config::from_json(config.to_string().as_bytes()).unwrap();
        assert_eq!(config.quantization, Some(quantization));
    }
    for format in WeightFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!(
        "q7".parse::<WeightFormat>()
            .unwrap_err()
            .to_string()
            .contains("expected q8, q6, q5")
    );
}

#[test]
fn bad_records_are_refused() {
    let cases = [
        (
            json!({"version": 2, "dense": "q5"}),
            &["version is 2", "reads version 1", "Update Fathom"][..],
        ),
        (json!({}), &["version is absent"]),
        (json!("q5"), &["version is absent"]),
        (
            json!({"version": 1, "dense": "q7", "head": "keep", "experts": "keep"}),
            &["fathom_quantization.dense must be one of q8, q6", "found \"q7\""],
        ),
        (
            json!({"version": 1, "dense": "q5", "head": "keep"}),
            &["fathom_quantization.experts must be", "found nothing"],
        ),
        (
            json!({"version": 1, "dense": "q5", "head": "keep", "experts": "keep", "profile": "flash"}),
            &["fathom_quantization.profile must be the name of a profile"],
        ),
    ];
    for (record, phrases) in cases {
        let error = Config::from_json(config(record.clone()).to_string().as_bytes()).unwrap_err();
        assert_says(&record.to_string(), &error, phrases);
    }
}

#[test]
fn bad_tensors_are_refused() {
    const WEIGHT: &str = "layers.1.attn.wkv.weight";
    const SCALE: &str = "layers.1.attn.wkv.scale";
    const ROW_SCALE: &str = "layers.1.attn.wkv.row_scale";
    let cases: [(&str, Option<Stored>, &[&str]); 8] = [
        (
            WEIGHT,
            Some(stored("U8", &[32, 224])),
            &["has shape [32, 224]", "4, 5, 6 or 8 bits"],
        ),
        (
            WEIGHT,
            Some(stored("U8", &[31, 160])),
            &["has shape [31, 160]", "implies [32, 160]"],
        ),
        (
            WEIGHT,
            Some(stored("U8", &[5120])),
            &["has shape [5120]", "4, 5, 6 or 8 bits"],
        ),
        (
            SCALE,
            Some(stored("U8", &[32, 4])),
            &["wkv.scale has shape [32, 4]", "implies [32, 8]"],
        ),
        (
            SCALE,
            Some(stored("F8_E8M0", &[32, 8])),
            &["wkv.scale is F8_E8M0", "expected U8"],
        ),
        (
            SCALE,
            None,
            &["is U8, which needs scales", "wkv.scale is missing"],
        ),
        (
            ROW_SCALE,
            Some(stored("F32", &[32, 1])),
            &["wkv.row_scale has shape [32, 1]", "implies [32]"],
        ),
        (
            ROW_SCALE,
            None,
            &["is U8, which needs scales", "wkv.row_scale is missing"],
        ),
    ];
    let config = config(recorded());
    for (name, replacement, phrases) in cases {
        let mut tensors = tensors(&config);
        match replacement {
            Some(tensor) => drop(tensors.insert(name.to_owned(), tensor)),
            None => drop(tensors.remove(name)),
        }
        let checkpoint = open(&config, &tensors).unwrap();
        let error = checkpoint.matrix("layers.1.attn.wkv", 32, 256).unwrap_err();
        assert_says(name, &error, phrases);
        assert!(!checkpoint.audit().is_complete(), "{name}: the audit notices too");
    }
}

#[test]
fn grouped_integers_need_their_record() {
    let tensors = tensors(&config(recorded()));
    let checkpoint = open(&config(Value::Null), &tensors).unwrap();
    let error = checkpoint.matrix("layers.1.attn.wkv", 32, 256).unwrap_err();
    assert_says(
        "no record",
        &error,
        &["wkv.weight is U8", "no fathom_quantization"],
    );
}
