#!/usr/bin/env python3
"""Breaks one rule of NUMERICS.md at a time in reference.py and prints how many rows stay the same.

    sensitivity.py [--tokens N]

The acceptance of the `reference` numerics (README.md) asks that 85 % of the rows of a one-layer model stay the same. This shows
that the bound notices each mistake: the first line of every model is the unbroken program with float32 accumulation.
Two rules hardly show in logits. The length of an E4M3 block matters only for values 2^15 times smaller than their block's
largest, because the scale is a power of two and E4M3 is itself a floating-point format; and BF16 index scores only move ties.
Unit tests must cover them.
"""

import argparse
import tempfile

import numpy as np

import reference
from compare import compare
from make_v4 import write_model
from presets import preset
from reference import F32, Model, bf16, e4m3_round_trip, rms_scale
from v4io import prompt_ids


class NoActivationQuantisation(Model):
    """R5 without Q128"""

    def linear(self, x, name):
        return self.round(self.dot(x, self.tensor(name + ".weight")))


class OutputProjectionQuantised(Model):
    """R7 broken: Q128 before wo_a"""

    def dot(self, x, weight):
        c = self.config
        if x.ndim == 2 and weight.shape == (c["o_lora_rank"], c["num_attention_heads"] * c["head_dim"] // c["o_groups"]):
            x = e4m3_round_trip(x, 128)
        return super().dot(x, weight)


class NoKvRoundTrip(Model):
    """R12, R14 without KV64"""

    def kv_round(self, rows):
        return rows


class KvBlocksOf128(Model):
    """R12, R14 with blocks of 128"""

    def kv_round(self, rows):
        plain = rows.shape[-1] - self.config["qk_rope_head_dim"]
        return np.concatenate([e4m3_round_trip(rows[..., :plain], 128), rows[..., plain:]], -1)


class NoHadamard(Model):
    """R15, R16 without the Hadamard transform"""

    def index_round(self, x):
        return reference.fp4_round_trip(x)


class NoIndexerFp4(Model):
    """R15, R16 without FP4"""

    def index_round(self, x):
        return bf16(reference.hadamard(x))


class UnroundedRmsNorm(Model):
    """R4 without its rounding"""

    def rms_norm(self, x, name):
        return self.tensor(name) * (x * rms_scale(x, self.config["rms_norm_eps"]))


class DoublyRoundedRmsNorm(Model):
    """R4 with a rounding before the weight"""

    def rms_norm(self, x, name):
        return bf16(self.tensor(name) * bf16(x * rms_scale(x, self.config["rms_norm_eps"])))


class UnroundedStreams(Model):
    """R24 without its rounding"""

    def mhc_post(self, y, streams, post, comb):
        mixed = post[:, :, None] * y[:, None, :]
        return mixed + np.einsum("tij,tid->tjd", comb, streams, dtype=F32)


class UnroundedMix(Model):
    """R3 without its rounding"""

    def mhc_pre(self, streams, prefix):
        exact = self.round
        self.round = lambda x: x
        try:
            return super().mhc_pre(streams, prefix)
        finally:
            self.round = exact


class UnroundedProbabilities(Model):
    """R22 without the rounding of p"""

    def round(self, x):
        return x if x.ndim == 3 and x.shape[-1] > self.config["head_dim"] and x.min() >= 0 and x.max() <= 1 else super().round(x)


class WeightAfterDownProjection(Model):
    """R27 broken: routing weight after w2"""

    def expert(self, x, prefix, weight=None):
        y = super().expert(x, prefix)
        return y if weight is None else weight[:, None] * y


class RoundedRouter(Model):
    """R25 broken: BF16 router logits"""

    def dot(self, x, weight):
        y = super().dot(x, weight)
        return bf16(y) if weight.shape[0] == self.config["n_routed_experts"] else y


class UnroundedRope(Model):
    """R9 without its rounding"""

    def rope(self, x, positions, kind, inverse=False):
        exact = self.round
        self.round = lambda x: x
        try:
            return super().rope(x, positions, kind, inverse)
        finally:
            self.round = exact


class RoundedIndexScores(Model):
    """R18 with BF16 dots"""

    def dot(self, x, weight):
        y = super().dot(x, weight)
        keys = x.ndim == 2 and x.shape[-1] == self.config["index_head_dim"]
        return bf16(y) if keys else y


MISTAKES = [
    NoActivationQuantisation,
    OutputProjectionQuantised,
    NoKvRoundTrip,
    KvBlocksOf128,
    NoHadamard,
    NoIndexerFp4,
    UnroundedRmsNorm,
    DoublyRoundedRmsNorm,
    UnroundedMix,
    UnroundedStreams,
    UnroundedProbabilities,
    UnroundedRope,
    RoundedRouter,
    RoundedIndexScores,
    WeightAfterDownProjection,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=600)
    args = parser.parse_args()
    for ratio in (0, 4, 128):
        overrides = [f"compress_ratios={ratio}", "num_hash_layers=0"]
        ids = prompt_ids(preset("tiny")[0]["vocab_size"], args.tokens, 1)
        with tempfile.TemporaryDirectory() as directory:
            write_model("tiny", directory, overrides)
            golden = Model(directory, "reference").forward(ids)
            for mistake in (Model, *MISTAKES):
                figures = compare(golden, mistake(directory, "reference", "f32" if mistake is Model else "f64").forward(ids))
                label = "float32 accumulation, no mistake" if mistake is Model else mistake.__doc__
                print(f"ratio {ratio:3d}  same {figures['same_share']:.3f}  KL {figures['kl_mean']:.1e}  {label}", flush=True)


if __name__ == "__main__":
    main()
