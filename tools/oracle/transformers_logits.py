#!/usr/bin/env python3
"""Logits of an official-layout V4 checkpoint from transformers' `deepseek_v4`, in float32 with eager attention.

    transformers_logits.py logits DIR --ids F.i32 --out F.f32 [--chunk N] [--threads N]
    transformers_logits.py save DIR OUT      the same weights in the transformers layout (save_pretrained)

This is the oracle of the `exact` numerics: no activation quantisation, no Hadamard transform, no FP8 KV. Weights are
dequantised here (v4io.py) and placed in the module by name, so no quantiser of the library takes part.
Input and output are raw little-endian: int32 ids, float32 logits [tokens, vocab_size].
"""

import argparse
import re
import sys
import time

import numpy as np
import torch
from torch import nn
from transformers import DeepseekV4Config, DeepseekV4ForCausalLM
from transformers.cache_utils import DynamicCache

from v4io import Checkpoint

# Official name -> transformers name (spec section 10.6): whole names first, then rewrites of names below `layers.N.`.
TOP_LEVEL = {
    "embed.weight": "model.embed_tokens.weight",
    "head.weight": "lm_head.weight",
    "norm.weight": "model.norm.weight",
    "hc_head_fn": "model.hc_head.hc_fn",
    "hc_head_base": "model.hc_head.hc_base",
    "hc_head_scale": "model.hc_head.hc_scale",
}
IN_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn.attn_sink": "self_attn.sinks",
    "attn.wq_a.weight": "self_attn.q_a_proj.weight",
    "attn.q_norm.weight": "self_attn.q_a_norm.weight",
    "attn.wq_b.weight": "self_attn.q_b_proj.weight",
    "attn.wkv.weight": "self_attn.kv_proj.weight",
    "attn.kv_norm.weight": "self_attn.kv_norm.weight",
    "attn.wo_a.weight": "self_attn.o_a_proj.weight",
    "attn.wo_b.weight": "self_attn.o_b_proj.weight",
    "attn.indexer.wq_b.weight": "self_attn.compressor.indexer.q_b_proj.weight",
    "attn.indexer.weights_proj.weight": "self_attn.compressor.indexer.scorer.weights_proj.weight",
    "ffn.gate.weight": "mlp.gate.weight",
    "ffn.gate.bias": "mlp.gate.e_score_correction_bias",
    "ffn.gate.tid2eid": "mlp.gate.tid2eid",
    "ffn.shared_experts.w1.weight": "mlp.shared_experts.gate_proj.weight",
    "ffn.shared_experts.w2.weight": "mlp.shared_experts.down_proj.weight",
    "ffn.shared_experts.w3.weight": "mlp.shared_experts.up_proj.weight",
}
COMPRESSORS = {"attn.compressor": "self_attn.compressor", "attn.indexer.compressor": "self_attn.compressor.indexer"}
for official, module in COMPRESSORS.items():
    IN_LAYER |= {
        f"{official}.wkv.weight": f"{module}.kv_proj.weight",
        f"{official}.wgate.weight": f"{module}.gate_proj.weight",
        f"{official}.ape": f"{module}.position_bias",
        f"{official}.norm.weight": f"{module}.kv_norm.weight",
    }
for site in ("attn", "ffn"):
    IN_LAYER |= {f"hc_{site}_{part}": f"{site}_hc.{part}" for part in ("fn", "base", "scale")}

# What transformers itself keeps in float32 when the rest of the model is BF16.
KEPT_F32 = ("norm", "_hc.", "hc_head", "sinks", "position_bias", "e_score_correction_bias")


def transformers_config(config):
    """DeepseekV4Config of an official config.json; the YaRN block becomes the parameters of the `compress` RoPE."""
    fields = dict(config)
    for key in ("quantization_config", "expert_dtype", "architectures", "torch_dtype", "topk_method"):
        fields.pop(key, None)
    scaling = fields.pop("rope_scaling", None)
    if scaling:
        fields["rope_parameters"] = {k: v for k, v in scaling.items() if k != "type"} | {"rope_type": scaling["type"]}
    # Entries beyond the backbone belong to draft blocks, which transformers does not build.
    fields["compress_ratios"] = fields["compress_ratios"][: fields["num_hidden_layers"]]
    built = DeepseekV4Config(**fields)
    built._attn_implementation = "eager"
    return built


def state_dict(checkpoint):
    """Every tensor dequantised to float32 under its transformers name; routed experts stacked and fused."""
    state, stacks = {}, {}
    for name in checkpoint.names():
        if name.endswith(".scale") or name.startswith("mtp."):
            continue  # scales go with their weights; transformers builds no draft module
        if name in TOP_LEVEL:
            state[TOP_LEVEL[name]] = torch.from_numpy(checkpoint.f32(name).copy())
            continue
        layer, rest = re.fullmatch(r"layers\.(\d+)\.(.+)", name).groups()
        expert = re.fullmatch(r"ffn\.experts\.(\d+)\.(w[123])\.weight", rest)
        if expert:
            stacks.setdefault((layer, expert[2]), {})[int(expert[1])] = torch.from_numpy(checkpoint.f32(name).copy())
        elif rest == "ffn.gate.tid2eid":
            state[f"model.layers.{layer}.{IN_LAYER[rest]}"] = torch.from_numpy(checkpoint.storage(name).astype(np.int64))
        else:
            state[f"model.layers.{layer}.{IN_LAYER[rest]}"] = torch.from_numpy(checkpoint.f32(name).copy())
    for layer in {layer for layer, _ in stacks}:
        w1, w2, w3 = (torch.stack([e for _, e in sorted(stacks[layer, w].items())]) for w in ("w1", "w2", "w3"))
        state[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = torch.cat([w1, w3], dim=1)
        state[f"model.layers.{layer}.mlp.experts.down_proj"] = w2
    return state


def load(directory):
    """(checkpoint, model) in float32 on the CPU."""
    checkpoint = Checkpoint(directory)
    config = transformers_config(checkpoint.config)
    with torch.device("meta"):
        model = DeepseekV4ForCausalLM(config)
        shared = checkpoint.config["n_shared_experts"]
        if shared != 1:
            # The library builds one shared expert whatever the config says; the family's convention is one of n times the width.
            width, hidden = config.moe_intermediate_size * shared, config.hidden_size
            for layer in model.model.layers:
                mlp = layer.mlp.shared_experts
                mlp.gate_proj, mlp.up_proj = nn.Linear(hidden, width, bias=False), nn.Linear(hidden, width, bias=False)
                mlp.down_proj = nn.Linear(width, hidden, bias=False)
    state, expected = state_dict(checkpoint), model.state_dict()
    if set(state) != set(expected):
        raise ValueError(f"tensor names differ: {sorted(set(state) ^ set(expected))[:20]}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{name}: checkpoint {tuple(tensor.shape)}, module {tuple(expected[name].shape)}")
    model.load_state_dict(state, assign=True)
    # The RoPE frequencies are buffers outside the state dict, so they still live on the meta device.
    for module in model.modules():
        if type(module).__name__ == "DeepseekV4RotaryEmbedding":
            module._buffers.update(type(module)(config)._buffers)
    return checkpoint, model.eval()


@torch.no_grad()
def logits(model, ids, chunk=None):
    """float32 [tokens, vocab_size]. With `chunk` the library's own cache carries the state from chunk to chunk."""
    tokens = torch.from_numpy(np.asarray(ids, np.int64))[None]
    if chunk is None or chunk >= tokens.shape[1]:
        return model(input_ids=tokens, use_cache=False).logits[0].numpy()
    cache = DynamicCache(config=model.config)
    pieces = tokens.split(chunk, dim=1)
    return np.concatenate([model(input_ids=p, past_key_values=cache, use_cache=True).logits[0].numpy() for p in pieces])


def save(directory, out, original_names):
    """save_pretrained: linears in BF16, the parameters transformers keeps in float32 as such.

    `original_names` False writes the module's own names with fused experts (spec section 10.6). True is what the
    library does unasked: it maps the names back to a mixture of its own and official ones, with experts split.
    """
    _, model = load(directory)
    for name, parameter in model.named_parameters():
        if not any(part in name for part in KEPT_F32):
            parameter.data = parameter.data.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(out, save_original_format=original_names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("logits")
    run.add_argument("dir")
    run.add_argument("--ids", required=True)
    run.add_argument("--out", required=True)
    run.add_argument("--chunk", type=int, help="bounds the memory of eager attention on long prompts")
    run.add_argument("--threads", type=int, default=1)
    layout = commands.add_parser("save")
    layout.add_argument("dir")
    layout.add_argument("out")
    layout.add_argument("--original-names", action="store_true", help="what save_pretrained writes unless told otherwise")
    args = parser.parse_args()
    if args.command == "save":
        save(args.dir, args.out, args.original_names)
        return
    torch.set_num_threads(args.threads)
    _, model = load(args.dir)
    ids = np.fromfile(args.ids, "<i4")
    started = time.monotonic()
    rows = logits(model, ids, args.chunk)
    rows.astype("<f4").tofile(args.out)
    print(f"{len(rows)} rows in {time.monotonic() - started:.1f} s, std {rows.std():.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
