"""Configurations of the synthetic checkpoints that `make_v4.py` writes.

`tiny` and `flash-4l` are working sizes. The `mini-*` models are test fixtures: a few hundred kilobytes each, and
together they give every dimension, every layer order and every storage format at least two different values. Their seeds
are chosen so that no choice of the router or the indexer is closer than 5e-5 in float32: a correct forward has no row off.

Keys with a leading underscore steer the writer and do not reach config.json:
  _seed            seed of the weights
  _one_table       every hash layer has the same expert table (the working sizes were first made so and keep their bits)
  _experts         storage of routed experts: "fp4" | "fp8" (F32 scales) | "bf16"
  _dense           storage of the other linears: "fp8" (UE8M0 scales) | "fp8-mixed" (F32 scales in odd layers) | "bf16"
  _single_file     one model.safetensors instead of shards and an index
  _layout          "official"; "transformers" or "hybrid": rewritten by save_pretrained (make_fixtures.py, needs torch)
"""

import json

COMMON = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "torch_dtype": "bfloat16",
    "num_key_value_heads": 1,
    "hidden_act": "silu",
    "scoring_func": "sqrtsoftplus",
    "norm_topk_prob": True,
    "topk_method": "noaux_tc",
    "routed_scaling_factor": 1.5,
    "hc_mult": 4,
    "hc_sinkhorn_iters": 20,
    "hc_eps": 1e-6,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "compress_rope_theta": 160000,
    "rope_scaling": {
        "type": "yarn",
        "factor": 16,
        "original_max_position_embeddings": 65536,
        "beta_fast": 32,
        "beta_slow": 1,
    },
    "max_position_embeddings": 1048576,
    "num_nextn_predict_layers": 0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "expert_dtype": "fp4",
    "quantization_config": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128],
    },
    "_seed": 4,
    "_experts": "fp4",
    "_dense": "fp8",
    "_single_file": False,
    "_one_table": False,
    "_layout": "official",
}

# Flash's proportions at a size where a forward takes a second.
TINY = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "head_dim": 128,
    "qk_rope_head_dim": 32,
    "q_lora_rank": 128,
    "o_groups": 4,
    "o_lora_rank": 64,
    "index_n_heads": 8,
    "index_head_dim": 64,
    "index_topk": 16,
    "moe_intermediate_size": 128,
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "n_shared_experts": 1,
    "sliding_window": 32,
    "swiglu_limit": 2.0,
    "compress_ratios": [0, 0, 4, 128, 4, 128],
    "num_hash_layers": 3,
    "_one_table": True,
}

# The widths of V4-Flash, four layers, a quarter of the vocabulary.
FLASH_4L = {
    "vocab_size": 32768,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "head_dim": 512,
    "qk_rope_head_dim": 64,
    "q_lora_rank": 1024,
    "o_groups": 8,
    "o_lora_rank": 1024,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "index_topk": 512,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 6,
    "n_shared_experts": 1,
    "sliding_window": 128,
    "swiglu_limit": 10.0,
    "compress_ratios": [0, 4, 128, 4],
    "num_hash_layers": 1,
    "_one_table": True,
}

# The base of the mini models: the smallest one with all three kinds of layer. FP4 experts, FP8 elsewhere, sharded.
MINI_FP4 = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "head_dim": 48,
    "qk_rope_head_dim": 16,
    "q_lora_rank": 32,
    "o_groups": 2,
    "o_lora_rank": 24,
    "index_n_heads": 12,
    "index_head_dim": 32,
    "index_topk": 8,
    "moe_intermediate_size": 32,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "sliding_window": 16,
    "swiglu_limit": 1.0,
    "compress_ratios": [0, 4, 128],
    "num_hash_layers": 1,
    "max_position_embeddings": 4096,
    "_seed": 12,
}

MINIS = {
    "mini-fp4": {},
    # Pro's order (a heavy layer first), no hash layer, nope part of 80 = 64 + 16, two K blocks in wq_b and wo_b
    # (136 and 144 columns), top-k above every visible count, a trailing draft entry in compress_ratios.
    "mini-heavy-first": {
        "hidden_size": 32,
        "vocab_size": 80,
        "num_attention_heads": 2,
        "head_dim": 112,
        "qk_rope_head_dim": 32,
        "q_lora_rank": 136,
        "o_groups": 2,
        "o_lora_rank": 72,
        "index_n_heads": 2,
        "index_head_dim": 64,
        "index_topk": 100,
        "n_routed_experts": 5,
        "num_experts_per_tok": 3,
        "sliding_window": 8,
        "swiglu_limit": 0.5,
        "routed_scaling_factor": 2.5,
        "compress_ratios": [128, 4, 0],
        "num_hidden_layers": 2,
        "num_hash_layers": 0,
        "hc_sinkhorn_iters": 4,
        "hc_eps": 1e-3,
        "_single_file": True,
        "_seed": 11,
    },
    # As the Base checkpoints: FP8 experts with F32 scales; dense scales of both kinds; wide and not a multiple of 128,
    # two shared experts, two residual streams.
    "mini-fp8": {
        "hidden_size": 136,
        "vocab_size": 64,
        "num_attention_heads": 6,
        "head_dim": 40,
        "qk_rope_head_dim": 8,
        "q_lora_rank": 48,
        "o_groups": 3,
        "o_lora_rank": 16,
        "index_n_heads": 8,
        "index_head_dim": 32,
        "index_topk": 5,
        "moe_intermediate_size": 24,
        "n_routed_experts": 3,
        "num_experts_per_tok": 1,
        "n_shared_experts": 2,
        "sliding_window": 32,
        "swiglu_limit": 2.0,
        "compress_ratios": [4, 0, 128],
        "num_hash_layers": 2,
        "hc_mult": 2,
        "rms_norm_eps": 1e-5,
        "_experts": "fp8",
        "_dense": "fp8-mixed",
        "_seed": 12,
    },
    # Nothing quantised, every layer hash-routed, no YaRN, sizes that are multiples of 8 only.
    "mini-bf16": {
        "hidden_size": 40,
        "vocab_size": 100,
        "num_attention_heads": 3,
        "head_dim": 40,
        "qk_rope_head_dim": 16,
        "q_lora_rank": 24,
        "o_groups": 1,
        "o_lora_rank": 40,
        "index_n_heads": 6,
        "index_topk": 3,
        "moe_intermediate_size": 16,
        "n_routed_experts": 6,
        "num_experts_per_tok": 4,
        "sliding_window": 8,
        "swiglu_limit": 0.75,
        "compress_ratios": [4, 128, 4],
        "num_hash_layers": 3,
        "rope_scaling": None,
        "rope_theta": 5000,
        "compress_rope_theta": 40000,
        "_experts": "bf16",
        "_dense": "bf16",
        "_single_file": True,
        "_seed": 16,
    },
    # Window attention alone: the first model to get right. Intermediate size of 160 = 128 + 32 columns.
    "mini-window": {
        "num_attention_heads": 1,
        "head_dim": 80,
        "qk_rope_head_dim": 8,
        "o_groups": 1,
        "o_lora_rank": 32,
        "moe_intermediate_size": 160,
        "n_routed_experts": 3,
        "num_experts_per_tok": 2,
        "compress_ratios": [0, 0],
        "num_hash_layers": 1,
        "hc_mult": 3,
        "hc_sinkhorn_iters": 1,
        "hc_eps": 1e-2,
        "swiglu_limit": 10.0,
        "sliding_window": 8,
        "_single_file": True,
        "_seed": 11,
    },
    # Two sparse layers in a row, then a heavy one: the order that reads compressed entries of compressed layers.
    # A short YaRN range so that the ramp falls inside eight frequencies.
    "mini-sparse": {
        "hidden_size": 32,
        "vocab_size": 128,
        "num_attention_heads": 8,
        "head_dim": 32,
        "qk_rope_head_dim": 16,
        "q_lora_rank": 40,
        "o_groups": 4,
        "o_lora_rank": 8,
        "index_n_heads": 8,
        "index_head_dim": 64,
        "index_topk": 16,
        "moe_intermediate_size": 32,
        "n_routed_experts": 7,
        "num_experts_per_tok": 6,
        "sliding_window": 32,
        "swiglu_limit": 1.5,
        "compress_ratios": [4, 4, 0, 128],
        "num_hash_layers": 1,
        "rope_scaling": {
            "type": "yarn",
            "factor": 4,
            "original_max_position_embeddings": 1024,
            "beta_fast": 32,
            "beta_slow": 1,
        },
        "_seed": 12,
    },
    # The transformers layout: fused gate_up_proj, BF16 linears, F32 norms and mHC.
    "mini-transformers": {
        "hidden_size": 48,
        "vocab_size": 72,
        "num_attention_heads": 4,
        "head_dim": 32,
        "qk_rope_head_dim": 8,
        "q_lora_rank": 40,
        "o_groups": 2,
        "o_lora_rank": 16,
        "index_n_heads": 5,
        "index_topk": 6,
        "moe_intermediate_size": 24,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "compress_ratios": [128, 0, 4],
        "num_hash_layers": 1,
        "_experts": "bf16",
        "_dense": "bf16",
        "_single_file": True,
        "_layout": "transformers",
        "_seed": 27,
    },
    # What save_pretrained writes unless told otherwise: official leaf names mixed with the library's own.
    "mini-hybrid": {
        "hidden_size": 32,
        "vocab_size": 64,
        "head_dim": 24,
        "qk_rope_head_dim": 8,
        "q_lora_rank": 16,
        "index_n_heads": 6,
        "moe_intermediate_size": 16,
        "n_routed_experts": 3,
        "num_experts_per_tok": 2,
        "compress_ratios": [4, 128],
        "num_hash_layers": 1,
        "_experts": "bf16",
        "_dense": "bf16",
        "_single_file": True,
        "_layout": "hybrid",
        "_seed": 17,
    },
}

PRESETS = {
    "tiny": {**COMMON, **TINY},
    "flash-4l": {**COMMON, **FLASH_4L},
    **{name: {**COMMON, **MINI_FP4, **changes} for name, changes in MINIS.items()},
}


def preset(name, overrides=()):
    """The named preset with `key=value` overrides applied: (config for config.json, writer options)."""
    values = dict(PRESETS[name])
    for override in overrides:
        key, text = override.split("=", 1)
        values[key] = [int(x) for x in text.split(",")] if key == "compress_ratios" else json.loads(text)
    # An explicit layer count leaves the rest of compress_ratios to draft blocks; otherwise the list decides.
    if not any(o.startswith("num_hidden_layers=") for o in overrides) and "num_hidden_layers" not in PRESETS[name]:
        values["num_hidden_layers"] = len(values["compress_ratios"])
    if values["_experts"] != "fp4":
        values.pop("expert_dtype", None)
    if values["_dense"] == "bf16":
        values.pop("quantization_config", None)
    options = {key: values.pop(key) for key in list(values) if key.startswith("_")}
    if values["rope_scaling"] is None:
        del values["rope_scaling"]
    return values, options
