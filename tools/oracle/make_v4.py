#!/usr/bin/env python3
"""Writes a synthetic DeepSeek-V4 checkpoint in the official safetensors layout (spec section 10). Needs numpy only.

    make_v4.py tiny OUT                       15 MB, six layers 0/0/4/128/4/128
    make_v4.py flash-4l OUT                   V4-Flash widths, four layers 0/4/128/4
    make_v4.py mini-fp4 OUT                   test fixtures, see presets.py
    make_v4.py tiny OUT --set n_routed_experts=64 --set compress_ratios=4,128
    make_v4.py ids OUT.i32 --vocab 4096 --tokens 600 --seed 1       a seeded prompt, little-endian int32

Weights are seeded per tensor by (seed, crc32(name)): a tensor has the same bits whatever else the model holds, and
only one tensor is in memory at a time. Values are spread so that logits have a standard deviation near 2 and every
choice (router, indexer) is exercised; they mean nothing.
"""

import argparse
import json
import math
import os
import sys
import zlib
from statistics import NormalDist

import numpy as np

from presets import PRESETS, preset
from v4io import E2M1_VALUES, E4M3_VALUES, FP4_GROUP, FP8_BLOCK, SafetensorsWriter, bf16_bits, prompt_ids

E2M1_RMS = float(np.sqrt((E2M1_VALUES**2).mean()))  # of uniformly drawn codes
FP8_CODE_STD = 64.0  # standard deviation of the E4M3 codes before their scale


def normal_e4m3_codes(std):
    """256 E4M3 codes nearest to the 256 mid-quantiles of N(0, std): a uniform byte picks a normal weight."""
    quantiles = np.array([NormalDist(0, std).inv_cdf((i + 0.5) / 256) for i in range(256)])
    codes = np.arange(256)[~np.isnan(E4M3_VALUES)]
    values = E4M3_VALUES[codes]
    return codes[np.abs(values[None, :] - quantiles[:, None]).argmin(1)].astype(np.uint8)


class SyntheticModel:
    """Declares every tensor of spec section 10.2 for one configuration."""

    def __init__(self, config, options):
        self.config = config
        self.seed = options["_seed"]
        self.experts = options["_experts"]
        self.dense = options["_dense"]
        self.single_file = options["_single_file"]
        self.one_table = options["_one_table"]
        self.e4m3_codes = normal_e4m3_codes(FP8_CODE_STD)

    # Random sources, one per tensor name.

    def rng(self, name):
        return np.random.Generator(np.random.SFC64([self.seed, zlib.crc32(name.encode())]))

    def random_bytes(self, name, count):
        return self.rng(name).integers(0, 1 << 64, (count + 7) // 8, np.uint64).view(np.uint8)[:count]

    # Kinds of tensor.

    def fp8(self, writer, name, rows, cols, gain=1.0, f32_scale=False):
        exponent = round(math.log2(gain / math.sqrt(cols) / FP8_CODE_STD)) + 127
        weight, scale = name + ".weight", name + ".scale"
        blocks = (-(-rows // FP8_BLOCK), -(-cols // FP8_BLOCK))
        writer.add(weight, "F8_E4M3", (rows, cols), lambda: self.e4m3_codes[self.random_bytes(weight, rows * cols)])
        if f32_scale:
            # Not powers of two: a loader that only looks at the exponent must fail.
            writer.add(
                scale,
                "F32",
                blocks,
                lambda: (2.0 ** (exponent - 127) * self.rng(scale).uniform(0.6, 1.7, blocks)).astype(np.float32),
            )
        else:
            writer.add(
                scale,
                "F8_E8M0",
                blocks,
                lambda: (exponent + self.rng(scale).integers(-1, 2, blocks)).astype(np.uint8),
            )

    def fp4(self, writer, name, rows, cols, gain=1.0):
        exponent = round(math.log2(gain / math.sqrt(cols) / E2M1_RMS)) + 127
        weight, scale = name + ".weight", name + ".scale"
        groups = rows * cols // FP4_GROUP
        writer.add(weight, "I8", (rows, cols // 2), lambda: self.random_bytes(weight, rows * cols // 2))
        writer.add(
            scale,
            "F8_E8M0",
            (rows, cols // FP4_GROUP),
            lambda: (exponent - 1 + self.random_bytes(scale, groups) % 3).astype(np.uint8),
        )

    def bf16(self, writer, name, shape, std):
        writer.add(
            name,
            "BF16",
            shape,
            lambda: bf16_bits(self.rng(name).standard_normal(shape, np.float32) * np.float32(std)),
        )

    def norm(self, writer, name, width):
        writer.add(
            name,
            "BF16",
            (width,),
            lambda: bf16_bits(1 + np.float32(0.1) * self.rng(name).standard_normal((width,), np.float32)),
        )

    def f32(self, writer, name, shape, std, mean=0.0):
        writer.add(
            name, "F32", shape, lambda: (mean + std * self.rng(name).standard_normal(shape)).astype(np.float32)
        )

    def linear(self, writer, name, rows, cols, layer, gain=1.0):
        if self.dense == "bf16":
            self.bf16(writer, name + ".weight", (rows, cols), gain / math.sqrt(cols))
        else:
            self.fp8(writer, name, rows, cols, gain, f32_scale=self.dense == "fp8-mixed" and layer % 2 == 1)

    def expert(self, writer, name, rows, cols):
        gain = 1.5
        if self.experts == "fp4":
            self.fp4(writer, name, rows, cols, gain)
        elif self.experts == "fp8":
            self.fp8(writer, name, rows, cols, gain, f32_scale=True)
        else:
            self.bf16(writer, name + ".weight", (rows, cols), gain / math.sqrt(cols))

    def expert_table(self, name):
        vocab, experts, chosen = (self.config[k] for k in ("vocab_size", "n_routed_experts", "num_experts_per_tok"))
        draws = self.rng("w3" if self.one_table else name).random((vocab, experts), np.float32)
        return np.argpartition(draws, min(chosen, experts - 1), axis=1)[:, :chosen].astype(np.int64)

    # Parts of the model.

    def compressor(self, writer, prefix, width, ratio):
        hidden, columns = self.config["hidden_size"], width * (2 if ratio == 4 else 1)
        self.bf16(writer, prefix + "wkv.weight", (columns, hidden), 1 / math.sqrt(hidden))
        self.bf16(writer, prefix + "wgate.weight", (columns, hidden), 1 / math.sqrt(hidden))
        self.f32(writer, prefix + "ape", (ratio, columns), 0.5)
        self.norm(writer, prefix + "norm.weight", width)

    def attention(self, writer, prefix, layer):
        c = self.config
        hidden, heads, width, latent = (
            c[k] for k in ("hidden_size", "num_attention_heads", "head_dim", "q_lora_rank")
        )
        groups, rank = c["o_groups"], c["o_lora_rank"]
        self.f32(writer, prefix + "attn_sink", (heads,), 1.0)
        self.linear(writer, prefix + "wq_a", latent, hidden, layer)
        self.norm(writer, prefix + "q_norm.weight", latent)
        self.linear(writer, prefix + "wq_b", heads * width, latent, layer)
        self.linear(writer, prefix + "wkv", width, hidden, layer)
        self.norm(writer, prefix + "kv_norm.weight", width)
        self.linear(writer, prefix + "wo_a", groups * rank, heads * width // groups, layer)
        self.linear(writer, prefix + "wo_b", hidden, groups * rank, layer)
        ratio = c["compress_ratios"][layer]
        if ratio:
            self.compressor(writer, prefix + "compressor.", width, ratio)
        if ratio == 4:
            index_heads, index_width = c["index_n_heads"], c["index_head_dim"]
            self.linear(writer, prefix + "indexer.wq_b", index_heads * index_width, latent, layer)
            self.bf16(writer, prefix + "indexer.weights_proj.weight", (index_heads, hidden), 1 / math.sqrt(hidden))
            self.compressor(writer, prefix + "indexer.compressor.", index_width, ratio)

    def feed_forward(self, writer, prefix, layer):
        c = self.config
        hidden, width, experts = (c[k] for k in ("hidden_size", "moe_intermediate_size", "n_routed_experts"))
        self.bf16(writer, prefix + "gate.weight", (experts, hidden), 1 / math.sqrt(hidden))
        if layer < c["num_hash_layers"]:
            table = prefix + "gate.tid2eid"
            writer.add(table, "I64", (c["vocab_size"], c["num_experts_per_tok"]), lambda: self.expert_table(table))
        else:
            self.f32(writer, prefix + "gate.bias", (experts,), 0.1)
        shared = width * c["n_shared_experts"]
        for name, rows, cols in (("w1", shared, hidden), ("w2", hidden, shared), ("w3", shared, hidden)):
            self.linear(writer, prefix + "shared_experts." + name, rows, cols, layer, gain=1.5)
        for e in range(experts):
            for name, rows, cols in (("w1", width, hidden), ("w2", hidden, width), ("w3", width, hidden)):
                self.expert(writer, f"{prefix}experts.{e}.{name}", rows, cols)

    def block(self, writer, layer):
        hidden, streams, prefix = self.config["hidden_size"], self.config["hc_mult"], f"layers.{layer}."
        self.norm(writer, prefix + "attn_norm.weight", hidden)
        self.norm(writer, prefix + "ffn_norm.weight", hidden)
        for site in ("attn", "ffn"):
            mixes = (2 + streams) * streams
            self.f32(writer, f"{prefix}hc_{site}_fn", (mixes, streams * hidden), 1 / math.sqrt(streams * hidden))
            self.f32(writer, f"{prefix}hc_{site}_base", (mixes,), 0.5)
            self.f32(writer, f"{prefix}hc_{site}_scale", (3,), 0.1, 1)
        self.attention(writer, prefix + "attn.", layer)
        self.feed_forward(writer, prefix + "ffn.", layer)

    def ends(self, writer):
        hidden, streams, vocab = (self.config[k] for k in ("hidden_size", "hc_mult", "vocab_size"))
        self.bf16(writer, "embed.weight", (vocab, hidden), 1.0)
        self.norm(writer, "norm.weight", hidden)
        self.bf16(writer, "head.weight", (vocab, hidden), 2 / math.sqrt(hidden))
        self.f32(writer, "hc_head_fn", (streams, streams * hidden), 1 / math.sqrt(streams * hidden))
        self.f32(writer, "hc_head_base", (streams,), 0.5)
        self.f32(writer, "hc_head_scale", (1,), 0.1, 1)

    def write(self, directory):
        """One shard per layer and one for the ends, with an index; or everything in model.safetensors."""
        layers = self.config["num_hidden_layers"]
        parts = [lambda writer, i=i: self.block(writer, i) for i in range(layers)] + [self.ends]
        if self.single_file:
            writer = SafetensorsWriter(os.path.join(directory, "model.safetensors"))
            for part in parts:
                part(writer)
            return writer.write()
        weight_map, total = {}, 0
        for number, part in enumerate(parts, 1):
            file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
            writer = SafetensorsWriter(os.path.join(directory, file))
            part(writer)
            total += writer.write()
            weight_map.update({tensor[0]: file for tensor in writer.tensors})
        write_json(
            os.path.join(directory, "model.safetensors.index.json"),
            {"metadata": {"total_size": total}, "weight_map": weight_map},
        )
        return total


BYTE_TOKENS = 256
SPECIAL_TOKENS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"]
CHAT_TOKENS = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜"]


def byte_level_vocabulary(size):
    """Tokens and merges of a byte-level BPE: the specials, 256 bytes, letter pairs, fillers, the chat tokens last."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbol = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in symbol:
            symbol[byte] = chr(256 + len(symbol) - len(printable))
    tokens, merges = SPECIAL_TOKENS + [symbol[byte] for byte in range(256)], []
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    for first in [symbol[ord(" ")], *letters]:
        for second in letters:
            if len(tokens) < size - 8:
                tokens.append(first + second)
                merges.append(f"{first} {second}")
    tokens += [f"<fill_{i}>" for i in range(size - len(tokens))]
    tokens[-len(CHAT_TOKENS) :] = CHAT_TOKENS
    return tokens, merges


def write_tokenizer(directory, size):
    tokens, merges = byte_level_vocabulary(size)
    specials = SPECIAL_TOKENS + CHAT_TOKENS
    added = [
        {
            "id": tokens.index(token),
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in specials
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    write_json(os.path.join(directory, "tokenizer.json"), tokenizer)
    write_json(
        os.path.join(directory, "tokenizer_config.json"),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL_TOKENS[0],
            "eos_token": SPECIAL_TOKENS[1],
            "add_bos_token": True,
            "model_max_length": 1048576,
        },
    )


def write_json(path, value, indent=None):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=indent)
        file.write("\n")


def write_model(name, directory, overrides=(), seed=None):
    """Writes preset `name` into `directory` in the official layout; returns the payload bytes."""
    config, options = preset(name, overrides)
    if seed is not None:
        options["_seed"] = seed
    os.makedirs(directory, exist_ok=True)
    write_json(os.path.join(directory, "config.json"), config, indent=1)
    # A vocabulary too small for the byte alphabet has no tokenizer: those models are fed ids.
    if config["vocab_size"] >= len(SPECIAL_TOKENS) + BYTE_TOKENS + len(CHAT_TOKENS):
        write_tokenizer(directory, config["vocab_size"])
    return SyntheticModel(config, options).write(directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=[*PRESETS, "ids"])
    parser.add_argument("out")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--vocab", type=int, help="for `ids`")
    parser.add_argument("--tokens", type=int, default=600, help="for `ids`")
    args = parser.parse_args()
    if args.preset == "ids":
        if args.vocab is None:
            parser.error("ids needs --vocab")
        prompt_ids(args.vocab, args.tokens, 1 if args.seed is None else args.seed).tofile(args.out)
        return
    total = write_model(args.preset, args.out, args.set, args.seed)
    print(f"{args.out}: {total:,} bytes of weights", file=sys.stderr)


if __name__ == "__main__":
    main()
