"""Write the model card from the raw evaluation files.

  card.py --runs DIR_WITH_JSON --model DIR --log training-log.jsonl
"""
import argparse
import json
import os

TOP = """# fathom-small-1

The small model embedded in the `fathom` binary. It has the DeepSeek-V4 architecture in full (window, CSA and HCA attention with a
lightning indexer, hash and top-k MoE, four-stream hyper-connections) at toy size, and was trained from scratch for this project on
generated text. It holds no DeepSeek weights and no third-party data. It is here so that a fresh install has something real to run:
it shows the engine working, long context included. It is not an assistant.

| | |
| --- | --- |
| parameters | {total:.2f} M total, about {active:.2f} M active per token (output head included, embedding table not) |
| shape | 4 layers (window; CSA; HCA; CSA), hidden 256, 4 heads of 64 (16 rotary), window 32, 32 experts (2 used, 1 shared) of width 64, index top-k 64 |
| storage | FP4 routed experts, FP8 dense projections, BF16 / F32 rest, as in V4; {mb:.1f} MB |
| vocabulary | {vocab} byte-level BPE entries, single digits; V4's special tokens |
| training | {steps} steps, {tokens:.1f} M tokens, {hours:.1f} h of one shared CPU core (work lost at restarts not counted); contexts of 128 to 2,048 tokens, position jumps up to 60,000 |

## What it can do

Find planted facts ("The key of Falcon is lantern.") in a long text; facts about a person in the prompt; one- and two-digit sums;
greetings, who it is, small stories; a tool call when tools are offered, and the answer from the tool's result. Tool calls come out
well-formed, and about four in five name the right function with the right arguments: most of the rest have one or two wrong words.

The lists of names and words are fixed (168 names, 172 values, see `tools/train/words.py`), all seen in training; the combinations, texts and
orders of the tests were not. One- and two-digit sums are so few that most of the tested ones occurred in training. Anything outside
these templates gets a wrong or senseless answer. Greedy stories repeat names.

## Measured

An answer counts when greedy decoding would write exactly the expected tokens up to the end of the sentence. n = answers; the error
is one standard error (a row of 100 % says only that fewer than about 3 in n fail). Documents use the training templates for filler. Weights are the quantised ones in this folder. *Exact* is float32 arithmetic; *reference* is the published
low-precision path. Logits by `fathom logits` (working tree of the day of training); the window-only control and the look inside the indexer by the torch model.
Not measured: a window-only model trained as such, other seeds, contexts beyond 32,768. No MTP block was trained.
"""


def pct(s):
    return f"{100 * s['acc']:.1f} % ± {100 * s['se']:.1f} (n {s['n']})"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--runs", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--log", required=True)
    a = ap.parse_args()
    ev = {}
    for f in sorted(os.listdir(a.runs)):
        if f.endswith(".json"):
            j = json.load(open(os.path.join(a.runs, f)))
            ev.setdefault("reference" if j["args"]["reference"] else "exact", {}).update(j)
    ex, ref = ev["exact"], ev.get("reference", {})
    cfg = json.load(open(os.path.join(a.model, "config.json")))
    last = json.loads(open(a.log).read().splitlines()[-1])
    d, V, m, E, L = cfg["hidden_size"], cfg["vocab_size"], cfg["moe_intermediate_size"], cfg["n_routed_experts"], cfg["num_hidden_layers"]
    total = 9063981
    active = total - V * d - L * (E - cfg["num_experts_per_tok"]) * 3 * m * d
    size = os.path.getsize(os.path.join(a.model, "model.safetensors"))
    out = [TOP.format(total=total / 1e6, active=active / 1e6, mb=size / 1e6, vocab=V, steps=last["step"], tokens=last["tokens"] / 1e6, hours=last["sec"] / 3600)]
    out.append(f"### Planted recall: {ex['args']['facts']} facts in one document, {ex['args']['asks']} asked in later turns\n")
    out.append("Chance is 0.6 % over the values and 12.5 % among the planted ones. \"Window only\" is the same weights with every compressed entry hidden.\n")
    out.append("| context | value right, exact | whole answer, exact | whole answer, reference | value right, window only |\n| --- | --- | --- | --- | --- |")
    for k in sorted((k for k in ex if k.startswith("recall ")), key=lambda k: int(k.split()[1])):
        r, q = ex[k], ref.get(k)
        w = r.get("window_only_value")
        out.append(f"| {int(k.split()[1]):,} | {pct(r['value'])} | {pct(r['exact'])} | {pct(q['exact']) if q else ''} | {pct(w) if w else ''} |")
    dep = [k for k in ex if k.startswith("depth ")]
    if dep:
        out.append(f"\nOne needle in {int(dep[0].split()[-1]):,} tokens, by depth (0 = start), exact: " +
                   "; ".join(f"{k.split()[1]}: {pct(ex[k]['exact'])}" for k in dep) + ".\n")
    idx = [k for k in ex if k.startswith("index ")]
    if idx:
        out.append("### Indexer\n\nAt the positions that must produce the value: the share of the dense attention mass on compressed entries that the top 64 keep, and "
                   "how often an entry holding the value is selected.\n\n| context | layer | mass kept | value entry selected |\n| --- | --- | --- | --- |")
        for k in idx:
            for lay, v in ex[k].items():
                out.append(f"| {int(k.split()[1]):,} | {lay.split()[1]} | {100 * v['mass_kept']:.1f} % | {pct(v['value_entry_selected'])} |")
    out.append("\n### Other tasks (whole answer right)\n\n\"tool call and answer\" counts the call and the sentence after the tool's result as one answer each.\n\n| task | exact | reference |\n| --- | --- | --- |")
    for k, v in ex.items():
        if isinstance(v, dict) and "acc" in v:
            out.append(f"| {k} | {pct(v)} | {pct(ref[k]) if k in ref else ''} |")
    out.append("\n### Greedy answers, as they come\n\n| prompt | answer |\n| --- | --- |")
    for k, v in ex.items():
        if k.startswith(("chat: ", "think: ")):
            cell = lambda s: s.replace("<｜end▁of▁sentence｜>", "").replace("\n", " ").replace("|", "\\|")
            out.append(f"| {cell(k)} | {cell(v)} |")
    out.append(f"\nSeed of the tests {ex['args']['seed']}; commands, code and the course of training in `tools/train/README.md`, raw results in "
               "`bench/runs/2026-11-22-default-model/`.")
    open(os.path.join(a.model, "README.md"), "w").write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
