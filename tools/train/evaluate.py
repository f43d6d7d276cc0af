"""Held-out evaluation of an exported checkpoint.

  evaluate.py --model DIR --out FILE.json [--lengths 512,1024,32768x4] [--docs 16] [--asks 4] [--reference]

Seeds differ from training.  An answer counts only if every one of its tokens (end of sentence included) is the
arg-max given the text so far, i.e. greedy decoding would write exactly that answer.
 recall      planted facts, asked in later turns; `window_only` is the same model with all compressed entries hidden
 depth       one needle at a set depth
 index       share of queries at the asked value whose best-attended true entry is among the indexer's top k
 arithmetic, tools, about: exact answers of one item each
--reference simulates the FP8/FP4 activation, KV and indexer round trips (the low-precision path); weights are
those of the checkpoint in either case.
"""
import argparse
import json
import math
import os
import random
import subprocess
import tempfile
import time

import numpy as np
import torch

import data
import load
import model as M
from train import Stream


class Runner:
    def __init__(self, path, reference):
        self.m, self.tok = load.load(path)
        r = self.m.cfg.qk_rope_head_dim
        self.q = M.Quant(kv=True, idx=True, act=True, rope_dim=r) if reference else M.Quant(rope_dim=r)
        self.dtype = torch.float32

    def argmax(self, ids, keep, **o):
        n = -len(ids) % 128
        t = torch.tensor([ids + [2] * n])
        with torch.no_grad():
            T = t.shape[1]
            lg = self.m(t, q=self.q, o=M.options(topk=True, chunk=min(T, 1024) if T % 1024 == 0 else 128 if T > 2048 else None, **o),
                        dtype=self.dtype, keep=torch.tensor(keep))
        return lg.argmax(-1).tolist()

    def answers(self, ids, spans, **o):
        """spans of answer tokens -> list of exact?"""
        keep = [i - 1 for a, b in spans for i in range(a, b)]
        got = iter(self.argmax(ids, keep, **o))
        return [all([next(got) == ids[i] for i in range(a, b)]) for a, b in spans]

    def generate(self, text, n=120):
        ids = self.tok.encode(text).ids
        k = len(ids)
        while len(ids) < k + n:
            x = self.argmax(ids, [len(ids) - 1])[0]
            ids.append(x)
            if x == 1:
                break
        return self.tok.decode(ids[k:], skip_special_tokens=False)


class Engine(Runner):
    """the same questions put to the `fathom` engine through its logits command; controls that hide the compressed
    entries and looks inside the indexer stay with torch"""

    def __init__(self, path, reference, binary, threads):
        super().__init__(path, reference)
        self.cmd = [binary, "logits", "--numerics", "reference" if reference else "exact", "--threads", str(threads), path]

    def argmax(self, ids, keep, **o):
        if o:
            return super().argmax(ids, keep, **o)
        with tempfile.TemporaryDirectory() as d:
            i, f = os.path.join(d, "ids"), os.path.join(d, "logits")
            np.array(ids, np.int32).tofile(i)
            subprocess.run([*self.cmd, "--ids", i, "--out", f], check=True, stdout=subprocess.DEVNULL)
            x = np.memmap(f, np.float32, "r").reshape(len(ids), -1)
            return x[keep].argmax(-1).tolist()


def spans(tok, ids):
    """answers: from after <think> or </think> that follows the assistant token, up to and with the EOS"""
    bot = tok.token_to_id("<｜Assistant｜>")
    out, i = [], 0
    while bot in ids[i:]:
        a = ids.index(bot, i) + 2
        b = ids.index(1, a) + 1
        out.append((a, b))
        i = b
    return out


def stat(hits):
    n, p = len(hits), sum(hits) / max(1, len(hits))
    return dict(n=n, acc=round(p, 4), se=round(math.sqrt(p * (1 - p) / max(1, n)), 4))


def recall(run, cost, T, docs, asks, facts, seed, depth=None, control=0):
    r = random.Random(seed * 1000003 + T + (0 if depth is None else int(depth * 100)))
    exact, value, win, wall, ids = [], [], [], time.time(), []
    for k in range(docs):
        c = data.recall(r, T, facts, asks, cost, place="turn", depth=depth, ask="What is the key of {n}?")
        ids = run.tok.encode(c.text()).ids
        sp = spans(run.tok, ids)[-asks:]
        vals = [b - 3 for _, b in sp]          # ... value . EOS
        assert all(run.tok.id_to_token(ids[i]).lstrip("Ġ") == v for i, (_, v) in zip(vals, c.asked))
        keep = [i - 1 for a, b in sp for i in range(a, b)]
        got = dict(zip(keep, run.argmax(ids, keep)))
        exact += [all(got[i - 1] == ids[i] for i in range(a, b)) for a, b in sp]
        value += [got[i - 1] == ids[i] for i in vals]
        if k < control:
            win += [g == ids[i] for g, i in zip(run.argmax(ids, [i - 1 for i in vals], no_comp=True), vals)]
    d = dict(tokens=len(ids), facts=facts, exact=stat(exact), value=stat(value), seconds=round(time.time() - wall, 1))
    if control:
        d["window_only_value"] = stat(win)
    return d


def index_recall(run, cost, T, docs, asks, facts, seed):
    """of the true attention mass on compressed entries (dense, head mean), the share the top k keeps; and whether the
    entries that hold the asked value are selected"""
    r = random.Random(seed * 7 + T)
    mass, found = {}, {}
    for _ in range(docs):
        c = data.recall(r, T, facts, asks, cost, place="turn", ask="What is the key of {n}?")
        ids = run.tok.encode(c.text()).ids
        sp = spans(run.tok, ids)[-asks:]
        rows = [b - 4 for _, b in sp]          # the position that predicts the value
        first = [ids.index(ids[b - 3]) for _, b in sp]

        def look(att, lo, hi, qs, ce, ctx, top):
            layer = next(i for i, b in enumerate(run.m.layers) if b.attn is att)
            for t, f in zip(rows, first):
                if lo <= t < hi:
                    z = (qs[0, t - lo] @ ce[0].t()).float()
                    z[:, (t + 1) // 4:] = -1e30
                    p = torch.softmax(z, -1).mean(0)
                    mass.setdefault(layer, []).append(p[top[0, t - lo]].sum().item())
                    sel = set(top[0, t - lo].tolist())
                    found.setdefault(layer, []).append(bool(sel & {f // 4, f // 4 + 1}))
        run.argmax(ids, [0], stats=look)
    return {f"layer {k}": dict(mass_kept=round(sum(v) / len(v), 4), value_entry_selected=stat(found[k])) for k, v in sorted(mass.items())}


def items(run, make, n, seed):
    r, hits, final = random.Random(seed), [], []
    for _ in range(n):
        ids = run.tok.encode(make(r).text()).ids
        h = run.answers(ids, spans(run.tok, ids))
        hits += h
    return stat(hits)


PROMPTS = ["hello", "who are you?", "what can you do?", "tell me a story", "Tell me a story about a frog.", "What is 17 + 25?", "What is 8 * 7?",
           "Name three animals.", "thank you", "What is the capital of France?",
           "It was rainy in Oslo. The key of Falcon is lantern. The baker closed the shop.\n\nWhat is the key of Falcon?"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--lengths", default="512,1024,2048,4096", help="context lengths, each with an optional number of documents: 512,32768x4")
    ap.add_argument("--docs", type=int, default=16)
    ap.add_argument("--asks", type=int, default=4)
    ap.add_argument("--facts", type=int, default=8)
    ap.add_argument("--items", type=int, default=100)
    ap.add_argument("--depths", default="", help="length of the depth sweep, e.g. 2048")
    ap.add_argument("--seed", type=int, default=20261)
    ap.add_argument("--reference", action="store_true")
    ap.add_argument("--engine", help="path of a built fathom binary to compute the logits with")
    ap.add_argument("--control-limit", type=int, default=4096, help="longest context for the torch-only controls")
    ap.add_argument("--control-docs", type=int, default=8)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--chat", action="store_true", help="also write greedy answers to a few prompts")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    run = Engine(a.model, a.reference, a.engine, a.threads) if a.engine else Runner(a.model, a.reference)
    cost = Stream(run.tok, {}, 0).cost
    out = dict(args=vars(a), values_in_vocabulary=len(data.VALUES), chance_value=1 / len(data.VALUES), chance_among_planted=1 / a.facts)

    def put(k, v):
        out[k] = v
        print(k, json.dumps(v), flush=True)
        json.dump(out, open(a.out, "w"), indent=1)
    if a.items:
        for d in (1, 2, 3):
            put(f"arithmetic think {d} digits", items(run, lambda r: data.arithmetic(r, 1, d, "think"), a.items, a.seed + d))
            put(f"arithmetic chat {d} digits", items(run, lambda r: data.arithmetic(r, 1, d, "chat"), a.items, a.seed + 10 + d))
        put("tool call", items(run, lambda r: data.tools(r, r.randrange(2, 5), follow=False), a.items, a.seed + 20))
        put("tool call and answer", items(run, lambda r: data.tools(r, r.randrange(2, 5), follow=True), a.items // 2, a.seed + 21))
        put("facts of a person", items(run, data.about, a.items, a.seed + 22))
    if a.chat:
        for p in PROMPTS:
            put("chat: " + p, run.generate(f"<｜begin▁of▁sentence｜><｜User｜>{p}<｜Assistant｜></think>"))
        for p in PROMPTS[5:7]:
            put("think: " + p, run.generate(f"<｜begin▁of▁sentence｜><｜User｜>{p}<｜Assistant｜><think>"))
    for x in filter(None, a.lengths.split(",")):
        T, docs = (*map(int, x.split("x")), a.docs)[:2]
        put(f"recall {T}", recall(run, cost, T, docs, a.asks, a.facts, a.seed, control=a.control_docs if T <= a.control_limit else 0))
        if T <= a.control_limit:
            put(f"index {T}", index_recall(run, cost, T, min(docs, a.control_docs), a.asks, a.facts, a.seed))
    if a.depths:
        for d in (0.0, 0.25, 0.5, 0.75, 1.0):
            put(f"depth {d} at {a.depths}", recall(run, cost, int(a.depths), a.docs, 1, 1, a.seed, depth=d))


if __name__ == "__main__":
    main()
