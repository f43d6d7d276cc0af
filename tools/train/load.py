"""Read an exported checkpoint (official layout, FP4/FP8/BF16) into model.py."""
import json
import os
import re

import numpy as np
import torch
from tokenizers import Tokenizer

import model as M

E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def tensors(path):
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        head = json.loads(f.read(n))
        data = np.frombuffer(f.read(), np.uint8).copy()
    head.pop("__metadata__", None)
    kind = dict(F32=torch.float32, BF16=torch.bfloat16, I64=torch.int64, I8=torch.uint8, F8_E4M3=torch.float8_e4m3fn, F8_E8M0=torch.uint8)
    raw = {}
    for k, v in head.items():
        a, b = v["data_offsets"]
        raw[k] = (v["dtype"], torch.from_numpy(data[a:b].copy()).view(kind[v["dtype"]]).view(v["shape"]))
    out = {}
    for k, (d, t) in raw.items():
        if k.endswith(".scale") and k[:-6] + ".weight" in raw:
            continue
        if d in ("F8_E4M3", "I8"):
            s = torch.exp2(raw[k[:-7] + ".scale"][1].float() - 127)
            if d == "I8":
                v = torch.stack((E2M1[(t & 15).long()], E2M1[(t >> 4).long()]), -1).flatten(1)
                t = (v.view(v.shape[0], -1, 32) * s[..., None]).flatten(1)
            else:
                t = t.float() * s.repeat_interleave(128, 0)[: t.shape[0]].repeat_interleave(128, 1)[:, : t.shape[1]]
        out[k] = t if d == "I64" else t.float()
    return out


SHARED = {"w1": "s1", "w2": "s2", "w3": "s3"}


def rename(k):
    k = re.sub(r"\.hc_(attn|ffn)_", r".hc_\1.", k)
    k = re.sub(r"shared_experts\.(w[123])\.weight", lambda m: SHARED[m[1]], k)
    k = re.sub(r"\.gate\.(tid2eid|bias)$", r".\1", k)
    return re.sub(r"\.weight$", "", k)


def load(path):
    cfg = json.load(open(os.path.join(path, "config.json")))
    m = M.Model(cfg)
    t, sd, ex = tensors(os.path.join(path, "model.safetensors")), {}, {}
    for k, v in t.items():
        x = re.match(r"(.*ffn\.)experts\.(\d+)\.(w[123])\.weight", k)
        if x:
            ex.setdefault(x[1] + x[3], {})[int(x[2])] = v
        elif not k.startswith("mtp."):
            sd[{"embed.weight": "embed", "head.weight": "head", "norm.weight": "norm"}.get(k, rename(k))] = v
    for k, v in ex.items():
        if not k.startswith("mtp."):
            sd[k] = torch.stack([v[i] for i in range(len(v))])
    m.load_state_dict(sd)
    return m.eval(), Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
