#!/usr/bin/env python3
"""Converts a DeepSeek-V4 checkpoint in the official layout to the GGUF that llama.cpp reads (architecture "deepseek4").

    to_gguf.py DIR OUT.gguf

As llama.cpp's own converter does by default: routed experts FP4 to MXFP4 (bits moved, lossless), FP8 to Q8_0, BF16 and
F32 kept. One tensor, or one layer's stack of experts, is in memory at a time. Needs numpy and gguf.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "oracle"))
from v4io import Checkpoint  # noqa: E402

MOSTLY_MXFP4 = 38  # general.file_type

OUTSIDE_LAYERS = {
    "embed.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "head.weight": "output.weight",
    "hc_head_fn": "output_hc_fn.weight",
    "hc_head_base": "output_hc_base.weight",
    "hc_head_scale": "output_hc_scale.weight",
}
IN_LAYER = {
    "hc_attn_fn": "hc_attn_fn.weight",
    "hc_attn_base": "hc_attn_base.weight",
    "hc_attn_scale": "hc_attn_scale.weight",
    "hc_ffn_fn": "hc_ffn_fn.weight",
    "hc_ffn_base": "hc_ffn_base.weight",
    "hc_ffn_scale": "hc_ffn_scale.weight",
    "attn_norm.weight": "attn_norm.weight",
    "attn.attn_sink": "attn_sinks.weight",
    "attn.wq_a.weight": "attn_q_a.weight",
    "attn.wq_b.weight": "attn_q_b.weight",
    "attn.q_norm.weight": "attn_q_a_norm.weight",
    "attn.wkv.weight": "attn_kv.weight",
    "attn.kv_norm.weight": "attn_kv_a_norm.weight",
    "attn.wo_a.weight": "attn_output_a.weight",
    "attn.wo_b.weight": "attn_output_b.weight",
    "attn.compressor.ape": "attn_compressor_ape.weight",
    "attn.compressor.wkv.weight": "attn_compressor_kv.weight",
    "attn.compressor.wgate.weight": "attn_compressor_gate.weight",
    "attn.compressor.norm.weight": "attn_compressor_norm.weight",
    "attn.indexer.wq_b.weight": "indexer.attn_q_b.weight",
    "attn.indexer.weights_proj.weight": "indexer.proj.weight",
    "attn.indexer.compressor.ape": "indexer_compressor_ape.weight",
    "attn.indexer.compressor.wkv.weight": "indexer_compressor_kv.weight",
    "attn.indexer.compressor.wgate.weight": "indexer_compressor_gate.weight",
    "attn.indexer.compressor.norm.weight": "indexer_compressor_norm.weight",
    "ffn_norm.weight": "ffn_norm.weight",
    "ffn.gate.weight": "ffn_gate_inp.weight",
    "ffn.gate.bias": "exp_probs_b.bias",
    "ffn.gate.tid2eid": "ffn_gate_tid2eid.weight",
    "ffn.shared_experts.w1.weight": "ffn_gate_shexp.weight",
    "ffn.shared_experts.w2.weight": "ffn_down_shexp.weight",
    "ffn.shared_experts.w3.weight": "ffn_up_shexp.weight",
}
EXPERT_STACKS = {"w1": "ffn_gate_exps.weight", "w2": "ffn_down_exps.weight", "w3": "ffn_up_exps.weight"}
FIRST_EXPERT = re.compile(r"ffn\.experts\.(\d+)\.(w[123])\.weight")

# GGUF key after "deepseek4." : config.json key
INTEGERS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "rope.dimension_count": "qk_rope_head_dim",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.sliding_window": "sliding_window",
    "expert_count": "n_routed_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "attention.indexer.head_count": "index_n_heads",
    "attention.indexer.key_length": "index_head_dim",
    "attention.indexer.top_k": "index_topk",
    "attention.output_group_count": "o_groups",
    "attention.output_lora_rank": "o_lora_rank",
    "hyper_connection.count": "hc_mult",
    "hyper_connection.sinkhorn_iterations": "hc_sinkhorn_iters",
    "hash_layer_count": "num_hash_layers",
    "vocab_size": "vocab_size",
}
FLOATS = {
    "rope.freq_base": "rope_theta",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "expert_weights_scale": "routed_scaling_factor",
    "hyper_connection.epsilon": "hc_eps",
    "attention.compress_rope_freq_base": "compress_rope_theta",
}
GATING_SQRT_SOFTPLUS = 4


def mxfp4(codes, scales):
    """FP4 as published (low nibble even element, a scale per 32) as ggml's blocks: the scale, then 16 bytes whose low
    nibbles are elements 0 to 15 and whose high nibbles are 16 to 31."""
    rows, groups = scales.shape
    pairs = codes.reshape(rows, groups, 16)
    elements = np.empty((rows, groups, 32), np.uint8)
    elements[:, :, 0::2], elements[:, :, 1::2] = pairs & 15, pairs >> 4
    blocks = np.empty((rows, groups, 17), np.uint8)
    blocks[:, :, 0] = scales
    blocks[:, :, 1:] = elements[:, :, :16] | (elements[:, :, 16:] << 4)
    return blocks.reshape(rows, groups * 17)


def add_metadata(writer, config):
    layers = len(config["compress_ratios"])
    prefix = "deepseek4."
    for key, field in INTEGERS.items():
        writer.add_uint32(prefix + key, int(config[field]))
    for key, field in FLOATS.items():
        writer.add_float32(prefix + key, float(config[field]))
    writer.add_uint32(prefix + "block_count", layers)
    writer.add_uint32(prefix + "embedding_length_out", config["hidden_size"] * config["hc_mult"])
    writer.add_uint32(prefix + "attention.head_count_kv", 1)
    writer.add_uint32(prefix + "expert_gating_func", GATING_SQRT_SOFTPLUS)
    scaling = config.get("rope_scaling") or {}
    if scaling.get("type", scaling.get("rope_type")) == "yarn":
        writer.add_string(prefix + "rope.scaling.type", "yarn")
        original = scaling["original_max_position_embeddings"]
        writer.add_uint32(prefix + "rope.scaling.original_context_length", int(original))
        writer.add_float32(prefix + "rope.scaling.factor", float(scaling["factor"]))
        writer.add_float32(prefix + "rope.scaling.yarn_beta_fast", float(scaling["beta_fast"]))
        writer.add_float32(prefix + "rope.scaling.yarn_beta_slow", float(scaling["beta_slow"]))
    writer.add_bool(prefix + "expert_weights_norm", config["norm_topk_prob"])
    clamps = [float(config["swiglu_limit"])] * layers
    writer.add_array(prefix + "swiglu_clamp_exp", clamps)
    writer.add_array(prefix + "swiglu_clamp_shexp", clamps)
    writer.add_array(prefix + "attention.compress_ratios", [int(ratio) for ratio in config["compress_ratios"]])
    writer.add_uint32("general.file_type", MOSTLY_MXFP4)
    writer.add_uint32("general.quantization_version", 2)


def add_tokenizer(writer, directory, config):
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"] for token in tokenizer["added_tokens"]}
    ids = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer["added_tokens"]})
    tokens = [f"<unused_{i}>" for i in range(config["vocab_size"])]
    for token, i in ids.items():
        tokens[i] = token
    kinds = [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "deepseek-v3")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [int(kind) for kind in kinds])
    writer.add_array("tokenizer.ggml.merges", merges)
    writer.add_uint32("tokenizer.ggml.bos_token_id", config["bos_token_id"])
    writer.add_uint32("tokenizer.ggml.eos_token_id", config["eos_token_id"])
    writer.add_bool("tokenizer.ggml.add_bos_token", True)


def tensors(checkpoint):
    """Yields (GGUF name, shape, numpy dtype or ggml type, function that makes the data)."""
    experts = checkpoint.config["n_routed_experts"]

    def stack(stem):
        parts = [stem.format(e) for e in range(experts)]
        stored = ((checkpoint.storage(p + ".weight"), checkpoint.storage(p + ".scale")) for p in parts)
        return np.stack([mxfp4(codes, scales) for codes, scales in stored])

    for name in checkpoint.names():
        if name.endswith(".scale") or name.startswith("mtp."):
            continue
        layer = re.fullmatch(r"layers\.(\d+)\.(.+)", name)
        within, prefix = (layer[2], f"blk.{layer[1]}.") if layer else (name, "")
        dtype, shape = checkpoint.dtype(name), checkpoint.shape(name)
        if expert := FIRST_EXPERT.fullmatch(within):
            if expert[1] == "0":
                if dtype != "I8":
                    raise SystemExit(f"{name} is {dtype}: only FP4 experts are converted")
                stem = f"layers.{layer[1]}.ffn.experts.{{}}.{expert[2]}"
                full = (experts, shape[0], 2 * shape[1])
                yield prefix + EXPERT_STACKS[expert[2]], full, Type.MXFP4, lambda stem=stem: stack(stem)
            continue
        target = prefix + IN_LAYER[within] if layer else OUTSIDE_LAYERS[name]
        if within == "ffn.gate.tid2eid":
            yield target, shape, np.int32, lambda name=name: checkpoint.storage(name).astype(np.int32)
        elif dtype == "F32" or (dtype == "BF16" and len(shape) == 1):
            yield target, shape, np.float32, lambda name=name: checkpoint.f32(name)
        elif dtype == "BF16":
            yield target, shape, Type.BF16, lambda name=name: checkpoint.storage(name).view(np.uint8)
        else:
            yield target, shape, Type.Q8_0, lambda name=name: gguf.quants.quantize(checkpoint.f32(name), Type.Q8_0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    checkpoint = Checkpoint(args.directory)
    writer = gguf.GGUFWriter(args.out, "deepseek4")
    writer.add_string("general.name", args.directory.resolve().name)
    add_metadata(writer, checkpoint.config)
    add_tokenizer(writer, args.directory, checkpoint.config)
    jobs = []
    for name, shape, kind, make in tensors(checkpoint):
        if isinstance(kind, Type):
            stored = gguf.quant_shape_to_byte_shape(shape, kind)
            writer.add_tensor_info(name, list(stored), np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
        else:
            writer.add_tensor_info(name, list(shape), np.dtype(kind), 4 * int(np.prod(shape)))
        jobs.append((name, make))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for i, (name, make) in enumerate(jobs, 1):
        writer.write_tensor_data(np.ascontiguousarray(make()))
        if "_exps" in name:
            print(f"{i} of {len(jobs)} tensors: {name}", file=sys.stderr)
    writer.close()


if __name__ == "__main__":
    main()
