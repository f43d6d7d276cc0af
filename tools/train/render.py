"""DeepSeek-V4 prompt encoding for training text, as (text, weight) segments.

The tools header and footer are protocol text: they are read from the MIT crate
deepseek-recipe-encoding 0.2.0 (found below CARGO_HOME) and checked by hash, not kept here.
"""
import glob
import hashlib
import json
import os
import re

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, BOT, THINK, UNTHINK, DSML = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜"
CRATE = "deepseek-recipe-encoding-0.2.0"
HASHES = ("c7c9042638154a237b5d1bd48be772374a35a4d24c5cacfd1ffbd92703da329c",
          "690702850fe256512cb1ee67c4e436ecb3e735c71ebee77ca45ff357a75fb5a7")


def tools_texts():
    home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
    found = glob.glob(os.path.join(home, "registry", "src", "*", CRATE, "src", "v4"))
    if not found:
        raise SystemExit(f"{CRATE} not found below {home}: run `cargo fetch` in a project that depends on it")
    src = open(os.path.join(found[0], "mod.rs"), encoding="utf-8").read()
    head = re.search(r'prompt!\(\s*r#"(## Tools.*?)"#', src, re.S)[1]
    for k, v in dict(dsml=DSML, tool_calls_block_name="tool_calls", tool_call_tag_name="invoke",
                     tool_parameter_tag_name="parameter", thinking_start=THINK, thinking_end=UNTHINK).items():
        head = head.replace("{" + k + "}", v)
    src = open(os.path.join(found[0], "dsv4.rs"), encoding="utf-8").read()
    # the crate ends every tool line with a newline; joined lines need that newline in the footer
    foot = "\n" + json.loads('"' + re.search(r'"(\\nYou MUST strictly.*?)"', src)[1] + '"')
    for t, h in zip((head, foot), HASHES):
        got = hashlib.sha256(t.encode()).hexdigest()
        if got != h:
            raise SystemExit(f"protocol text has sha256 {got}, expected {h}: {t[:60]!r}")
    return head, foot


_texts = None


def tools_block(tools):
    global _texts
    _texts = _texts or tools_texts()
    return _texts[0] + "\n".join(json.dumps(t, ensure_ascii=False) for t in tools) + _texts[1]


def tool_call(name, args):
    ps = "\n".join(f'<{DSML}parameter name="{k}" string="{"true" if isinstance(v, str) else "false"}">'
                   f'{v if isinstance(v, str) else json.dumps(v)}</{DSML}parameter>' for k, v in args.items())
    return f'\n\n<{DSML}tool_calls>\n<{DSML}invoke name="{name}">\n{ps}\n</{DSML}invoke>\n</{DSML}tool_calls>'


class Chat:
    """collects (text, weight) segments; weight 0 marks prompt text"""

    def __init__(self, filler=0.0):
        self.seg, self.filler = [(BOS, 0.0)], filler

    def system(self, text, tools=None, sep=True):
        self.seg.append((text, self.filler))
        if tools:
            self.seg.append((("\n\n" if text or sep else "") + tools_block(tools), 0.0))
        return self

    def user(self, text):
        self.seg.append((USER, 0.0))
        self.seg.append((text, self.filler))
        return self

    def bot(self, answer, think=None, call=None, weight=1.0):
        """answer: text or list of (text, weight)"""
        self.seg.append((BOT, 0.0))
        self.seg.append((UNTHINK, 0.0) if think is None else (THINK, 0.0))
        if think is not None:
            self.seg.append((think, weight))
            self.seg.append((UNTHINK, weight))
        self.seg += [(answer, weight)] if isinstance(answer, str) else answer
        if call:
            self.seg.append((tool_call(*call), weight))
        self.seg.append((EOS, weight))
        return self

    def text(self):
        return "".join(t for t, _ in self.seg)
