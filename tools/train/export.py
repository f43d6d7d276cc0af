"""Write a run's checkpoint in the official DeepSeek-V4 layout (config, tokenizer, one safetensors file).

  export.py --run DIR --tokenizer DIR --out DIR [--bf16]
FP4 (E2M1 + UE8M0 per 32) routed experts and FP8 (E4M3 + UE8M0 128x128) dense projections; --bf16 stores
those matrices as BF16 instead.
"""
import argparse
import json
import os
import shutil

import numpy as np
import torch

import model as M


def ue8m0(scale):
    m, e = torch.frexp(scale)
    assert (m == 0.5).all()
    return (e - 1 + 127).to(torch.uint8)


def e2m1_codes(v):
    grid = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])
    c = (v.abs()[..., None] == grid).float().argmax(-1)
    return (c + 8 * torch.signbit(v)).to(torch.uint8)


class Writer:
    def __init__(self):
        self.items = []

    def raw(self, name, dtype, shape, arr):
        self.items.append((name, dtype, list(shape), np.ascontiguousarray(arr).tobytes()))

    def f32(self, name, t):
        self.raw(name, "F32", t.shape, t.float().numpy())

    def bf16(self, name, t):
        self.raw(name, "BF16", t.shape, t.to(torch.bfloat16).contiguous().view(torch.uint16).numpy())

    def fp8(self, name, w):
        sc = M.fp8_block_scale(w)
        full = sc.repeat_interleave(128, 0)[: w.shape[0]].repeat_interleave(128, 1)[:, : w.shape[1]]
        q = (w.float() / full).clamp(-448, 448).to(torch.float8_e4m3fn)
        self.raw(name + ".weight", "F8_E4M3", w.shape, q.view(torch.uint8).numpy())
        self.raw(name + ".scale", "F8_E8M0", sc.shape, ue8m0(sc).numpy())

    def fp4(self, name, w):
        y = w.float().reshape(w.shape[0], -1, 32)
        sc = M.fp4_scale(y)
        c = e2m1_codes(M.round_e2m1(y / sc)).reshape(w.shape)
        self.raw(name + ".weight", "I8", (w.shape[0], w.shape[1] // 2), (c[:, 0::2] | (c[:, 1::2] << 4)).numpy())
        self.raw(name + ".scale", "F8_E8M0", sc.shape[:2], ue8m0(sc[..., 0]).numpy())

    def write(self, path):
        head, off = {"__metadata__": {"format": "pt"}}, 0
        for n, d, s, b in self.items:
            head[n] = dict(dtype=d, shape=s, data_offsets=[off, off + len(b)])
            off += len(b)
        h = json.dumps(head, separators=(",", ":")).encode()
        h += b" " * (-len(h) % 8)
        with open(path, "wb") as f:
            f.write(len(h).to_bytes(8, "little") + h)
            for it in self.items:
                f.write(it[3])
        return off


def compressor(w, p, c):
    w.bf16(p + "wkv.weight", c.wkv)
    w.bf16(p + "wgate.weight", c.wgate)
    w.f32(p + "ape", c.ape)
    w.bf16(p + "norm.weight", c.norm)


def block(w, p, b, dense, expert):
    w.bf16(p + "attn_norm.weight", b.attn_norm)
    w.bf16(p + "ffn_norm.weight", b.ffn_norm)
    for k in ("attn", "ffn"):
        hc = getattr(b, "hc_" + k)
        for x in ("fn", "base", "scale"):
            w.f32(p + f"hc_{k}_{x}", getattr(hc, x))
    a, n = b.attn, p + "attn."
    w.f32(n + "attn_sink", a.attn_sink)
    for x in ("wq_a", "wq_b", "wkv", "wo_a", "wo_b"):
        dense(n + x, getattr(a, x))
    w.bf16(n + "q_norm.weight", a.q_norm)
    w.bf16(n + "kv_norm.weight", a.kv_norm)
    if a.ratio:
        compressor(w, n + "compressor.", a.compressor)
    if a.ratio == 4:
        dense(n + "indexer.wq_b", a.indexer.wq_b)
        w.bf16(n + "indexer.weights_proj.weight", a.indexer.weights_proj)
        compressor(w, n + "indexer.compressor.", a.indexer.compressor)
    f, n = b.ffn, p + "ffn."
    w.bf16(n + "gate.weight", f.gate)
    if f.hash:
        w.raw(n + "gate.tid2eid", "I64", f.tid2eid.shape, f.tid2eid.numpy())
    else:
        w.f32(n + "gate.bias", f.bias)
    for s, x in (("w1", f.s1), ("w2", f.s2), ("w3", f.s3)):
        dense(n + f"shared_experts.{s}", x)
    for e in range(f.w1.shape[0]):
        for s in ("w1", "w2", "w3"):
            expert(n + f"experts.{e}.{s}", getattr(f, s)[e])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--bf16", action="store_true")
    a = ap.parse_args()
    ck = torch.load(os.path.join(a.run, "last.pt"), weights_only=False)
    cfg = dict(ck["config"])
    m = M.Model(cfg)
    m.load_state_dict(ck["model"])
    w = Writer()
    if a.bf16:
        plain = lambda n, t: w.bf16(n + ".weight", t)
        dense = expert = plain
    else:
        dense, expert = w.fp8, w.fp4
        cfg["expert_dtype"] = "fp4"
        cfg["quantization_config"] = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", scale_fmt="ue8m0", weight_block_size=[128, 128])
    with torch.no_grad():
        w.bf16("embed.weight", m.embed)
        for i, b in enumerate(m.layers):
            block(w, f"layers.{i}.", b, dense, expert)
        if hasattr(m, "mtp"):
            t = m.mtp
            block(w, "mtp.0.", t.block, dense, expert)
            dense("mtp.0.e_proj", t.e_proj)
            dense("mtp.0.h_proj", t.h_proj)
            for x in ("enorm", "hnorm", "norm"):
                w.bf16(f"mtp.0.{x}.weight", getattr(t, x))
            for x in ("fn", "base", "scale"):
                w.f32(f"mtp.0.hc_head_{x}", getattr(t, "hc_head_" + x))
        w.bf16("norm.weight", m.norm)
        w.bf16("head.weight", m.head)
        for x in ("fn", "base", "scale"):
            w.f32(f"hc_head_{x}", getattr(m, "hc_head_" + x))
    os.makedirs(a.out, exist_ok=True)
    n = w.write(os.path.join(a.out, "model.safetensors"))
    json.dump(cfg, open(os.path.join(a.out, "config.json"), "w"), indent=1)
    json.dump(dict(_from_model_config=True, bos_token_id=0, eos_token_id=1, do_sample=True, temperature=0.3, top_p=1.0),
              open(os.path.join(a.out, "generation_config.json"), "w"), indent=1)
    for f in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(a.tokenizer, f), os.path.join(a.out, f))
    print(f"{len(w.items)} tensors, {n} bytes, step {ck['stats']['step']}")


if __name__ == "__main__":
    main()
