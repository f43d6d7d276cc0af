#!/usr/bin/env python3
"""Remakes every fixture of the model's tests: the mini checkpoints and their golden logits. Needs torch and transformers.

    make_fixtures.py OUT [--only NAME ...]          OUT is crates/model/tests/fixtures

OUT/NAME/ is a checkpoint directory; OUT/goldens/NAME/ holds ids.i32 (the prompt), exact.f32 and reference.f32
(float32 logits of the rows that manifest.json lists) and manifest.json. One causal run over the prompt gives the rows of
every shorter prompt: row r is the last row of a prompt of r + 1 tokens. Rows sit around multiples of 4, the windows,
128 and 256. For `reference` the manifest also says how many rows stay the same when only the summation order changes.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers

import compare
import reference
import transformers_logits
from make_v4 import write_json, write_model
from presets import MINIS, preset
from v4io import prompt_ids

PROMPT_TOKENS = 300
PROMPT_SEED = 1
ROW_RANGES = [(0, 13), (14, 18), (30, 34), (62, 66), (99, 103), (126, 132), (190, 194), (252, 261), (296, 300)]
ROWS = [row for first, end in ROW_RANGES for row in range(first, end)]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def write_checkpoint(name, directory, scratch):
    """The fixture's checkpoint directory; returns the official-layout directory with the same weights."""
    layout = preset(name)[1]["_layout"]
    shutil.rmtree(directory, ignore_errors=True)
    if layout == "official":
        write_model(name, directory)
        return directory
    source = os.path.join(scratch, name)
    write_model(name, source)
    transformers_logits.save(source, directory, original_names=layout == "hybrid")
    os.chmod(os.path.join(directory, "model.safetensors"), 0o644)
    os.remove(os.path.join(directory, "generation_config.json"))
    return source


def write_goldens(name, source, directory):
    config, options = preset(name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    ids = prompt_ids(config["vocab_size"], PROMPT_TOKENS, PROMPT_SEED)
    ids.tofile(os.path.join(directory, "ids.i32"))
    exact = transformers_logits.logits(transformers_logits.load(source)[1], ids)
    profiles = {"exact": exact, "reference": reference.Model(source, "reference").forward(ids)}
    manifest = {
        "model": name,
        "tokens": PROMPT_TOKENS,
        "vocab_size": config["vocab_size"],
        "rows": ROWS,
        "ids": {"file": "ids.i32", "dtype": "int32 little-endian", "sha256": sha256(os.path.join(directory, "ids.i32"))},
        "logits": {},
        "seeds": {"weights": options["_seed"], "ids": PROMPT_SEED},
        "command": "tools/oracle/make_fixtures.py crates/model/tests/fixtures",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    source_of = {"exact": "transformers_logits.py (float32, eager)", "reference": "reference.py (float64 accumulation)"}
    for numerics, logits in profiles.items():
        path = os.path.join(directory, f"{numerics}.f32")
        logits[ROWS].astype("<f4").tofile(path)
        manifest["logits"][numerics] = {
            "file": f"{numerics}.f32",
            "dtype": "float32 little-endian [rows, vocab_size]",
            "source": source_of[numerics],
            "std": round(float(logits.std()), 4),
            "sha256": sha256(path),
        }
    # What another summation order alone does to the low-precision path: the yardstick for a test of it.
    other_order = compare.compare(profiles["reference"][ROWS], reference.Model(source, "reference", "f32").forward(ids)[ROWS])
    manifest["logits"]["reference"]["float32_accumulation"] = {
        key: other_order[key] for key in ("same_share", "median_row_max_diff", "kl_mean", "top1")
    }
    write_json(os.path.join(directory, "manifest.json"), manifest, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--only", nargs="+", default=list(MINIS), choices=list(MINIS), metavar="NAME")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only:
            directory = os.path.join(args.out, name)
            source = write_checkpoint(name, directory, scratch)
            write_goldens(name, source, os.path.join(args.out, "goldens", name))
            size = sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))
            print(f"{name}: {size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
