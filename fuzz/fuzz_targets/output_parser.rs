//! Generated ids: whatever they are, pieces are framed and the arguments of every call are one JSON object.
//!
//! The first byte chooses what the prompt left open; then two bytes are one id, so that all 600 of the fixture are reached.
#![no_main]

use std::sync::LazyLock;

use fathom_prompt::{Answer, Opening, OutputParser, Piece, Tokenizer};
use libfuzzer_sys::fuzz_target;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let json = include_bytes!("../../crates/prompt/tests/fixtures/tokenizer.json");
    Tokenizer::from_json(json, 600).expect("the fixture loads")
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let opening = [Opening::Reasoning, Opening::Content, Opening::ToolCalls][usize::from(choice) % 3];
    let mut parser = OutputParser::new(TOKENIZER.clone(), opening, &[]);
    let ids = data
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]])) % 610);
    let mut pieces: Vec<Piece> = ids.flat_map(|id| parser.push(id)).collect();
    pieces.extend(parser.finish());

    let begun = pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::ToolCallBegin { .. }))
        .count();
    let ended = pieces
        .iter()
        .filter(|piece| matches!(piece, Piece::ToolCallEnd { .. }))
        .count();
    assert_eq!(begun, ended);
    for call in pieces.into_iter().collect::<Answer>().tool_calls {
        let arguments: serde_json::Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
        assert!(arguments.is_object(), "{}", call.arguments);
    }
});
