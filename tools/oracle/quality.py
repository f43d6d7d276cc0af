#!/usr/bin/env python3
"""What a numerics profile costs: divergence from `reference` and `exact`, and the cross-entropy of the next token.

    quality.py NAME=DIR:IDS.i32 [NAME=DIR:IDS.i32 ...] [--fathom fathom] [--length N] [--json FILE]

Runs `fathom logits` for `exact`, `reference` and `fast` on each model and token file, and prints a table. KL is
KL(P || Q) in nats per position, P the profile compared against. NLL is the mean cross-entropy in nats of the id that
follows; `difference` is a profile's NLL minus that of `reference`, position by position, with the standard error of
its mean over blocks of neighbouring positions (they are correlated: a position's error reaches later ones). A file of
several sequences of one length is split by --length, each run from an empty state.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from compare import log_softmax

PROFILES = ("exact", "reference", "fast")
# Of each pair the first is P.
PAIRS = (("reference", "exact"), ("reference", "fast"), ("exact", "fast"))
BLOCK = 32


def log_probabilities(fathom, model, ids, profile, directory):
    """float64 [positions, vocab] of one sequence."""
    ids_file, out = Path(directory, "ids.i32"), Path(directory, "logits.f32")
    ids.tofile(ids_file)
    command = [fathom, "logits", model, "--ids", ids_file, "--out", out, "--numerics", profile]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return log_softmax(np.fromfile(out, "<f4").reshape(len(ids), -1))


def mean_and_error(values):
    """Mean, and its standard error from the means of blocks within sequences; `values` is [sequences, positions]."""
    block = min(BLOCK, values.shape[1])
    used = values.shape[1] // block * block
    blocks = values[:, :used].reshape(-1, block).mean(-1)
    return float(values.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks))) if len(blocks) > 1 else float("nan")


def measure(fathom, model, sequences):
    """Figures of one model over int32 [sequences, positions]."""
    kl = {pair: [] for pair in PAIRS}
    same_top = {pair: [] for pair in PAIRS}
    nll = {profile: [] for profile in PROFILES}
    with tempfile.TemporaryDirectory() as directory:
        for ids in sequences:
            found = {p: log_probabilities(fathom, model, ids, p, directory) for p in PROFILES}
            for a, b in PAIRS:
                kl[a, b].append((np.exp(found[a]) * (found[a] - found[b])).sum(-1))
                same_top[a, b].append(found[a].argmax(-1) == found[b].argmax(-1))
            for profile in PROFILES:
                nll[profile].append(-found[profile][np.arange(len(ids) - 1), ids[1:]])
    nll = {profile: np.array(values) for profile, values in nll.items()}
    figures = {"sequences": len(sequences), "positions": sequences.size, "kl": {}, "nll": {}}
    for a, b in PAIRS:
        values = np.array(kl[a, b])
        mean, error = mean_and_error(values)
        figures["kl"][f"{a}||{b}"] = {
            "mean": mean,
            "standard_error": error,
            "median": float(np.median(values)),
            "p99": float(np.quantile(values, 0.99)),
            "top1": float(np.mean(same_top[a, b])),
        }
    for profile in PROFILES:
        mean, error = mean_and_error(nll[profile])
        difference, its_error = mean_and_error(nll[profile] - nll["reference"])
        figures["nll"][profile] = {
            "mean": mean,
            "standard_error": error,
            "difference": difference,
            "difference_standard_error": its_error,
        }
    return figures


def show(name, figures):
    print(f"{name}: {figures['positions']} positions in {figures['sequences']} sequences")
    print(f"  {'KL':<20} {'mean':>9} {'± s.e.':>9} {'median':>9} {'p99':>9} {'top-1':>7}")
    for pair, f in figures["kl"].items():
        print(
            f"  {pair:<20} {f['mean']:9.5f} {f['standard_error']:9.5f} {f['median']:9.5f} {f['p99']:9.5f} {f['top1']:7.2%}"
        )
    print(f"  {'NLL':<20} {'mean':>9} {'± s.e.':>9} {'difference':>11} {'± s.e.':>9}")
    for profile, f in figures["nll"].items():
        print(
            f"  {profile:<20} {f['mean']:9.5f} {f['standard_error']:9.5f} {f['difference']:+11.5f}"
            f" {f['difference_standard_error']:9.5f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIR:IDS", help="a name, a checkpoint directory and token ids, raw int32")
    parser.add_argument("--fathom", default="fathom", help="the program")
    parser.add_argument("--length", type=int, help="tokens per sequence; without it a file is one sequence")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    args = parser.parse_args()
    results = {}
    for run in args.runs:
        name, _, files = run.partition("=")
        model, colon, ids_file = files.rpartition(":")
        if not (name and colon):
            parser.error(f"`{run}`: expected NAME=DIR:IDS")
        ids = np.fromfile(ids_file, "<i4")
        length = min(args.length or len(ids), len(ids))
        if length < 2:
            parser.error(f"{ids_file}: expected two ids or more, found {len(ids)}")
        sequences = ids[: len(ids) // length * length].reshape(-1, length)
        results[name] = measure(args.fathom, model, sequences)
        show(name, results[name])
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
