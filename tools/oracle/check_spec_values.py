#!/usr/bin/env python3
"""Holds reference.py and v4io.py to the numbers the specification states. Needs numpy only; exits 1 on the first mismatch.

    check_spec_values.py crates/model/tests/fixtures/spec-values.json
"""

import json
import sys

import numpy as np

from reference import (
    E2M1_MAGNITUDES,
    F32,
    Model,
    _nearest_even,
    e4m3_round_trip,
    fp4_round_trip,
    hadamard,
    power_of_two_scale,
    rope_frequencies,
)
from v4io import E2M1_VALUES, E4M3_VALUES, ue8m0_values


def check(what, actual, expected, tolerance=0.0):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if actual.shape != expected.shape or not np.all(np.abs(actual - expected) <= tolerance * np.maximum(1e-30, np.abs(expected))):
        sys.exit(f"{what}: expected {expected}, found {actual}")


def mixes(values):
    """reference.Model's mHC on given projections, without a checkpoint."""
    model = Model.__new__(Model)
    model.config = {"hc_mult": 4, "hc_eps": values["eps"], "hc_sinkhorn_iters": values["iterations"], "rms_norm_eps": 0.0}
    model.low_precision = False
    z = np.array([(-1) ** i * 0.1 * (i + 1) for i in range(24)], F32)
    model.stream_mixes = lambda streams, name: z[None]
    model.tensor = lambda name: np.array(values["scale"], F32) if name.endswith("_scale") else F32(0.01) * np.arange(24, dtype=F32)
    # Unit streams read `pre` off the mix: stream i is the unit vector i.
    pre, post, comb = model.mhc_pre(np.eye(4, dtype=F32)[None], "hc_attn")
    return pre[0], post[0], comb[0]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    for amax, exponent in spec["fp8_scale_log2"]:
        scale = power_of_two_scale(np.maximum(np.array([amax], F32), F32(1e-4)), 448)
        check(f"FP8 scale of {amax}", scale, [2.0**exponent])
    for amax, exponent in spec["fp4_scale_log2"]:
        check(f"FP4 scale of {amax}", power_of_two_scale(np.array([amax], F32), 6), [2.0**exponent])
    for x, expected in spec["e2m1_ties"]:
        check(f"E2M1 of {x}", _nearest_even(np.array([x], F32), E2M1_MAGNITUDES), [expected])
    for code, expected in spec["e4m3_values"]:
        check(f"E4M3 {code}", E4M3_VALUES[int(code, 16)], expected)
    for byte, low, high in spec["fp4_bytes"]:
        check(f"FP4 byte {byte}", E2M1_VALUES[[int(byte, 16) & 15, int(byte, 16) >> 4]], [low, high])
    for code, exponent in spec["ue8m0_log2"]:
        check(f"UE8M0 {code}", ue8m0_values(np.array([code], np.uint8)), [2.0**exponent])
    # Every finite E4M3 and E2M1 value survives its own round trip.
    for name, values, trip in (("E4M3", E4M3_VALUES, lambda x: e4m3_round_trip(x, 512)), ("E2M1", E2M1_VALUES, fp4_round_trip)):
        finite = values[~np.isnan(values)][None]
        check(f"{name} round trip", trip(finite), finite)
    unit = spec["hadamard_128"]["of_e0"]
    transformed = hadamard(np.eye(128, dtype=F32))
    check("Hadamard of e_0", transformed[0], np.full(128, unit), 1e-7)
    check("Hadamard of e_1", transformed[1], unit * (-1.0) ** np.arange(128), 1e-7)
    for ratio, t, visible in spec["visible_entries"]:
        check(f"visible entries at {t}", (t + 1) // ratio, visible)
    sinkhorn = spec["sinkhorn"]
    for name, actual in zip(("pre", "post", "comb"), mixes(sinkhorn)):
        check(f"Sinkhorn {name}", actual, sinkhorn[name], 2 * sinkhorn["tolerance"])
    frequencies = spec["frequencies_64"]
    tolerance = frequencies["relative_tolerance"]
    check("RoPE 10000", rope_frequencies(10000, 64)[:5], frequencies["base_10000_first"], tolerance)
    check("RoPE 160000", rope_frequencies(160000, 64, frequencies["yarn"]), frequencies["base_160000_yarn"], tolerance)
    print("all values of the specification reproduced")


if __name__ == "__main__":
    main()
