#!/usr/bin/env python3
"""Holds lm-eval's log-likelihoods against `fathom logits`: compare.py FATHOM CHECKPOINT SAMPLES.jsonl"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from transformers import AutoTokenizer

fathom, checkpoint, samples = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(checkpoint)


def logprobs(ids):
    """Of every id after the first, from the logits at the place before it; in float32 as the server tells them."""
    with tempfile.TemporaryDirectory() as scratch:
        names = [str(Path(scratch, name)) for name in ("ids", "logits")]
        numpy.array(ids, "<i4").tofile(names[0])
        command = [fathom, "logits", checkpoint, "--numerics", "reference", "--ids", names[0], "--out", names[1]]
        subprocess.run(command, check=True, capture_output=True)
        logits = numpy.fromfile(names[1], "<f4").reshape(len(ids), -1)
    wide = logits.astype(numpy.float64)
    highest = wide.max(axis=1, keepdims=True)
    normaliser = highest[:, 0] + numpy.log(numpy.exp(wide - highest).sum(axis=1))
    chosen = wide[numpy.arange(len(ids) - 1), ids[1:]] - normaliser[:-1]
    greedy = logits[:-1].argmax(axis=1) == numpy.array(ids[1:])
    return chosen.astype(numpy.float32), greedy


count, equal, worst = 0, 0, 0.0
for line in open(samples):
    sample = json.loads(line)
    for (_, arguments), ((told, greedy_told),) in zip(sorted(sample["arguments"].items()), sample["resps"]):
        context, continuation = arguments["arg_0"], arguments["arg_1"]
        before = tokenizer.encode(context, add_special_tokens=False)
        ids = tokenizer.encode(context + continuation, add_special_tokens=False)
        ours, greedy = logprobs(ids)
        ours = sum(float(value) for value in ours[len(before) - 1 :])
        count += 1
        equal += float(told) == ours
        worst = max(worst, abs(float(told) - ours))
        assert (str(greedy_told) == "True") == bool(greedy[len(before) - 1 :].all()), sample["doc"]
        print(f"{context!r} {continuation!r}: lm-eval {told}, fathom logits {ours}")
print(f"{count} log-likelihoods, {equal} equal to the last bit, largest difference {worst}; all 'is greedy' agree")
