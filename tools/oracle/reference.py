#!/usr/bin/env python3
"""DeepSeek-V4's forward pass in numpy: a second implementation of spec sections 5, 6 and 9, independent of the Rust one.

    reference.py DIR --ids F.i32 --out F.f32 --numerics exact|reference [--accumulate f64|f32] [--dump DUMPDIR]

`exact` keeps float32 everywhere and quantises no activation: what transformers computes. `reference` follows the published
low-precision path. NUMERICS.md lists every site with its rounding; the numbers in brackets below (R1 ... R30) are its rows. It is
the contract with the engine's profile of the same name.

Dot products, and the sums of squares under RMSNorm, accumulate in float64 and are rounded once to float32 (`--accumulate f32`
uses float32 instead, BLAS for products and running sums for squares; the distance between the two is what float32 and its
summation order alone do). Everything elementwise is float32.

One shot over the whole prompt and no cache: a compressed entry is visible to token t when its window is complete at t.
Shapes: T tokens, d hidden_size, n streams, H heads, D head_dim, r rotary dims, S compressed entries.
"""

import argparse
import math
import os
import sys
import time

import numpy as np

from v4io import Checkpoint, E2M1_VALUES, E4M3_VALUES, bf16_bits, bf16_from_bits

F32 = np.float32
QUERY_BLOCK = 64  # queries per attention step; bounds memory only


# ---- roundings ------------------------------------------------------------------------------------------------


def bf16(x):
    return bf16_from_bits(bf16_bits(x)).reshape(np.shape(x))


def power_of_two_scale(amax, largest):
    """2^ceil(log2(amax / largest)) by the float32 bit pattern: exponent, plus one if any mantissa bit is set (9.2)."""
    bits = (amax * (F32(1) / F32(largest))).astype(F32).view(np.uint32)
    exponent = (bits >> 23).astype(np.int32) + ((bits & 0x7FFFFF) != 0) - 127
    return np.ldexp(F32(1), exponent).astype(F32)


def _nearest_even(x, magnitudes):
    """Nearest of the ascending `magnitudes` (index = code, even code wins ties), with the sign of x."""
    midpoints = ((magnitudes[1:] + magnitudes[:-1]) / 2).astype(F32)  # exact: neighbours differ in one bit of precision
    a = np.abs(x)
    code = np.searchsorted(midpoints, a, side="left")  # number of midpoints below a; equality stays at the lower code
    tie = (code < len(midpoints)) & (a == midpoints[np.minimum(code, len(midpoints) - 1)])
    code = code + (tie & (code % 2 == 1))
    return np.copysign(magnitudes[code], x).astype(F32)


E4M3_MAGNITUDES = E4M3_VALUES[:127]
E2M1_MAGNITUDES = E2M1_VALUES[:8]


def _round_trip(x, block, magnitudes, floor):
    """Quantise and dequantise blocks of the last axis with one power-of-two scale each; the last block may be shorter."""
    out = np.empty(x.shape, F32)
    largest = magnitudes[-1]
    for start in range(0, x.shape[-1], block):
        part = x[..., start : start + block]
        amax = np.maximum(np.abs(part).max(-1, keepdims=True), F32(floor))
        scale = power_of_two_scale(amax, largest)
        out[..., start : start + block] = _nearest_even(np.clip(part / scale, -largest, largest), magnitudes) * scale
    return out


def e4m3_round_trip(x, block):
    return _round_trip(x, block, E4M3_MAGNITUDES, 1e-4)


def fp4_round_trip(x):
    return _round_trip(x, 32, E2M1_MAGNITUDES, 6 * 2.0**-126)


def hadamard(x):
    """Natural-order Walsh-Hadamard transform of the last axis, scaled to be orthonormal, float32 butterflies."""
    width = x.shape[-1]
    y = x.astype(F32)
    step = 1
    while step < width:
        pairs = y.reshape(*x.shape[:-1], width // (2 * step), 2, step)
        y = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], axis=-2).reshape(x.shape)
        step *= 2
    return y * F32(width**-0.5)


# ---- elementary functions ---------------------------------------------------------------------------------------


def sigmoid(x):
    return (F32(1) / (F32(1) + np.exp(-x))).astype(F32)


def rms_scale(x, eps, wide=True):
    """rsqrt(mean(x^2) + eps) over the last axis, float32; `wide` sums in float64, else in sixteen running float32 sums.

    An error here moves every element of a row at once, so at large widths it decides more roundings than the dot products do.
    """
    if wide:
        mean = np.square(x.astype(np.float64)).mean(-1, keepdims=True).astype(F32)
    else:
        lanes = np.zeros((*x.shape[:-1], 16), F32)
        for start in range(0, x.shape[-1], 16):
            part = x[..., start : start + 16]
            lanes[..., : part.shape[-1]] += np.square(part)
        mean = lanes.sum(-1, keepdims=True, dtype=F32) / F32(x.shape[-1])
    return F32(1) / np.sqrt(mean + F32(eps))


def softmax_pool(values, gates):
    """Sum over axis 1 of softmax(gates) * values, per dimension; a gate of -inf has no weight."""
    weight = np.exp(gates - gates.max(1, keepdims=True))
    weight = weight / weight.sum(1, keepdims=True, dtype=F32)
    return (weight * values).sum(1, dtype=F32)


def rope_frequencies(base, dims, yarn=None):
    """float32 [dims / 2] (R11). `yarn` is the config's rope_scaling block or None."""
    exponent = (np.arange(0, dims, 2, dtype=F32) / F32(dims)).astype(np.float64)
    period = np.power(np.float64(base), exponent).astype(F32)
    plain = F32(1) / period
    if yarn is None:
        return plain

    def dimension(rotations):
        return dims * math.log(yarn["original_max_position_embeddings"] / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension(yarn["beta_fast"])), 0)
    high = min(math.ceil(dimension(yarn["beta_slow"])), dims - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dims // 2, dtype=F32) - F32(low)) / F32(high - low), F32(0), F32(1))
    keep = F32(1) - ramp
    slowed = F32(1) / (F32(yarn["factor"]) * period)
    return slowed * (F32(1) - keep) + plain * keep


# ---- the model --------------------------------------------------------------------------------------------------


class Model:
    """One checkpoint with one numerics profile. `forward` is the whole interface."""

    def __init__(self, directory, numerics, accumulate="f64"):
        self.checkpoint = Checkpoint(directory)
        self.config = c = self.checkpoint.config
        self.low_precision = {"exact": False, "reference": True}[numerics]
        self.wide = {"f64": True, "f32": False}[accumulate]
        self.dump_directory = None
        # The smallest distance between the last score chosen and the first one left out, over all tokens and layers:
        # what a difference in rounding must exceed to change a choice.
        self.closest = {"indexer": math.inf, "router": math.inf}
        rotary = c["qk_rope_head_dim"]
        self.frequencies = {
            "window": rope_frequencies(c["rope_theta"], rotary),
            "compressed": rope_frequencies(c["compress_rope_theta"], rotary, c.get("rope_scaling")),
        }
        self.cache = {}

    # Precision switches: the identity in `exact`.

    def round(self, x):
        return bf16(x) if self.low_precision else x.astype(F32)

    def kv_round(self, rows):
        """R12: E4M3 in blocks of 64 on the dims that carry no position."""
        if not self.low_precision:
            return rows
        plain = rows.shape[-1] - self.config["qk_rope_head_dim"]
        return np.concatenate([e4m3_round_trip(rows[..., :plain], 64), rows[..., plain:]], -1)

    def index_round(self, x):
        """R15, R16: Hadamard, BF16, FP4."""
        return fp4_round_trip(bf16(hadamard(x))) if self.low_precision else x

    # Tensors and products.

    def tensor(self, name):
        if name not in self.cache:
            self.cache[name] = self.checkpoint.f32(name)
        return self.cache[name]

    def dot(self, x, weight):
        """x [..., K] times weight [N, K] transposed, float32."""
        if self.wide:
            return (x.astype(np.float64) @ weight.astype(np.float64).T).astype(F32)
        return x @ weight.T

    def linear(self, x, name):
        """R5, R6: quantises the input of a linear with FP8 or FP4 weights, rounds the output."""
        quantised = self.checkpoint.dtype(name + ".weight") in ("F8_E4M3", "I8")
        if self.low_precision and quantised:
            x = e4m3_round_trip(x, 128)
        return self.round(self.dot(x, self.tensor(name + ".weight")))

    def rms_norm(self, x, name):
        return self.round(self.tensor(name) * (x * rms_scale(x, self.config["rms_norm_eps"], self.wide)))

    def rope(self, x, positions, kind, inverse=False):
        """Rotates the last dims of x [T, ..., D] in adjacent pairs by position (R9, R10)."""
        frequencies = self.frequencies[kind]
        angle = (np.asarray(positions, F32)[:, None] * frequencies).astype(F32).astype(np.float64)
        shape = (len(positions),) + (1,) * (x.ndim - 2) + (len(frequencies),)
        cos, sin = np.cos(angle).astype(F32).reshape(shape), np.sin(angle).astype(F32).reshape(shape)
        if inverse:
            sin = -sin
        first = x.shape[-1] - 2 * len(frequencies)
        out = x.copy()
        a, b = x[..., first::2], x[..., first + 1 :: 2]
        out[..., first::2] = self.round(a * cos - b * sin)
        out[..., first + 1 :: 2] = self.round(a * sin + b * cos)
        return out

    def note_margin(self, kind, descending, chosen):
        if len(descending) > chosen:
            gap = float(np.min(descending[chosen - 1] - descending[chosen]))
            self.closest[kind] = min(self.closest[kind], gap)

    # mHC.

    def stream_mixes(self, streams, name):
        """fn times the flattened streams, times their RMS scale (5.2 steps 1 to 3): [T, rows of fn]."""
        flat = streams.reshape(len(streams), -1)
        return self.dot(flat, self.tensor(name)) * rms_scale(flat, self.config["rms_norm_eps"], self.wide)

    def mhc_pre(self, streams, prefix):
        """(sublayer input [T, d], post [T, n], comb [T, n, n])."""
        n, eps = self.config["hc_mult"], F32(self.config["hc_eps"])
        z = self.stream_mixes(streams, prefix + "_fn")
        base, scale = self.tensor(prefix + "_base"), self.tensor(prefix + "_scale")
        pre = sigmoid(z[:, :n] * scale[0] + base[:n]) + eps
        post = F32(2) * sigmoid(z[:, n : 2 * n] * scale[1] + base[n : 2 * n])
        comb = (z[:, 2 * n :] * scale[2] + base[2 * n :]).reshape(-1, n, n)
        comb = np.exp(comb - comb.max(2, keepdims=True))
        comb = comb / comb.sum(2, keepdims=True) + eps
        comb = comb / (comb.sum(1, keepdims=True) + eps)
        for _ in range(self.config["hc_sinkhorn_iters"] - 1):
            comb = comb / (comb.sum(2, keepdims=True) + eps)
            comb = comb / (comb.sum(1, keepdims=True) + eps)
        return self.round((pre[:, :, None] * streams).sum(1, dtype=F32)), post, comb

    def mhc_post(self, y, streams, post, comb):
        """Stream j becomes post_j y + sum_i comb_ij stream_i: the mixing matrix acts transposed (5.3)."""
        mixed = post[:, :, None] * y[:, None, :]
        for i in range(streams.shape[1]):
            mixed = mixed + comb[:, i, :, None] * streams[:, i, None, :]
        return self.round(mixed)

    # Attention.

    def compress(self, x, prefix, ratio, width, round_entry):
        """Compressed entries [S, width] of the complete windows, in BF16-rounded or exact form (R13 to R15)."""
        windows = len(x) // ratio
        if windows == 0:
            return np.zeros((0, width), F32)
        k = self.dot(x, self.tensor(prefix + "wkv.weight"))[: windows * ratio].reshape(windows, ratio, -1)
        g = self.dot(x, self.tensor(prefix + "wgate.weight"))[: windows * ratio].reshape(windows, ratio, -1)
        g = g + self.tensor(prefix + "ape")
        if ratio == 4:
            # Window s pools the first halves of window s - 1 and its own second halves.
            past_k, past_g = np.zeros((windows, ratio, width), F32), np.full((windows, ratio, width), -np.inf, F32)
            past_k[1:], past_g[1:] = k[:-1, :, :width], g[:-1, :, :width]
            k = np.concatenate([past_k, k[:, :, width:]], 1)
            g = np.concatenate([past_g, g[:, :, width:]], 1)
        entries = self.rms_norm(self.round(softmax_pool(k, g)), prefix + "norm.weight")
        return round_entry(self.rope(entries, np.arange(windows) * ratio, "compressed"))

    def select(self, x, latent, prefix, visible):
        """The indexer's choice per query: bool [T, S] with min(top-k, visible) entries set (R16 to R19)."""
        c = self.config
        heads, width = c["index_n_heads"], c["index_head_dim"]
        keys = self.compress(x, prefix + "compressor.", 4, width, self.index_round)
        queries = self.linear(latent, prefix + "wq_b").reshape(len(x), heads, width)
        queries = self.index_round(self.rope(queries, np.arange(len(x)), "compressed"))
        weights = self.linear(x, prefix + "weights_proj") * F32(width**-0.5 * heads**-0.5)
        scores = np.zeros((len(x), len(keys)), F32)
        for h in range(heads):
            scores = scores + weights[:, h, None] * np.maximum(self.dot(queries[:, h], keys), F32(0))
        chosen = np.zeros(scores.shape, bool)
        for t, count in enumerate(visible):
            order = np.argsort(-scores[t, :count], kind="stable")
            chosen[t, order[: c["index_topk"]]] = True
            self.note_margin("indexer", scores[t, order], c["index_topk"])
        return chosen

    def attention(self, x, prefix, ratio):
        c = self.config
        tokens, heads, width = len(x), c["num_attention_heads"], c["head_dim"]
        kind = "compressed" if ratio else "window"
        positions = np.arange(tokens)

        latent = self.rms_norm(self.linear(x, prefix + "wq_a"), prefix + "q_norm.weight")
        q = self.linear(latent, prefix + "wq_b").reshape(tokens, heads, width)
        q = self.round(q * rms_scale(q, c["rms_norm_eps"], self.wide))
        q = self.rope(q, positions, kind)
        rows = self.rms_norm(self.linear(x, prefix + "wkv"), prefix + "kv_norm.weight")
        rows = self.kv_round(self.rope(rows, positions, kind))

        age = positions[:, None] - positions[None, :]
        seen = (age >= 0) & (age < c["sliding_window"])
        if ratio:
            entries = self.compress(x, prefix + "compressor.", ratio, width, self.kv_round)
            visible = (positions + 1) // ratio
            if ratio == 4:
                seen_entries = self.select(x, latent, prefix + "indexer.", visible)
            else:
                seen_entries = np.arange(len(entries)) < visible[:, None]
            rows, seen = np.concatenate([rows, entries]), np.concatenate([seen, seen_entries], 1)

        out = np.empty_like(q)
        sink = self.tensor(prefix + "attn_sink")[None, :, None]
        for start in range(0, tokens, QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            z = self.dot(q[block], rows) * F32(width**-0.5)
            z = np.where(seen[block, None, :], z, F32(-np.inf))
            largest = z.max(2, keepdims=True)
            p = np.exp(z - largest)
            total = p.sum(2, keepdims=True, dtype=np.float64 if self.wide else F32).astype(F32) + np.exp(sink - largest)
            out[block] = self.round(self.dot(self.round(p), rows.T) / total)
        out = self.rope(out, positions, kind, inverse=True)

        groups = c["o_groups"]
        wo_a = self.tensor(prefix + "wo_a.weight").reshape(groups, c["o_lora_rank"], -1)
        out = out.reshape(tokens, groups, -1)
        projected = [self.round(self.dot(out[:, i], wo_a[i])) for i in range(groups)]
        return self.linear(np.concatenate(projected, -1), prefix + "wo_b")

    # Experts.

    def route(self, x, ids, prefix):
        """(expert ids [T, k], weights [T, k]); R25."""
        c = self.config
        logits = self.dot(x, self.tensor(prefix + "weight"))
        softplus = np.where(logits > 20, logits, np.log1p(np.exp(np.minimum(logits, F32(20)))))
        scores = np.sqrt(softplus)
        if self.checkpoint.dtype(prefix + "tid2eid") is not None:
            experts = self.checkpoint.storage(prefix + "tid2eid")[ids]
        else:
            biased = scores + self.tensor(prefix + "bias")
            order = np.argsort(-biased, axis=1, kind="stable")
            experts = order[:, : c["num_experts_per_tok"]]
            self.note_margin("router", np.take_along_axis(biased, order, 1).T, c["num_experts_per_tok"])
        weights = np.take_along_axis(scores, experts, 1)
        return experts, weights / weights.sum(1, keepdims=True) * F32(c["routed_scaling_factor"])

    def expert(self, x, prefix, weight=None):
        limit = F32(self.config["swiglu_limit"])
        gate = np.minimum(self.linear(x, prefix + "w1"), limit)
        up = np.clip(self.linear(x, prefix + "w3"), -limit, limit)
        hidden = gate * sigmoid(gate) * up
        if weight is not None:
            hidden = weight[:, None] * hidden
        return self.linear(self.round(hidden), prefix + "w2")

    def feed_forward(self, x, ids, prefix):
        experts, weights = self.route(x, ids, prefix + "gate.")
        total = np.zeros_like(x)
        for e in range(self.config["n_routed_experts"]):
            rows, slot = np.nonzero(experts == e)
            if len(rows):
                # A table may name an expert twice for one token, so contributions are added, not assigned.
                np.add.at(total, rows, self.expert(x[rows], f"{prefix}experts.{e}.", weights[rows, slot]))
        return self.round(total + self.expert(x, prefix + "shared_experts."))

    # The whole.

    def forward(self, ids):
        """float32 logits [T, vocab_size] of a prompt of T ids."""
        c = self.config
        ids = np.asarray(ids, np.int64)
        embedded = self.round(self.tensor("embed.weight")[ids])
        streams = np.repeat(embedded[:, None, :], c["hc_mult"], axis=1)
        for layer in range(c["num_hidden_layers"]):
            prefix = f"layers.{layer}."
            u, post, comb = self.mhc_pre(streams, prefix + "hc_attn")
            y = self.attention(self.rms_norm(u, prefix + "attn_norm.weight"), prefix + "attn.", c["compress_ratios"][layer])
            streams = self.mhc_post(y, streams, post, comb)
            self.dump(f"layer{layer}.attn", y)
            self.dump(f"layer{layer}.attn.streams", streams)
            u, post, comb = self.mhc_pre(streams, prefix + "hc_ffn")
            y = self.feed_forward(self.rms_norm(u, prefix + "ffn_norm.weight"), ids, prefix + "ffn.")
            streams = self.mhc_post(y, streams, post, comb)
            self.dump(f"layer{layer}.ffn", y)
            self.dump(f"layer{layer}.ffn.streams", streams)
            self.cache = {}
        z = self.stream_mixes(streams, "hc_head_fn")
        pre = sigmoid(z * self.tensor("hc_head_scale")[0] + self.tensor("hc_head_base")) + F32(c["hc_eps"])
        x = self.round((pre[:, :, None] * streams).sum(1, dtype=F32))
        x = self.rms_norm(x, "norm.weight")
        self.dump("final", x)
        return self.dot(x, self.tensor("head.weight"))

    def dump(self, name, array):
        """Raw float32 of one intermediate, token-major, to localise a divergence."""
        if self.dump_directory is not None:
            array.astype("<f4").tofile(os.path.join(self.dump_directory, name + ".f32"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--ids", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--numerics", choices=["exact", "reference"], required=True)
    parser.add_argument("--accumulate", choices=["f64", "f32"], default="f64")
    parser.add_argument("--dump", metavar="DUMPDIR", help="write layerN.{attn,ffn}[.streams].f32 and final.f32")
    args = parser.parse_args()
    model = Model(args.dir, args.numerics, args.accumulate)
    if args.dump:
        os.makedirs(args.dump, exist_ok=True)
        model.dump_directory = args.dump
    started = time.monotonic()
    logits = model.forward(np.fromfile(args.ids, "<i4"))
    logits.astype("<f4").tofile(args.out)
    seconds = time.monotonic() - started
    print(f"{len(logits)} rows in {seconds:.1f} s, std {logits.std():.3f}, closest choices {model.closest}", file=sys.stderr)


if __name__ == "__main__":
    main()
