//! Model output written as text, with control tokens where they are spelled.

use fathom_prompt::{Answer, Opening, OutputParser, Piece, Tokenizer, ToolDefinition};

const CONTROL: [&str; 7] = [
    "<think>",
    "</think>",
    "｜DSML｜",
    "<｜end▁of▁sentence｜>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
];

/// A stretch of output: text, or one control token.
pub(crate) enum Stretch<'a> {
    Text(&'a str),
    Control(&'a str),
}

/// Split `marked` at the control tokens it spells.
pub(crate) fn stretches(marked: &str) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::new();
    let mut rest = marked;
    while !rest.is_empty() {
        let next = CONTROL
            .iter()
            .filter_map(|token| Some((rest.find(token)?, *token)))
            .min();
        let (at, token) = next.unwrap_or((rest.len(), ""));
        if at > 0 {
            stretches.push(Stretch::Text(&rest[..at]));
        }
        if !token.is_empty() {
            stretches.push(Stretch::Control(&rest[at..at + token.len()]));
        }
        rest = &rest[at + token.len()..];
    }
    stretches
}

/// Ids of `marked`; text is cut before the characters that `cuts` picks, and each part encoded by itself.
pub(crate) fn ids(tokenizer: &Tokenizer, marked: &str, mut cuts: impl FnMut() -> bool) -> Vec<u32> {
    let mut ids = Vec::new();
    for stretch in stretches(marked) {
        match stretch {
            Stretch::Control(token) => ids.extend(tokenizer.special_id(token)),
            Stretch::Text(text) => {
                let mut part = String::new();
                for character in text.chars() {
                    if cuts() {
                        ids.extend(tokenizer.encode_plain(&part).unwrap());
                        part.clear();
                    }
                    part.push(character);
                }
                ids.extend(tokenizer.encode_plain(&part).unwrap());
            }
        }
    }
    ids
}

/// All pieces of `ids`.
pub(crate) fn pieces(
    tokenizer: &Tokenizer,
    opening: Opening,
    tools: &[ToolDefinition],
    ids: &[u32],
) -> Vec<Piece> {
    let mut parser = OutputParser::new(tokenizer.clone(), opening, tools);
    let mut pieces: Vec<Piece> = ids.iter().flat_map(|&id| parser.push(id)).collect();
    pieces.extend(parser.finish());
    pieces
}

/// The message `marked` amounts to.
pub(crate) fn answer(
    tokenizer: &Tokenizer,
    opening: Opening,
    tools: &[ToolDefinition],
    marked: &str,
) -> Answer {
    pieces(tokenizer, opening, tools, &ids(tokenizer, marked, || false))
        .into_iter()
        .collect()
}
