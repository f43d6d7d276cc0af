"""Train the model; resumable, curriculum by stage file.

  train.py --tokenizer DIR --run DIR --stage stages/1.json [--minutes M]
A stage (JSON) sets: T (row length), rows, mix {task: weight}, recall {facts, ask, filler}, jump, lr, lr_end,
minutes, topk, quant flags.  The checkpoint in --run is continued, with its optimizer state.
"""
import argparse
import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
import model as M

CONFIG = dict(
    architectures=["DeepseekV4ForCausalLM"], model_type="deepseek_v4", fathom_model="fathom-small-1", torch_dtype="bfloat16",
    vocab_size=2816, hidden_size=256, num_hidden_layers=4, compress_ratios=[0, 4, 128, 4], num_attention_heads=4, num_key_value_heads=1,
    head_dim=64, qk_rope_head_dim=16, q_lora_rank=128, o_groups=2, o_lora_rank=64, sliding_window=32, index_n_heads=4, index_head_dim=64,
    index_topk=64, moe_intermediate_size=64, n_routed_experts=32, num_experts_per_tok=2, n_shared_experts=1, num_hash_layers=2,
    scoring_func="sqrtsoftplus", norm_topk_prob=True, topk_method="noaux_tc", routed_scaling_factor=1.5, swiglu_limit=10.0,
    hidden_act="silu", hc_mult=4, hc_sinkhorn_iters=20, hc_eps=1e-6, rms_norm_eps=1e-6, rope_theta=10000, compress_rope_theta=160000,
    rope_scaling=dict(type="yarn", factor=16, original_max_position_embeddings=65536, beta_fast=32, beta_slow=1),
    max_position_embeddings=65536, num_nextn_predict_layers=0, tie_word_embeddings=False, attention_bias=False, attention_dropout=0.0,
    initializer_range=0.02, use_cache=True, bos_token_id=0, eos_token_id=1)


# ---- data -------------------------------------------------------------------------------------------
class Stream:
    def __init__(self, tok, stage, seed):
        self.tok, self.s, self.r = tok, stage, random.Random(seed)
        self.cache = {}

    def cost(self, s):
        n = self.cache.get(s)
        if n is None:
            n = len(self.tok.encode(" " + s).ids)
            if len(self.cache) < 200000:
                self.cache[s] = n
        return n

    def encode(self, chat):
        e = self.tok.encode(chat.text())
        w, i, end = [], -1, 0
        for a, _ in e.offsets:
            while a >= end:
                i += 1
                end += len(chat.seg[i][0])
            w.append(chat.seg[i][1])
        return e.ids, w

    def item(self, room):
        s, r = self.s, self.r
        tasks = list(s["mix"])
        for _ in range(8):
            t = r.choices(tasks, [s["mix"][k] for k in tasks])[0]
            if t == "recall":
                k = s["recall"]
                lo, hi = k.get("tokens", [s["T"] // 2, s["T"]])
                n = min(r.randint(lo, hi), room)
                f = r.randint(*k["facts"])
                a = r.randint(*k["ask"])
                need = 30 * min(a, f) + 9 * f + 20
                if n < need:
                    continue
                c = data.recall(r, n, f, a, self.cost, k.get("filler", 0.0), pool=s.get("pool"), think=k.get("think", 0.0))
            elif t == "drill":
                if room < self.s["T"]:
                    continue
                c = data.drill(r, room - 4, r.randint(*s["drill"]), self.cost, s.get("noise", 0.1), s.get("pool"), s.get("bare", 0.0))
            elif t == "tool_practice":
                c = data.tools(r, r.randint(1, 3), r.random() < 0.4, r.randint(1, 4), short=True)
            elif t == "arithmetic":
                c = data.arithmetic(r, r.choice([1, 1, 1, 2, 3]))
            else:
                c = dict(tools=data.tools, chat=data.chat, about=data.about, prose=data.prose, table=data.table)[t](r)
            ids, w = self.encode(c)
            if len(ids) <= room:
                return ids, w
        return None

    def row(self):
        T = self.s["T"]
        ids, wt, doc, pos = [], [], [], []
        d = 0
        while len(ids) < T - 40:
            x = self.item(T - len(ids))
            if x is None:
                break
            n = len(x[0])
            p = -n % 4
            ids += x[0] + [2] * p
            wt += x[1] + [0.0] * p
            doc += [d] * (n + p)
            q = list(range(n + p))
            if n > 128 and self.r.random() < self.s.get("jump", 0):
                q = self.jumps(q)
            pos += q
            d += 1
            # HCA windows are aligned to rows: give long documents an aligned start
        p = T - len(ids)
        return ids + [2] * p, wt + [0.0] * p, doc + [d] * p, pos + list(range(p))

    def jumps(self, q):
        off, out, lim = 0, [], 60000 - len(q)
        top = int(math.exp(self.r.uniform(math.log(128), math.log(lim))))
        cuts = {self.r.randrange(1, max(2, len(q) // 128 + 1)) for _ in range(self.r.randint(1, 3))}
        for i in q:
            if i and i % 128 == 0 and i // 128 in cuts:
                off = min(lim, off + self.r.randrange(0, top) // 128 * 128)
            out.append(i + off)
        return out

    def batch(self):
        if self.s.get("shapes"):    # [row length, rows, weight]
            T, n, _ = self.r.choices(self.s["shapes"], [x[2] for x in self.s["shapes"]])[0]
            self.s = dict(self.s, T=T, rows=n)
        rows = [self.row() for _ in range(self.s["rows"])]
        ids, wt, doc, pos = (torch.tensor([x[i] for x in rows]) for i in range(4))
        tgt, w = torch.zeros_like(ids), torch.zeros(ids.shape)
        tgt[:, :-1] = ids[:, 1:]
        w[:, :-1] = wt[:, 1:].float() * (doc[:, 1:] == doc[:, :-1])
        return ids, pos, doc, tgt, w


def balanced_table(tok, cfg, seed):
    """tid2eid: token ids spread over experts so that frequent tokens do not collide"""
    f = torch.ones(cfg["vocab_size"])
    for i, t in enumerate(data.corpus(seed, 300)):
        for x in tok.encode(t).ids:
            f[x] += 1
    r = random.Random(seed)
    load, k = [0.0] * cfg["n_routed_experts"], cfg["num_experts_per_tok"]
    out = torch.zeros(cfg["vocab_size"], k, dtype=torch.int64)
    for t in f.argsort(descending=True).tolist():
        order = sorted(range(len(load)), key=lambda e: (load[e], r.random()))[:k]
        for j, e in enumerate(order):
            out[t, j] = e
            load[e] += f[t].item()
    return out


# ---- optimizer --------------------------------------------------------------------------------------
class Opt:
    """Muon (RMS-matched, Nesterov) for matrices, AdamW for everything else"""

    def __init__(self, params, muon=True):
        self.mu, self.ad = [], []
        for n, p in params:
            mat = (p.ndim == 3 and "behind" not in n) or (p.ndim == 2 and not any(k in n for k in ("embed", "head", "hc_", ".ape", "gate", "weights_proj")))
            (self.mu if mat and muon else self.ad).append((n, p))
        self.st, self.t = {}, 0

    def state_dict(self):
        return dict(st=self.st, t=self.t)

    def load_state_dict(self, s):
        self.st, self.t = s["st"], s["t"]

    @torch.no_grad()
    def step(self, lr, wd=0.02, b1=0.9, b2=0.95, mom=0.95):
        self.t += 1
        for n, p in self.ad:
            g = p.grad
            if g is None:
                continue
            s = self.st.setdefault(n, dict(m=torch.zeros_like(p), v=torch.zeros_like(p)))
            s["m"].lerp_(g, 1 - b1)
            s["v"].lerp_(g * g, 1 - b2)
            k = lr * (0.3 if "hc_" in n else 1.0)
            if p.ndim == 2:
                p.mul_(1 - k * wd)
            p.addcdiv_(s["m"] / (1 - b1 ** self.t), (s["v"] / (1 - b2 ** self.t)).sqrt().add_(1e-12), value=-k)
        groups = {}
        for n, p in self.mu:
            if p.grad is None:
                continue
            m = self.st.setdefault(n, dict(m=torch.zeros_like(p)))["m"]
            m.lerp_(p.grad, 1 - mom)
            u = p.grad.lerp(m, mom)
            u3 = u if u.ndim == 3 else u[None]
            groups.setdefault(tuple(sorted(u3.shape[1:])), []).append((p, u3))
        for shape, ps in groups.items():
            x = torch.cat([u if u.shape[1] <= u.shape[2] else u.transpose(1, 2) for _, u in ps]).bfloat16()
            x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-12).bfloat16()
            for _ in range(5):
                a = x @ x.transpose(1, 2)
                b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
                x = torch.baddbmm(x, b, x, beta=3.4445)
            i, k = 0, lr * 0.18 * math.sqrt(max(shape))
            for p, u in ps:
                y = x[i:i + u.shape[0]]
                i += u.shape[0]
                y = y if u.shape[1] <= u.shape[2] else y.transpose(1, 2)
                p.mul_(1 - lr * wd).add_(y.reshape(p.shape).float(), alpha=-k)


class Behind(torch.nn.Module):
    """training aid, thrown away afterwards: the first layer's streams must tell the previous two tokens.
    It removes the plateau before look-ups by name appear (the name stands two tokens before its value)."""

    def __init__(self, cfg):
        super().__init__()
        self.behind_head = torch.nn.Parameter(torch.randn(2, cfg["vocab_size"], cfg["hidden_size"]) * 0.03)

    def forward(self, X, ids, doc, n=512):
        B, T = ids.shape
        at = torch.randint(2, T, (n,)) + torch.randint(0, B, (n,)) * T
        h = M.rms(X[at].mean(1)).float()
        d, loss = doc.flatten(), 0.0
        for k in (1, 2):
            ok = (d[at] == d[at - k]).float()
            ce = F.cross_entropy(h @ self.behind_head[k - 1].t(), ids.flatten()[at - k], reduction="none")
            loss = loss + (ce * ok).sum() / (ok.sum() + 1)
        return loss


class Guide:
    """training aid: for every content word to be written that stands earlier in the document, which attention rows hold it
    (window rows, and the CSA entries that pool it together with the token before it).  Half of the heads of the CSA layers
    are rewarded for looking there."""

    def __init__(self, tok, cfg):
        content = {w.lower() for k in (data.ALL_WORDS, data.TOOL_NOUNS, data.TOOL_VERBS, *data.ARG_NAMES.values()) for w in k}
        number = {}
        self.word = torch.full((cfg["vocab_size"],), -1)
        for t, i in tok.get_vocab().items():
            w = t.lstrip("Ġ").lower()
            if w in content:
                self.word[i] = number.setdefault(w, len(number))
        self.W = cfg["sliding_window"]

    def __call__(self, ids, doc, tgt, w):
        B, T = ids.shape
        b, t = ((w >= 0.45) & (self.word[tgt] >= 0)).nonzero(as_tuple=True)
        i = torch.arange(T)
        hit = (self.word[ids[b]] == self.word[tgt[b, t]][:, None]) & (i[None] <= t[:, None]) & (doc[b] == doc[b, t][:, None])
        ok = hit.any(1)
        b, t, hit = b[ok], t[ok], hit[ok]
        if not len(b):
            return None
        k = (t // self.W * self.W - self.W)[:, None] + torch.arange(2 * self.W)
        win = hit.gather(1, k.clamp(min=0)) & (k >= 0) & (t[:, None] - k < self.W)
        q = hit.view(len(b), T // 4, 4)
        ent = q.any(2)
        ent[:, 1:] |= q[:, :-1, 2:].any(2)
        ent &= (torch.arange(1, T // 4 + 1) * 4)[None] <= t[:, None] + 1
        return b, t, torch.cat((win, ent), 1).float()


# ---- loop -------------------------------------------------------------------------------------------
def quant_of(s):
    return M.Quant(**s.get("quant", {}), rope_dim=CONFIG["qk_rope_head_dim"])


def evaluate(model, tok, s, q, n=64):
    """quick held-out accuracy on teacher-forced answers: all weighted tokens of an item right"""
    res = {}
    for task, T in (("recall", s["T"]), ("drill", s["T"]), ("arithmetic", 256), ("about", 256), ("tools", 512), ("chat", 256)):
        if not s["mix"].get(task):
            continue
        st = dict(s, shapes=None, mix={task: 1}, T=T, rows=max(2, 8192 // T // 2), jump=0)
        if task == "recall":
            st["recall"] = dict(s["recall"], tokens=[T, T])
        ids, pos, doc, tgt, w = Stream(tok, st, 990 + T).batch()
        with torch.no_grad():
            keep = (w.flatten() >= 0.9).nonzero()[:, 0]
            lg = model(ids, pos, doc, q, M.options(topk=s.get("topk", 0) > 0), torch.bfloat16, keep)
        res[task] = round((lg.argmax(-1) == tgt.flatten()[keep]).float().mean().item(), 3)
    return res


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--run", required=True)
    ap.add_argument("--stage", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--fresh-optimizer", action="store_true")
    ap.add_argument("--no-compile", action="store_true")
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    os.makedirs(a.run, exist_ok=True)
    s = json.load(open(a.stage))
    tok = Tokenizer.from_file(os.path.join(a.tokenizer, "tokenizer.json"))
    if not a.no_compile:
        M.enable_compile()
    cfg = dict(CONFIG)
    model = M.Model(cfg, a.seed, balanced_table(tok, cfg, 5))
    aux, guide = Behind(cfg), Guide(tok, cfg)
    opt = Opt([*model.named_parameters(), *aux.named_parameters()])
    path, st = os.path.join(a.run, "last.pt"), dict(step=0, tokens=0, seconds=0.0)
    if os.path.exists(path):
        ck = torch.load(path, weights_only=False)
        model.load_state_dict(ck["model"])
        st = ck["stats"]
        if "aux" in ck:
            aux.load_state_dict(ck["aux"])
        if not a.fresh_optimizer:
            opt.load_state_dict(ck["opt"])
    stream, q = Stream(tok, s, 1000 * st["step"] + a.seed), quant_of(s)
    log = open(os.path.join(a.run, "log.jsonl"), "a")
    rows_every = s.get("idx_stride", 4)
    t0, base, saved, evald, acc, n0 = time.time(), st["seconds"], time.time(), time.time(), [], st["step"]
    print(f"start {a.stage} step {st['step']} params {sum(p.numel() for p in model.parameters())}", flush=True)
    while True:
        el = time.time() - t0
        frac = min(1.0, el / (s["minutes"] * 60))
        warm = min(1.0, (st["step"] - n0 + 1) / s.get("warmup", 20))
        lr = warm * (s["lr_end"] + (s["lr"] - s["lr_end"]) * 0.5 * (1 + math.cos(math.pi * frac)))
        ids, pos, doc, tgt, w = stream.batch()
        keep = w.flatten().nonzero()[:, 0]
        o = M.options(topk=stream.r.random() < s.get("topk", 0), load=[], tap=[],
                      idx_rows=torch.arange(st["step"] % rows_every, ids.shape[1], rows_every) if s.get("idx_weight", 0.3) else None)
        if s.get("guide"):
            o.guide, o.guide_loss = guide(ids, doc, tgt, w), []
        lg = model(ids, pos, doc, q, o, torch.bfloat16, keep)
        wk, tk = w.flatten()[keep], tgt.flatten()[keep]
        ce = F.cross_entropy(lg, tk, reduction="none")
        loss = (ce * wk).sum() / wk.sum()
        il = torch.stack(o.idx_loss).mean() if o.idx_loss else torch.zeros(())
        bh = aux(o.tap[0], ids, doc) if s.get("behind") else torch.zeros(())
        gl = torch.stack(o.guide_loss).mean() if o.guide_loss else torch.zeros(())
        (loss + s.get("guide", 0.0) * gl + s.get("idx_weight", 0.3) * il + s.get("behind", 0.0) * bh).backward()
        gn = torch.nn.utils.clip_grad_norm_([*model.parameters()], 1.0)
        if torch.isfinite(gn):
            opt.step(lr)
        for p in [*model.parameters(), *aux.parameters()]:
            p.grad = None
        with torch.no_grad():
            for moe, cnt in o.load:
                c = cnt.float()
                moe.bias.add_(torch.sign(c.mean() - c), alpha=s.get("bias_speed", 0.002))
        st["step"] += 1
        st["tokens"] += ids.numel()
        st["seconds"] = base + time.time() - t0
        hit = (lg.argmax(-1) == tk)[wk >= 0.9].float().mean().item()
        acc.append((loss.item(), il.item(), hit, gn.item(), bh.item(), gl.item()))
        if st["step"] % 20 == 0 or frac >= 1:
            m = [sum(x) / len(acc) for x in zip(*acc)]
            cv = [(c.float().std() / c.float().mean()).item() for _, c in o.load]
            rec = dict(step=st["step"], tokens=st["tokens"], sec=round(st["seconds"]), lr=round(lr, 5), loss=round(m[0], 4), idx=round(m[1], 4),
                       hit=round(m[2], 4), gn=round(m[3], 2), behind=round(m[4], 3), guide=round(m[5], 3), cv=[round(x, 2) for x in cv], tps=round((st["step"] - n0) * ids.numel() / (time.time() - t0)))
            acc = []
            if time.time() - evald > s.get("eval_every", 90) or frac >= 1:
                rec["eval"], evald = evaluate(model, tok, s, q), time.time()
            print(json.dumps(rec), flush=True)
            log.write(json.dumps(dict(rec, stage=os.path.basename(a.stage))) + "\n")
            log.flush()
        if time.time() - saved > 150 or frac >= 1:
            torch.save(dict(model=model.state_dict(), aux=aux.state_dict(), opt=opt.state_dict(), stats=st, config=cfg, stage=s), path + ".tmp")
            os.replace(path + ".tmp", path)
            saved = time.time()
        if frac >= 1:
            break


if __name__ == "__main__":
    main()
