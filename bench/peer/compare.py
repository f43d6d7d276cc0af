#!/usr/bin/env python3
"""Runs `fathom bench` and the peer in turns on one model, and writes every run, the medians and their ratios.

    compare.py --fathom FATHOM --model DIR --peer peer_bench --gguf MODEL.gguf --out OUT.json [--rounds 5]

Each round runs both, alternating which goes first; each run warms up and then measures everything once. A ratio above 1
is Fathom's favour. `others_share` is the share of the machine that programs other than the one measured used meanwhile:
above a few percent, measure again.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def processor_seconds():
    """Busy and total processor time of the whole machine, in seconds."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + softirq + steal
    return busy / tick, (busy + idle + iowait) / tick


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(command):
    """Runs a command; its standard output, wall seconds, and what others used of the machine meanwhile."""
    start, (busy, total), own = time.monotonic(), processor_seconds(), child_seconds()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with status {done.returncode}")
    busy_end, total_end = processor_seconds()
    others = busy_end - busy - (child_seconds() - own)
    facts = {
        "seconds": round(time.monotonic() - start, 1),
        "others_share": round(max(0.0, others) / max(1e-9, total_end - total), 3),
    }
    return done.stdout, facts


def run_fathom(args):
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [args.fathom, "bench", args.model, "--prefill", args.prefill, "--depths", args.depths]
        command += ["--gen", str(args.gen), "--threads", str(args.threads), "--repeats", "1", "--json", report]
        if args.numerics:
            command += ["--numerics", args.numerics]
        _, facts = timed(command)
        return facts | json.loads(report.read_text(encoding="utf-8"))


def run_peer(args):
    command = [args.peer, args.gguf, str(args.threads), args.prefill, args.depths, str(args.gen)]
    output, facts = timed(command + ([args.donor] if args.donor else []))
    return facts | json.loads(output)


def compare(rounds, kind, key):
    """Medians of one kind of measurement, their ratio, and how the rounds' ratios spread."""
    result = []
    for i, entry in enumerate(rounds[0]["fathom"][kind]):
        fathom = [r["fathom"][kind][i]["tokens_per_s"] for r in rounds]
        peer = [r["peer"][kind][i]["tokens_per_s"] for r in rounds]
        ratios = [a / b for a, b in zip(fathom, peer, strict=True)]
        shares = [r["fathom"][kind][i]["share_of_limit"] for r in rounds]
        result.append(
            {
                key: entry[key],
                "fathom_tokens_per_s": statistics.median(fathom),
                "peer_tokens_per_s": statistics.median(peer),
                "ratio": statistics.median(fathom) / statistics.median(peer),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
                "fathom_share_of_limit": statistics.median(shares),
            }
        )
    return result


def table(result):
    for kind, key in (("prefill", "tokens"), ("decode", "depth")):
        for entry in result[kind]:
            place = f"{kind} {'@' if kind == 'decode' else ''}{entry[key]:,}"
            yield (
                f"{place:<20} fathom {entry['fathom_tokens_per_s']:8.1f}  peer {entry['peer_tokens_per_s']:8.1f} tokens/s"
                f"  ratio {entry['ratio']:.2f} ({entry['ratio_min']:.2f} to {entry['ratio_max']:.2f})"
                f"  fathom at {100 * entry['fathom_share_of_limit']:.0f} % of the limit"
            )


def numbers(text):
    """As both programs take them: ascending, each once."""
    return text if text == "none" else ",".join(map(str, sorted({int(n) for n in text.split(",")})))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fathom", required=True, help="the fathom program, a release build")
    parser.add_argument("--model", required=True, help="checkpoint directory")
    parser.add_argument("--peer", required=True, help="peer_bench, see build.sh")
    parser.add_argument("--gguf", required=True, help="the same model, see to_gguf.py")
    parser.add_argument("--donor", help="GGUF of a small model of the same cache shape, for great depths")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prefill", type=numbers, default="512,2048")
    parser.add_argument("--depths", type=numbers, default="0,8192")
    parser.add_argument("--gen", type=int, default=16)
    parser.add_argument("--numerics", help="of fathom; its default without")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds: at least 1")

    rounds = []
    for i in range(args.rounds):
        runs = [("fathom", run_fathom), ("peer", run_peer)]
        results = {name: run(args) for name, run in (runs if i % 2 == 0 else runs[::-1])}
        rounds.append({name: results[name] for name, _ in runs})
        others = ", ".join(f"{name} {results[name]['others_share']:.0%}" for name, _ in runs)
        print(f"round {i + 1} of {args.rounds} done; others used: {others}", file=sys.stderr)
    result = {
        "model": rounds[0]["fathom"]["model"],
        "numerics": rounds[0]["fathom"]["numerics"],
        "date": rounds[0]["fathom"]["date"],
        "threads": args.threads,
        "gguf_bytes": os.path.getsize(args.gguf),
        "prefill": compare(rounds, "prefill", "tokens"),
        "decode": compare(rounds, "decode", "depth"),
        "rounds": rounds,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(result)))


if __name__ == "__main__":
    main()
