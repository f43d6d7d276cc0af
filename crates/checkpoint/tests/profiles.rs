//! Which release a checkpoint is told to be, and when the user is asked.
//!
//! The files carry the tensors a profile is told by and no others: a whole Flash does not fit in a test.

mod support;

use std::fs;

use fathom_checkpoint::{
    Checkpoint, CheckpointError, Draft, EffortTable, KvPacking, OpenOptions, ProfileError, ProfileName,
    PromptEncoding,
};
use serde_json::{Value, json};
use support::{Tensors, assert_says, official_tensors, stored, tiny_config, write_single};
use tempfile::TempDir;

const PREVIEW: &str = "REASONING_EFFORT_MAX = (\n    \"…\"\n)\n";
const OFFICIAL: &str = "REASONING_EFFORT_PROMPTS: Dict[str, str] = {\n    \"low\": \"\",\n}\nDEFAULT_REASONING_EFFORT = \"low\"\n";

fn release(name: &str) -> Value {
    let path = format!("{}/tests/configs/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[derive(Clone, Copy)]
enum Drafter {
    None,
    Mtp,
    Dspark,
}

fn open(
    config: &Value,
    experts: &'static str,
    drafter: Drafter,
    encoder: Option<&str>,
    profile: Option<ProfileName>,
) -> Result<Checkpoint, CheckpointError> {
    let dir = TempDir::new().unwrap();
    let mut tensors = Tensors::new();
    for name in ["embed.weight", "layers.0.ffn.experts.0.w1.weight"] {
        tensors.insert(name.to_owned(), stored(experts, &[1]));
    }
    let (blocks, mark) = match drafter {
        Drafter::None => (0, ""),
        Drafter::Mtp => (1, "mtp.0.enorm.weight"),
        Drafter::Dspark => (3, "mtp.0.main_norm.weight"),
    };
    for block in 0..blocks {
        tensors.insert(format!("mtp.{block}.attn_norm.weight"), stored("BF16", &[1]));
    }
    if blocks > 0 {
        tensors.insert(mark.to_owned(), stored("BF16", &[1]));
    }
    write_single(dir.path(), config, &tensors);
    if let Some(source) = encoder {
        fs::create_dir(dir.path().join("encoding")).unwrap();
        fs::write(dir.path().join("encoding/encoding_dsv4.py"), source).unwrap();
    }
    Checkpoint::open_with(dir.path(), OpenOptions { profile })
}

#[test]
fn releases_are_told_apart() {
    let cases = [
        ("flash", "I8", Drafter::Mtp, Some(PREVIEW), "flash-april"),
        ("flash", "I8", Drafter::Mtp, None, "flash-april"),
        ("flash", "I8", Drafter::None, None, "flash-april"),
        ("pro", "I8", Drafter::Mtp, Some(PREVIEW), "pro-april"),
        ("flash-base", "F8_E4M3", Drafter::Mtp, None, "flash-base"),
        ("flash-base", "F8_E4M3", Drafter::Mtp, Some(PREVIEW), "flash-base"),
        ("flash-0731", "I8", Drafter::Dspark, Some(PREVIEW), "flash-dspark"),
        ("flash-0731", "I8", Drafter::Dspark, Some(OFFICIAL), "flash-0731"),
        ("flash-0731", "I8", Drafter::None, Some(OFFICIAL), "flash-0731"),
        ("pro-0813", "I8", Drafter::Dspark, Some(PREVIEW), "pro-dspark"),
        ("pro-0813", "I8", Drafter::Dspark, Some(OFFICIAL), "pro-0813"),
        // Other spellings of the same configuration.
        ("flash-inference", "I8", Drafter::Mtp, None, "flash-april"),
        ("flash-transformers", "I8", Drafter::Mtp, None, "flash-april"),
    ];
    for (config, experts, drafter, encoder, expected) in cases {
        let checkpoint = open(&release(config), experts, drafter, encoder, None).unwrap();
        let profile = checkpoint.profile();
        assert_eq!(
            profile.name.as_str(),
            expected,
            "{config}, {experts}: {:?}",
            profile.evidence
        );
        let official = expected.ends_with("0731") || expected.ends_with("0813");
        let effort = if official {
            EffortTable::Official
        } else {
            EffortTable::Preview
        };
        let base = expected.ends_with("base");
        let encoding = if base {
            PromptEncoding::Completion
        } else {
            PromptEncoding::V4
        };
        assert_eq!(
            (profile.effort, profile.encoding),
            (effort, encoding),
            "{expected}"
        );
        assert_eq!(profile.kv_packing, KvPacking::Fp8);
        let draft = match drafter {
            Drafter::None => Draft::None,
            Drafter::Mtp => Draft::Mtp { blocks: 1 },
            Drafter::Dspark => Draft::Dspark { stages: 3 },
        };
        assert_eq!(profile.draft, draft, "{expected}");
        assert!(profile.differences.is_empty());
    }
}

#[test]
fn what_cannot_be_told_is_asked() {
    type Case = (
        &'static str,
        &'static str,
        Drafter,
        Option<&'static str>,
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            "flash-0731",
            "I8",
            Drafter::Dspark,
            None,
            &[
                "may be flash-dspark or flash-0731",
                "does not guess",
                "restore encoding/encoding_dsv4.py",
                "--profile flash-dspark",
            ],
        ),
        (
            "pro-0813",
            "I8",
            Drafter::Dspark,
            Some("print('unknown')"),
            &[
                "may be pro-dspark or pro-0813",
                "no known encoding/encoding_dsv4.py",
            ],
        ),
        (
            "flash",
            "BF16",
            Drafter::Mtp,
            None,
            &["may be flash-april or flash-base", "experts are not quantised"],
        ),
        (
            "flash",
            "I8",
            Drafter::Mtp,
            Some(OFFICIAL),
            &[
                "no release of DeepSeek-V4-Flash fits",
                "draft module is MTP",
                "encoding_dsv4.py is the official releases'",
            ],
        ),
        (
            "flash-0731",
            "F8_E4M3",
            Drafter::Dspark,
            Some(OFFICIAL),
            &[
                "no release of DeepSeek-V4-Flash fits",
                "experts are stored as FP8",
                "--profile NAME",
            ],
        ),
    ];
    for (config, experts, drafter, encoder, phrases) in cases {
        let config_name = config;
        let config = release(config);
        let error = open(&config, experts, *drafter, *encoder, None)
            .err()
            .expect(config_name);
        assert!(
            matches!(error, CheckpointError::Profile(_)),
            "{config_name}: {error}"
        );
        assert_says(config_name, &error, phrases);
        // An explicit choice settles it.
        let chosen = if *config_name == "pro-0813" {
            ProfileName::Pro0813
        } else {
            ProfileName::Flash0731
        };
        let checkpoint = open(&config, experts, *drafter, *encoder, Some(chosen)).unwrap();
        assert_eq!(
            (checkpoint.profile().name, checkpoint.profile().effort),
            (chosen, EffortTable::Official)
        );
        assert!(checkpoint.profile().evidence[0].contains("chosen by hand"));
    }
}

#[test]
fn a_choice_of_another_size_is_refused() {
    let error = open(
        &release("flash"),
        "I8",
        Drafter::Mtp,
        None,
        Some(ProfileName::ProApril),
    )
    .err()
    .unwrap();
    assert_says(
        "size",
        &error,
        &["profile pro-april was asked for, but config.json is V4-Flash"],
    );
    let dir = TempDir::new().unwrap();
    write_single(dir.path(), &tiny_config(), &official_tensors(&tiny_config()));
    let options = OpenOptions {
        profile: Some(ProfileName::Flash0731),
    };
    let error = Checkpoint::open_with(dir.path(), options).err().unwrap();
    assert_says("tiny", &error, &["config.json is of no release's size", "or own"]);
}

#[test]
fn sizes_of_no_release_are_own_with_their_differences() {
    let mut config = release("flash");
    config["index_topk"] = json!(256);
    config["num_hash_layers"] = json!(2);
    let checkpoint = open(&config, "I8", Drafter::Mtp, None, None).unwrap();
    let profile = checkpoint.profile();
    assert_eq!(
        (profile.name, profile.effort),
        (ProfileName::Own, EffortTable::Preview)
    );
    let found: Vec<_> = profile
        .differences
        .iter()
        .map(|difference| difference.field)
        .collect();
    assert_eq!(found, ["index_topk", "compress_ratios, num_hash_layers"]);
    assert!(profile.evidence.iter().any(|fact| fact.contains("unreleased")));
}

#[test]
fn our_own_models_name_themselves() {
    let mut config = tiny_config();
    config["fathom_model"] = json!("fathom-small-1");
    config.as_object_mut().unwrap().remove("quantization_config");
    let dir = TempDir::new().unwrap();
    write_single(dir.path(), &config, &official_tensors(&config));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let profile = checkpoint.profile();
    assert_eq!(
        (profile.name, profile.own_name.as_deref()),
        (ProfileName::Own, Some("fathom-small-1"))
    );
    assert_eq!(
        (profile.effort, profile.kv_packing),
        (EffortTable::Preview, KvPacking::Bf16)
    );
}

#[test]
fn profile_names_round_trip() {
    for name in ProfileName::ALL {
        assert_eq!(name.as_str().parse(), Ok(name));
    }
    let error = "flash-0732".parse::<ProfileName>().unwrap_err();
    assert_eq!(
        error,
        ProfileError::UnknownName {
            found: "flash-0732".to_owned()
        }
    );
    for name in ProfileName::ALL {
        assert!(
            error.to_string().contains(name.as_str()),
            "the message lists {name}"
        );
    }
}
