//! A byte-level BPE with V4's control tokens whose words are made of letters.

use std::ops::Range;

use serde_json::{Map, Value, json};

pub(super) const BOS: &str = "<｜begin▁of▁sentence｜>";
pub(super) const EOS: &str = "<｜end▁of▁sentence｜>";

/// The first ids, as in the releases.
const FIRST: [&str; 3] = [BOS, EOS, "<｜▁pad▁｜>"];

/// The last ids, in the releases' order.
const LAST: [&str; 16] = [
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>",
    "<｜fim▁end｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<|EOT|>",
    "<think>",
    "</think>",
    "｜DSML｜",
    "<｜latest_reminder｜>",
    "<｜action｜>",
    "<｜query｜>",
    "<｜authority｜>",
    "<｜domain｜>",
    "<｜title｜>",
    "<｜read_url｜>",
];

/// How V4 splits text before byte pairs are joined.
const SPLITS: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥\u{3040}-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
];

/// Ids that are text: bytes and words.
pub(super) fn text_ids(vocab_size: usize) -> Range<u32> {
    let first = FIRST.len() as u32;
    first..(vocab_size.saturating_sub(LAST.len()) as u32).max(first)
}

/// `tokenizer.json` with exactly `vocab_size` tokens: three control tokens, the 256 bytes, words, and the other control
/// tokens. `None` if there is no room for the bytes.
pub(super) fn json(vocab_size: usize) -> Option<Vec<u8>> {
    let words = vocab_size.checked_sub(FIRST.len() + 256 + LAST.len())?;
    let mut tokens: Vec<String> = FIRST.map(str::to_owned).to_vec();
    tokens.extend(byte_symbols().map(String::from));
    let merges = add_words(&mut tokens, words);
    tokens.extend(LAST.map(str::to_owned));

    let added: Vec<Value> = (0..FIRST.len())
        .chain(tokens.len() - LAST.len()..tokens.len())
        .map(|id| {
            json!({
                "id": id, "content": tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": id < FIRST.len(),
            })
        })
        .collect();
    let mut steps: Vec<Value> = SPLITS
        .iter()
        .map(|regex| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}))
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    steps.push(byte_level.clone());
    let vocabulary: Map<String, Value> = tokens.into_iter().zip((0..).map(Value::from)).collect();
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": merges,
        },
    });
    Some(file.to_string().into_bytes())
}

/// Appends `count` words to `tokens`, each an earlier word and one more letter, shortest first; returns the merges that
/// build them. The first words are a space and the letters themselves.
fn add_words(tokens: &mut Vec<String>, count: usize) -> Vec<String> {
    let letters = 'a'..='z';
    let mut words: Vec<String> = std::iter::once(SPACE)
        .chain(letters.clone())
        .map(String::from)
        .collect();
    let (mut merges, mut next) = (Vec::with_capacity(count), 0);
    while merges.len() < count {
        for letter in letters.clone().take(count - merges.len()) {
            let word = format!("{}{letter}", words[next]);
            merges.push(format!("{} {letter}", words[next]));
            tokens.push(word.clone());
            words.push(word);
        }
        next += 1;
    }
    merges
}

/// How the byte-level alphabet spells a space.
const SPACE: char = '\u{120}';

/// The characters that stand for the 256 bytes, in the order of bytes: printable Latin-1 for itself, U+0100 and up for
/// the rest.
fn byte_symbols() -> impl Iterator<Item = char> {
    let mut stand_ins = '\u{100}'..;
    (0..=u8::MAX).filter_map(move |byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(char::from(byte)),
        _ => stand_ins.next(),
    })
}
