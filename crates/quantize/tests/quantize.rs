//! Whole checkpoints: re-quantised, opened again, compared.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use fathom_checkpoint::{Checkpoint, Encoding, OpenOptions, Quantization, WeightFormat};
use fathom_kernels::formats::grouped::Bits;
use fathom_model::Numerics;
use fathom_quantize::{
    Conversion, ModelBytes, PromptSource, Prompts, QuantizeError, Receipt, ResultDir, compare,
};
use tempfile::TempDir;

/// The built-in model: every kind of layer, FP8 projections, FP4 experts, most rows a multiple of 128.
fn built_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model")
}

/// A fixture of the model crate: no row is a multiple of 128.
fn mini(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../model/tests/fixtures")
        .join(name)
}

const GROUPED: Quantization = Quantization {
    shared: WeightFormat::Grouped(Bits::Eight),
    ..Quantization::new(
        WeightFormat::Grouped(Bits::Five),
        WeightFormat::Grouped(Bits::Six),
        WeightFormat::Grouped(Bits::Four),
    )
};

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Re-quantises into a new directory.
fn quantize(source: &Path, quantization: Quantization, threads: usize) -> TempDir {
    let parent = TempDir::new().unwrap();
    let source = Checkpoint::open(source).unwrap();
    let conversion = Conversion::new(&source, quantization).unwrap();
    let place = ResultDir::create(&parent.path().join("result"), conversion.bytes()).unwrap();
    conversion
        .write(place.temporary_path(), threads, &mut go_on)
        .unwrap();
    place.write_side_files(&source, quantization).unwrap();
    place.finish().unwrap();
    parent
}

fn tensors(dir: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let tensors = checkpoint.tensors().map(|(name, tensor)| {
        let content = (
            tensor.dtype.to_string(),
            tensor.shape.clone(),
            tensor.data.to_vec(),
        );
        (name.to_owned(), content)
    });
    tensors.collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_asked_for_changes_and_nothing_else() {
    let parent = quantize(&built_in(), GROUPED, 2);
    let dir = parent.path().join("result");
    let result = Checkpoint::open(&dir).unwrap();
    let audit = result.audit();
    assert!(audit.is_complete() && audit.unexpected.count == 0, "{audit:?}");
    let recorded = result.config().quantization.unwrap();
    assert_eq!((recorded.dense, recorded.head), (GROUPED.dense, GROUPED.head));
    assert_eq!(recorded.profile, Some(result.profile().name));
    for file in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        assert_eq!(
            fs::read(dir.join(file)).unwrap(),
            fs::read(built_in().join(file)).unwrap()
        );
    }

    let (before, after) = (tensors(&built_in()), tensors(&dir));
    let is_requantized = |name: &str| {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        after.contains_key(&format!("{module}.row_scale"))
    };
    for (name, content) in &after {
        if !is_requantized(name) {
            assert_eq!(Some(content), before.get(name), "{name} was to be kept");
        }
    }
    for (name, bits) in [
        ("layers.0.attn.wq_a", Bits::Five),
        ("layers.1.attn.indexer.wq_b", Bits::Five),
        ("layers.3.ffn.shared_experts.w1", Bits::Eight),
        ("head", Bits::Six),
        ("layers.2.ffn.experts.31.w3", Bits::Four),
    ] {
        let [rows, groups] = after[&format!("{name}.scale")].1[..] else {
            panic!("{name}")
        };
        let matrix = result.matrix(name, rows, groups * 32).unwrap();
        assert!(
            matches!(matrix.encoding, Encoding::Grouped { bits: found, .. } if found == bits),
            "{name}"
        );
    }
    // 64 columns, and matrices that are never touched.
    for name in [
        "layers.0.ffn.experts.0.w2.weight",
        "layers.0.ffn.gate.weight",
        "layers.1.attn.compressor.wkv.weight",
        "layers.1.attn.indexer.weights_proj.weight",
        "embed.weight",
    ] {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let [one, three] = [1, 3].map(|threads| quantize(&built_in(), GROUPED, threads));
    let (one, three) = (one.path().join("result"), three.path().join("result"));
    assert_eq!(files(&one), files(&three));
    for file in files(&one) {
        assert_eq!(
            fs::read(one.join(&file)).unwrap(),
            fs::read(three.join(&file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn errors_are_those_of_the_written_weights() {
    let source = Checkpoint::open(&built_in()).unwrap();
    for (format, from, to) in [
        ("q8", 0.003, 0.007),
        ("q6", 0.015, 0.03),
        ("q5", 0.03, 0.06),
        ("q4", 0.07, 0.12),
    ] {
        let keep = WeightFormat::Keep;
        let quantization = Quantization::new(format.parse().unwrap(), keep, keep);
        let conversion = Conversion::new(&source, quantization).unwrap();
        assert!(!conversion.kept_narrow.is_empty(), "shared w2 has 64 columns");
        let dir = TempDir::new().unwrap();
        let converted = conversion.write(dir.path(), 2, &mut go_on).unwrap();
        for tensor in converted {
            let error = tensor.error.relative();
            assert!((from..to).contains(&error), "{format} {}: {error}", tensor.part);
            assert_eq!(tensor.from, "FP8");
        }
    }
}

/// FP8 needs no multiple of 128, and comes in layouts of other names.
#[test]
fn fp8_where_the_source_is_bf16() {
    let quantization = Quantization::new(WeightFormat::Fp8, WeightFormat::Fp8, WeightFormat::Keep);
    for name in ["mini-bf16", "mini-transformers", "mini-fp8"] {
        let parent = quantize(&mini(name), quantization, 2);
        let dir = parent.path().join("result");
        let result = Checkpoint::open(&dir).unwrap();
        assert!(result.audit().is_complete(), "{name}: {:?}", result.audit());
        let config = result.config();
        let head = result
            .matrix("head", config.vocab_size, config.hidden_size)
            .unwrap();
        assert!(matches!(head.encoding, Encoding::Fp8 { .. }), "{name}");
        let (view, original) = (head.view(), Checkpoint::open(&mini(name)).unwrap());
        let original = original
            .matrix("head", config.vocab_size, config.hidden_size)
            .unwrap();
        let mut rows = [vec![0.0; config.hidden_size], vec![0.0; config.hidden_size]];
        for row in 0..config.vocab_size {
            view.decode(row, 0, &mut rows[0]);
            original.view().decode(row, 0, &mut rows[1]);
            let amax = rows[1].iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
            assert!(
                rows[0]
                    .iter()
                    .zip(&rows[1])
                    .all(|(a, b)| (a - b).abs() <= amax / 15.0),
                "{name} {row}"
            );
        }
        let prompts = Prompts::of(&result);
        assert!(
            matches!(&prompts.source, PromptSource::Generated { because } if because.contains("no tokenizer"))
        );
        let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
        let comparison = compare(&mini(name), OpenOptions::default(), &dir, &prompts, 2, go_on).unwrap();
        assert!(comparison.weights_alone.kl_mean.is_finite());
    }
}

#[test]
fn a_receipt_has_the_figures() {
    let parent = quantize(&built_in(), GROUPED, 2);
    let dir = parent.path().join("result");
    let [source, result] = [built_in(), dir.clone()].map(|dir| Checkpoint::open(&dir).unwrap());
    let mut prompts = Prompts::of(&source);
    assert_eq!(prompts.source, PromptSource::Text);
    assert!(prompts.ids.iter().all(|ids| ids.len() == 256));
    prompts.ids.iter_mut().for_each(|ids| ids.truncate(40));
    let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
    let comparison = compare(&built_in(), OpenOptions::default(), &dir, &prompts, 2, go_on).unwrap();
    let conversion = Conversion::new(&source, GROUPED).unwrap();
    let tensors = conversion
        .write(TempDir::new().unwrap().path(), 2, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut receipt = Receipt {
        program: "fathom".to_owned(),
        command: vec!["fathom".to_owned(), "quantize".to_owned()],
        source_name: "small".to_owned(),
        profile: "own".to_owned(),
        quantization: GROUPED,
        kept_narrow: conversion.kept_narrow,
        tensors,
        source_bytes: ModelBytes::of(&source),
        result_bytes: ModelBytes::of(&result),
        prompts,
        comparison: Some(comparison),
    };
    let json = receipt.to_json();
    let reference = &json["comparison"]["source"]["reference"];
    assert_eq!(
        (reference["kl_mean"].as_f64(), reference["top1_same"].as_f64()),
        (Some(0.0), Some(1.0))
    );
    assert!(
        json["comparison"]["result"]["reference"]["kl_mean"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    for numerics in Numerics::ALL {
        assert!(
            json["comparison"]["result"][numerics.name()]["nll"]
                .as_f64()
                .unwrap()
                > 0.0
        );
    }
    let ratio = json["bytes"]["per_decoded_token_ratio"].as_f64().unwrap();
    assert!((0.5..0.9).contains(&ratio), "{ratio}");
    assert_eq!(json["accepted"], receipt.accepted());
    assert_eq!(
        json["weights"]["tensors"].as_array().unwrap().len(),
        receipt.tensors.len()
    );
    let text = receipt.to_text();
    for phrase in [
        "formats: dense q5, shared experts q8, head q6",
        "per decoded token",
        "| source, exact |",
        "| layer 3 routed experts |",
    ] {
        assert!(text.contains(phrase), "{text}\nshould say {phrase}");
    }
    receipt.comparison = None;
    assert!(!receipt.accepted(), "what was not measured is not accepted");
    assert!(receipt.to_text().contains("NOT accepted"));
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let refused = |source: &Path, quantization: Quantization| {
        let source = Checkpoint::open(source).unwrap();
        Conversion::new(&source, quantization)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    };
    let narrow = refused(&mini("mini-fp4"), GROUPED);
    assert!(
        narrow.contains("nothing would change") && narrow.contains("multiple of 128"),
        "{narrow}"
    );
    let fp8 = Quantization::new(WeightFormat::Fp8, WeightFormat::Keep, WeightFormat::Keep);
    let same = refused(&built_in(), fp8);
    assert!(same.contains("has the format asked for already"), "{same}");
    let keep = refused(&built_in(), Quantization::NONE);
    assert!(keep.contains("nothing would change"), "{keep}");
    let fused = refused(&mini("mini-transformers"), GROUPED);
    assert!(fused.contains("fused"), "{fused}");
    let parent = quantize(&built_in(), GROUPED, 2);
    let again = refused(&parent.path().join("result"), GROUPED);
    assert!(
        again.contains("was re-quantised before (dense q5, shared experts q8, head q6, routed experts q4)"),
        "{again}"
    );
}

#[test]
fn a_result_s_place_must_be_free() {
    let dir = TempDir::new().unwrap();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), "years of work").unwrap();
    let refused = |path: &Path, needed| ResultDir::create(path, needed).err().unwrap().to_string();
    assert!(refused(&full, 1).contains("is not an empty directory"));
    assert!(refused(&full.join("thesis.txt"), 1).contains("is not an empty directory"));
    assert!(refused(&dir.path().join("no/where"), 1).contains("is no directory. Create it first"));
    let huge = refused(&dir.path().join("new"), u64::MAX);
    assert!(huge.contains("not enough space") || cfg!(not(unix)), "{huge}");
    // What appears while the work goes on is not overwritten.
    let place = ResultDir::create(&dir.path().join("new"), 1).unwrap();
    fs::create_dir(dir.path().join("new")).unwrap();
    fs::write(dir.path().join("new/x"), "").unwrap();
    assert!(place.finish().is_err());
    assert_eq!(files(dir.path()), ["full", "new"]);
}

#[test]
fn stopping_leaves_nothing() {
    let parent = TempDir::new().unwrap();
    let source = Checkpoint::open(&built_in()).unwrap();
    let conversion = Conversion::new(&source, GROUPED).unwrap();
    let place = ResultDir::create(&parent.path().join("result"), 1).unwrap();
    let mut calls = 0;
    let stopped = conversion.write(place.temporary_path(), 2, &mut |_| {
        calls += 1;
        if calls == 20 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(stopped, Err(QuantizeError::Stopped)));
    drop(place);
    assert!(files(parent.path()).is_empty());
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let copy = TempDir::new().unwrap();
    for file in files(&built_in()) {
        fs::copy(built_in().join(&file), copy.path().join(&file)).unwrap();
    }
    let path = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let entry = &entries["layers.2.attn.wq_b.weight"];
    let (start, cols) = (
        entry["data_offsets"][0].as_u64().unwrap(),
        entry["shape"][1].as_u64().unwrap(),
    );
    // E4M3's NaN in row 5.
    bytes[8 + header + (start + 5 * cols) as usize] = 0x7F;
    fs::write(&path, bytes).unwrap();
    let source = Checkpoint::open(copy.path()).unwrap();
    let conversion = Conversion::new(&source, GROUPED).unwrap();
    let error = conversion
        .write(TempDir::new().unwrap().path(), 2, &mut go_on)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor layers.2.attn.wq_b.weight holds a value that is not finite in row 5. The file is damaged: download it again"
    );
}
