"""Compare model.py in float32 with transformers' deepseek_v4 on an exported checkpoint.

  parity.py --model DIR --oracle DIR_WITH_v4_oracle.py [--tokens 512]
"""
import argparse
import sys

import numpy as np
import torch

import load
import model as M


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--oracle", required=True)
    ap.add_argument("--tokens", type=int, default=768)
    ap.add_argument("--text", help="a text file to use instead of random ids")
    a = ap.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, a.oracle)
    import v4_oracle
    ck, hf = v4_oracle.load(a.model)
    m, tok = load.load(a.model)
    if a.text:
        ids = torch.tensor([tok.encode(open(a.text, encoding="utf-8").read()).ids])
        ids = ids[:, : ids.shape[1] // 128 * 128]
    else:
        ids = torch.from_numpy(v4_oracle.ids_for(m.cfg.vocab_size, a.tokens, 1))[None]
    with torch.no_grad():
        x = hf(input_ids=ids, use_cache=False).logits[0].float()
        y = m(ids, o=M.options(topk=True)).view(x.shape)
    d = (x - y).abs().amax(-1)
    v4_oracle.cmp("transformers vs model.py", x, y)
    print(f"{ids.shape[1]} rows: median row max|d| {d.median():.2e}, 99% {d.quantile(.99):.2e}, rows above 1e-3: {(d > 1e-3).sum().item()}")


if __name__ == "__main__":
    main()
