//! Configurations: three spellings of one model, and everything that is refused.

mod support;

use fathom_checkpoint::{Attention, Config, ConfigError, Dspark, Routing, Yarn};
use serde_json::{Value, json};
use support::{assert_says, tiny_config};

fn release(name: &str) -> Config {
    let path = format!("{}/tests/configs/{name}.json", env!("CARGO_MANIFEST_DIR"));
    Config::from_json(&std::fs::read(path).unwrap()).unwrap()
}

fn parse(config: &Value) -> Result<Config, ConfigError> {
    Config::from_json(config.to_string().as_bytes())
}

#[test]
fn all_spellings_give_the_same_model() {
    let official = release("flash");
    for name in ["flash-inference", "flash-transformers"] {
        let other = release(name);
        assert_eq!(other.expert_dtype.as_deref(), Some("fp4"), "{name}");
        assert_eq!(
            Config {
                raw: official.raw.clone(),
                ..other
            },
            official,
            "{name}"
        );
    }
    assert_eq!(
        official.yarn,
        Some(Yarn {
            factor: 16.0,
            original_max_position_embeddings: 65536,
            beta_fast: 32.0,
            beta_slow: 1.0
        })
    );
}

#[test]
fn dspark_settings_are_read() {
    let dspark = |layers: [usize; 3], rank| Dspark {
        block_size: 5,
        noise_token_id: 128_799,
        target_layer_ids: layers.to_vec(),
        markov_rank: rank,
        stages: 3,
    };
    assert_eq!(release("flash-0731").dspark, Some(dspark([40, 41, 42], 256)));
    assert_eq!(release("pro-0813").dspark, Some(dspark([58, 59, 60], 512)));
    assert_eq!(release("flash").dspark, None);
}

#[test]
fn schedules_follow_either_spelling() {
    let mut config = tiny_config();
    let expected = [
        (Attention::Window, Routing::Hash),
        (Attention::Sparse { ratio: 4 }, Routing::Biased),
        (Attention::Heavy { ratio: 128 }, Routing::Biased),
    ];
    let schedule = |config: &Value| {
        parse(config)
            .unwrap()
            .layers
            .iter()
            .map(|layer| (layer.attention, layer.routing))
            .collect::<Vec<_>>()
    };
    assert_eq!(schedule(&config), expected);
    let object = config.as_object_mut().unwrap();
    object.remove("compress_ratios");
    object.remove("num_hash_layers");
    config["layer_types"] = json!([
        "sliding_attention",
        "compressed_sparse_attention",
        "heavily_compressed_attention"
    ]);
    config["mlp_layer_types"] = json!(["hash_moe", "moe", "moe"]);
    config["compress_rates"] = json!({"compressed_sparse_attention": 4, "heavily_compressed_attention": 128});
    assert_eq!(schedule(&config), expected);
    // A sparse layer of another ratio exists only in this spelling.
    config["compress_rates"]["compressed_sparse_attention"] = json!(8);
    assert_eq!(schedule(&config)[1].0, Attention::Sparse { ratio: 8 });
}

#[test]
fn harmless_variations_are_accepted() {
    for (key, value) in [
        ("rope_theta", json!(10000.0)),
        ("vocab_size", json!(40.0)),
        ("eos_token_id", json!([1])),
        ("bos_token_id", json!(null)),
        ("num_hash_layers", json!(7)),
        ("rope_scaling", json!(null)),
        ("an_unknown_key", json!({"a": [1, 2, 3]})),
    ] {
        let mut config = tiny_config();
        config[key] = value.clone();
        assert!(parse(&config).is_ok(), "{key} = {value}: {:?}", parse(&config));
    }
}

#[test]
fn other_architectures_are_refused_by_name() {
    let cases: &[(Value, &[&str])] = &[
        (
            json!({"model_type": "deepseek_v41", "text_config": {}}),
            &[
                "a deepseek_v41 model",
                "different architecture despite its name",
                "DeepSeek-V4-Flash",
            ],
        ),
        (
            json!({"model_type": "deepseek_v3"}),
            &["a deepseek_v3 model", "llama.cpp or vLLM"],
        ),
        (
            json!({"model_type": "deepseek_v32"}),
            &["a deepseek_v32 model", "llama.cpp or vLLM"],
        ),
        (
            json!({"model_type": "llama"}),
            &[
                "a llama model",
                "model_type \"deepseek_v4\"",
                "Use a DeepSeek-V4 checkpoint",
            ],
        ),
        (
            json!({"architectures": ["Qwen3ForCausalLM"]}),
            &["a Qwen3ForCausalLM model"],
        ),
        (
            json!({}),
            &["a nameless model", "neither model_type nor architectures"],
        ),
        (
            json!({"model_type": "deepseek_v4", "vision_config": {}}),
            &["Image input is not supported"],
        ),
        (json!({"model_type": 4}), &["model_type must be a string"]),
    ];
    for (config, phrases) in cases {
        let error = parse(config).unwrap_err();
        assert_says(&config.to_string(), &error, phrases);
    }
}

#[test]
fn every_number_has_a_range() {
    let sizes = [
        "vocab_size",
        "hidden_size",
        "num_attention_heads",
        "head_dim",
        "qk_rope_head_dim",
        "q_lora_rank",
        "o_groups",
        "o_lora_rank",
        "index_n_heads",
        "index_head_dim",
        "index_topk",
        "moe_intermediate_size",
        "n_routed_experts",
        "num_experts_per_tok",
        "sliding_window",
        "max_position_embeddings",
        "hc_mult",
        "hc_sinkhorn_iters",
        "num_hidden_layers",
    ];
    for key in sizes {
        for bad in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("4"),
            json!(1e18),
            json!([4]),
            json!(true),
        ] {
            let mut config = tiny_config();
            config[key] = bad.clone();
            let error = parse(&config).expect_err(key);
            assert_says(&format!("{key} = {bad}"), &error, &[key, "must be", "found"]);
        }
    }
    for key in [
        "swiglu_limit",
        "routed_scaling_factor",
        "hc_eps",
        "rms_norm_eps",
        "rope_theta",
        "compress_rope_theta",
    ] {
        for bad in [json!(0), json!(-1.0), json!(1e200), json!("1"), json!(false)] {
            let mut config = tiny_config();
            config[key] = bad.clone();
            let error = parse(&config).expect_err(key);
            assert_says(
                &format!("{key} = {bad}"),
                &error,
                &[key, "a number above zero", "found"],
            );
        }
    }
}

#[test]
fn missing_keys_are_named_with_their_other_spellings() {
    for (key, phrase) in [
        ("vocab_size", "config.json has no vocab_size. Restore"),
        ("hidden_size", "no hidden_size (or dim)"),
        (
            "moe_intermediate_size",
            "no moe_intermediate_size (or moe_inter_dim)",
        ),
        ("compress_ratios", "no compress_ratios (or layer_types)"),
        ("num_hash_layers", "no num_hash_layers (or n_hash_layers)"),
        ("compress_rope_theta", "no compress_rope_theta"),
        ("qk_rope_head_dim", "no qk_rope_head_dim (or rope_head_dim)"),
    ] {
        let mut config = tiny_config();
        config.as_object_mut().unwrap().remove(key);
        assert_says(key, &parse(&config).expect_err(key), &[phrase]);
    }
}

#[test]
fn contradictions_and_unsupported_settings_are_refused() {
    let cases: &[(&str, Value, &[&str])] = &[
        (
            "hidden_act",
            json!("gelu"),
            &["hidden_act is \"gelu\"", "every DeepSeek-V4 model has \"silu\""],
        ),
        (
            "scoring_func",
            json!("sigmoid"),
            &["scoring_func is \"sigmoid\"", "sqrtsoftplus"],
        ),
        ("topk_method", json!("greedy"), &["topk_method", "noaux_tc"]),
        ("attention_bias", json!(true), &["attention_bias is true"]),
        ("num_key_value_heads", json!(8), &["num_key_value_heads is 8"]),
        (
            "n_shared_experts",
            json!(0),
            &["n_shared_experts must be a whole number from 1", "found 0"],
        ),
        (
            "o_groups",
            json!(3),
            &["o_groups must be a divisor of num_attention_heads (4), found 3"],
        ),
        (
            "qk_rope_head_dim",
            json!(15),
            &["qk_rope_head_dim must be an even number from 2 to head_dim (32), found 15"],
        ),
        (
            "qk_rope_head_dim",
            json!(64),
            &["from 2 to head_dim (32), found 64"],
        ),
        (
            "index_head_dim",
            json!(24),
            &["index_head_dim must be a power of two", "found 24"],
        ),
        (
            "index_head_dim",
            json!(8),
            &["at least qk_rope_head_dim (16), found 8"],
        ),
        (
            "num_experts_per_tok",
            json!(5),
            &["num_experts_per_tok must be at most n_routed_experts (4), found 5"],
        ),
        (
            "compress_ratios",
            json!([0, 4]),
            &[
                "compress_ratios must be at least one entry for each of the 3 layers",
                "2 entries",
            ],
        ),
        (
            "compress_ratios",
            json!([0, 4, 128, 4]),
            &["0 for every draft block", "found 4"],
        ),
        (
            "compress_ratios",
            json!([0, 4, 1_000_000]),
            &["ratios of at most 65536"],
        ),
        (
            "compress_ratios",
            json!([0, -4, 1]),
            &["compress_ratios must be a list"],
        ),
        (
            "compress_ratios",
            json!(vec![0; 5000]),
            &[
                "a list of at most 1024 whole numbers",
                "found a list of 5000 values",
            ],
        ),
        (
            "layer_types",
            json!(["sliding_attention"]),
            &["layer_types must be a list with one entry for each of the 3 layers"],
        ),
        (
            "layer_types",
            json!(["sliding_attention", "sliding_attention", "linear_attention"]),
            &["found \"linear_attention\""],
        ),
        (
            "layer_types",
            json!(["sliding_attention", "sliding_attention", "sliding_attention"]),
            &[
                "contradicts itself",
                "compress_ratios makes layer 1 Sparse",
                "layer_types makes it Window",
            ],
        ),
        (
            "layer_types",
            json!([
                "sliding_attention",
                "compressed_sparse_attention",
                "sliding_attention"
            ]),
            &["no compress_rates"],
        ),
        (
            "mlp_layer_types",
            json!(["moe", "moe", "dense"]),
            &["mlp_layer_types must be hash_moe or moe, found \"dense\""],
        ),
        (
            "bos_token_id",
            json!(40),
            &["bos_token_id must be one token id below vocab_size (40), found 40"],
        ),
        (
            "eos_token_id",
            json!([1, 2]),
            &["eos_token_id must be one token id", "found [1,2]"],
        ),
        (
            "rope_scaling",
            json!({"type": "linear", "factor": 2}),
            &["rope_scaling.type is \"linear\""],
        ),
        (
            "rope_scaling",
            json!({"type": "yarn", "factor": 16}),
            &["no rope_scaling.original_max_position_embeddings"],
        ),
        (
            "rope_scaling",
            json!({"type": "yarn", "factor": 0.5, "original_max_position_embeddings": 1}),
            &["rope_scaling.factor must be a number of at least 1"],
        ),
        (
            "rope_scaling",
            json!({"type": "yarn", "factor": 2, "original_max_position_embeddings": 64, "mscale": 0.7}),
            &["rope_scaling.mscale is 0.7", "no amplitude factor"],
        ),
        (
            "norm_topk_prob",
            json!(1),
            &["norm_topk_prob must be true or false"],
        ),
        ("dspark_block_size", json!(5), &["no dspark_target_layer_ids"]),
    ];
    for (key, value, phrases) in cases {
        let mut config = tiny_config();
        config[*key] = value.clone();
        let error = parse(&config).expect_err(&format!("{key} = {value}"));
        assert_says(&format!("{key} = {value}"), &error, phrases);
    }
    let mut config = tiny_config();
    for (key, value) in [
        ("dspark_block_size", json!(5)),
        ("dspark_noise_token_id", json!(7)),
        ("dspark_target_layer_ids", json!([0, 3])),
        ("dspark_markov_rank", json!(4)),
    ] {
        config[key] = value;
    }
    let error = parse(&config).unwrap_err();
    assert_says(
        "tap beyond the backbone",
        &error,
        &["layers below num_hidden_layers (3), found 3"],
    );
}

#[test]
fn what_is_no_json_object_is_refused() {
    for (bytes, phrase) in [
        (&b""[..], "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "expected an object, found []"),
        (b"\xFF\xFE", "not valid JSON"),
        (b"{\"vocab_size\": 1e999}", "not valid JSON"),
    ] {
        assert_says(
            "JSON",
            &Config::from_json(bytes).unwrap_err(),
            &["config.json", phrase],
        );
    }
}
