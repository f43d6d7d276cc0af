#!/usr/bin/env python3
"""Runs `fathom logits` over a matrix of synthetic models and prompt lengths and judges every run.

    check_engine.py FATHOM --out DIR [--threads N] [--only PATTERN] [--skip-flash]
    check_engine.py FATHOM --out DIR --checkpoint MODEL --ids F.i32       one checkpoint as it lies, both numerics

`exact` is judged against transformers (float32, eager), `reference` against reference.py (float64 accumulation); the bounds
are those of README.md. DIR receives results.jsonl: one line per run with the command, the figures and the verdict (--checkpoint appends). Models
and dumps live in a scratch directory and are remade from their seeds. Exit status 1 when any run is not accepted.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

import reference
import transformers_logits
from compare import accepted, compare
from make_v4 import write_model
from presets import preset
from v4io import prompt_ids

SEED = 1
KL_FACTOR = 1.5  # over what float32 accumulation alone does, where few rows stay the same

# Around the multiples of 4 and 128 and the window of 32; each length is its own run of the engine.
TINY_LENGTHS = [1, 2, 3, 4, 5, 31, 32, 33, 127, 128, 129, 130, 255, 256, 257, 258, 597, 598, 599, 600, 1027]

# name, preset, overrides, prompt lengths, chunk of the oracle (None: one pass)
EXACT = [
    ("tiny", "tiny", [], TINY_LENGTHS, None),
    # Thousands of tokens meet near-ties in float32. One flipped choice below another compressed layer reaches every later row, at
    # about 1e-4; above the last one it stays in its own row. Few index heads would add exact ties at zero, which
    # transformers breaks arbitrarily.
    ("tiny-long", "tiny", ["index_n_heads=32"], [5500], 1100),
    ("tiny-long-sparse-last", "tiny", ["compress_ratios=0,128,0,128,4", "index_n_heads=32"], [5501], 1100),
    ("tiny-topk-below", "tiny", ["index_topk=3"], [603], None),
    ("tiny-topk-above", "tiny", ["index_topk=512"], [602], None),
    ("tiny-window-128", "tiny", ["sliding_window=128"], [385], None),
    ("tiny-pro-order", "tiny", ["compress_ratios=128,128,4,128,4", "num_hash_layers=0"], [641], None),
    ("tiny-sparse-only", "tiny", ["compress_ratios=4,4,4", "num_hash_layers=1"], [606], None),
    ("tiny-experts", "tiny", ["n_routed_experts=64", "num_experts_per_tok=6", "routed_scaling_factor=2.5"], [301], None),
    ("tiny-heads", "tiny", ["num_attention_heads=16", "o_groups=8", "o_lora_rank=40", "q_lora_rank=96"], [302], None),
    ("tiny-flash-heads", "tiny", ["head_dim=512", "qk_rope_head_dim=64", "index_head_dim=128", "index_n_heads=16"], [515], None),
    ("tiny-wide", "tiny", ["hidden_size=704", "moe_intermediate_size=352"], [300], None),
    ("flash-widths", "flash-4l", ["n_routed_experts=8", "vocab_size=4096"], [264], None),
]
# name, preset, overrides, tokens, bound on KL (None: a narrow model of one layer, judged by rows that stay the same)
REFERENCE = [
    ("layer-window", "tiny", ["compress_ratios=0", "num_hash_layers=0"], 600, None),
    ("layer-window-hash", "tiny", ["compress_ratios=0", "num_hash_layers=1"], 601, None),
    ("layer-sparse", "tiny", ["compress_ratios=4", "num_hash_layers=0"], 602, None),
    ("layer-heavy", "tiny", ["compress_ratios=128", "num_hash_layers=0"], 603, None),
    (
        "layer-flash-heads",
        "tiny",
        ["compress_ratios=4", "num_hash_layers=0", "head_dim=512", "qk_rope_head_dim=64", "index_head_dim=128"],
        300,
        None,
    ),
    # Blocks that end early (K 200 = 128 + 72, nope 80 = 64 + 16), two streams, two shared experts.
    (
        "layer-odd-sizes",
        "tiny",
        ["compress_ratios=128", "num_hash_layers=0", "hidden_size=200", "head_dim=112", "hc_mult=2", "n_shared_experts=2"]
        + ['_experts="fp8"'],
        600,
        None,
    ),
    ("layer-bf16", "tiny", ["compress_ratios=4", "num_hash_layers=0", '_experts="bf16"', '_dense="bf16"'], 600, None),
    (
        "layer-flash-widths",
        "flash-4l",
        # A window of one: every row is an independent sample, where otherwise a flip reaches the 128 rows after it.
        ["compress_ratios=0", "num_hash_layers=0", "n_routed_experts=8", "vocab_size=4096", "sliding_window=1"],
        300,
        KL_FACTOR,
    ),
    ("tiny", "tiny", [], 600, KL_FACTOR),
]


class Bench:
    def __init__(self, fathom, threads, scratch, results):
        self.fathom, self.threads, self.scratch, self.results = fathom, threads, scratch, results
        self.failures = 0

    def model(self, name, base, overrides):
        """(directory, vocab_size); `base` is a preset, or None when `name` is itself a directory."""
        if base is None:
            with open(os.path.join(name, "config.json"), encoding="utf-8") as file:
                return name, json.load(file)["vocab_size"]
        directory = os.path.join(self.scratch, name)
        if not os.path.isdir(directory):
            write_model(base, directory, overrides)
        return directory, preset(base, overrides)[0]["vocab_size"]

    def engine(self, directory, ids, vocab, numerics):
        """(logits, command as it would be typed, seconds)."""
        ids_file, out = os.path.join(self.scratch, "ids.i32"), os.path.join(self.scratch, "out.f32")
        ids.astype("<i4").tofile(ids_file)
        arguments = ["logits", directory, "--ids", ids_file, "--out", out, "--numerics", numerics]
        if self.threads:
            arguments += ["--threads", str(self.threads)]
        started = time.monotonic()
        subprocess.run([self.fathom, *arguments], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        command = " ".join(["fathom", *arguments]).replace(self.scratch + os.sep, "")
        return np.fromfile(out, "<f4").reshape(-1, vocab), command, seconds

    def record(self, name, command, figures, missed, extra):
        self.failures += bool(missed)
        line = {"model": name, **extra, "accepted": not missed, "missed": missed, **figures, "command": command}
        self.results.write(json.dumps(line) + "\n")
        self.results.flush()
        verdict = "ok  " if not missed else "FAIL"
        print(
            f"{verdict} {name} {extra} median {figures['median_row_max_diff']:.1e} off {figures['rows_off']}/{figures['rows']} "
            f"same {figures['same_share']:.3f} top1 {figures['top1']:.4f} KL {figures['kl_mean']:.1e} {missed}",
            flush=True,
        )

    def exact(self, name, base, overrides, lengths, chunk, ids=None):
        directory, vocab = self.model(name, base, overrides)
        ids = prompt_ids(vocab, max(lengths), SEED) if ids is None else ids
        # Causal: the rows of a shorter prompt are the first rows of the longest.
        expected = transformers_logits.logits(transformers_logits.load(directory)[1], ids, chunk)
        for length in lengths:
            actual, command, seconds = self.engine(directory, ids[:length], vocab, "exact")
            figures = compare(expected[:length], actual)
            extra = {"numerics": "exact", "overrides": overrides, "tokens": length, "seconds": round(seconds, 2)}
            self.record(name, command, figures, accepted(figures, "exact" if base else "exact-trained"), extra)

    def exact_ties(self, directory, ids):
        """`exact` against reference.py, which breaks ties as the engine must: to the smaller index."""
        _, vocab = self.model(directory, None, [])
        actual, command, seconds = self.engine(directory, ids, vocab, "exact")
        figures = compare(reference.Model(directory, "exact").forward(ids), actual)
        extra = {"numerics": "exact", "oracle": "reference.py", "tokens": len(ids), "seconds": round(seconds, 2)}
        self.record(directory, command, figures, accepted(figures, "exact"), extra)

    def reference(self, name, base, overrides, tokens, kl_factor, ids=None):
        directory, vocab = self.model(name if base is None else "reference-" + name, base, overrides)
        ids = prompt_ids(vocab, tokens, SEED) if ids is None else ids
        expected = reference.Model(directory, "reference").forward(ids)
        other_order = compare(expected, reference.Model(directory, "reference", "f32").forward(ids))
        actual, command, seconds = self.engine(directory, ids, vocab, "reference")
        figures = compare(expected, actual)
        if kl_factor is None:
            missed = accepted(figures, "reference-layer")
        else:
            bound = kl_factor * other_order["kl_mean"]
            missed = [] if figures["kl_mean"] <= bound else [f"kl_mean {figures['kl_mean']:.3e}, bound {bound:.3e}"]
        yardstick = {key: other_order[key] for key in ("same_share", "kl_mean", "top1", "median_row_max_diff")}
        extra = {"numerics": "reference", "overrides": overrides, "tokens": tokens, "seconds": round(seconds, 2)}
        self.record(name, command, figures | {"float32_accumulation": yardstick}, missed, extra)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fathom")
    parser.add_argument("--out", required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", default="*", help="glob over NUMERICS/NAME, such as 'exact/tiny*'")
    parser.add_argument("--skip-flash", action="store_true", help="leave out the models of Flash widths: 1 GB of disk, 8 GB of memory")
    parser.add_argument("--checkpoint", help="an official-layout directory, instead of the matrix")
    parser.add_argument("--ids", help="prompt for --checkpoint")
    args = parser.parse_args()
    if bool(args.checkpoint) != bool(args.ids):
        parser.error("--checkpoint and --ids go together")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    os.makedirs(args.out, exist_ok=True)
    results_file = os.path.join(args.out, "results.jsonl")
    with tempfile.TemporaryDirectory() as scratch, open(results_file, "a" if args.checkpoint else "w", encoding="utf-8") as results:
        bench = Bench(args.fathom, args.threads, scratch, results)
        if args.checkpoint:
            ids = np.fromfile(args.ids, "<i4")
            bench.exact_ties(args.checkpoint, ids)
            bench.exact(args.checkpoint, None, [], [len(ids)], None, ids)
            bench.reference(args.checkpoint, None, [], len(ids), KL_FACTOR, ids)
            sys.exit(1 if bench.failures else 0)
        for case in EXACT:
            if fnmatch.fnmatch("exact/" + case[0], args.only) and not (args.skip_flash and case[1] == "flash-4l"):
                bench.exact(*case)
        for case in REFERENCE:
            if fnmatch.fnmatch("reference/" + case[0], args.only) and not (args.skip_flash and case[1] == "flash-4l"):
                bench.reference(*case)
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
