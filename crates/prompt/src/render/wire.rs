//! Fixed prompt texts, taken from the vendor crate.
//!
//! The crate does not export its constants, so they are cut out of prompts it renders. They then have one source, which is
//! MIT-licensed and published by the model's makers; the tests check them against the hashes of spec §12.3.

use deepseek_recipe_core::conversation::{Conversation, ReasoningEffort, ResponseFormat};
use deepseek_recipe_core::special_tokens::SpecialToken;
use deepseek_recipe_core::tools::ToolDefinition;
use deepseek_recipe_encoding::PromptEncoding;
use deepseek_recipe_encoding::dsv4::DeepseekV4Encoding;
use serde_json::Value;

use super::prompt_spans::{PromptSpans, Span};

/// The fixed texts of the V4 encodings.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    /// Effort text A: max in the preview table.
    pub(super) effort_a: String,
    /// What precedes the tool schemas. Contains control tokens: it spells out tool calls and think tags.
    pub(super) tools_header: PromptSpans,
    /// What follows the tool schemas.
    pub(super) tools_footer: String,
    /// What precedes a response schema.
    pub(super) schema_header: String,
    /// What asks for a JSON object.
    pub(super) json_object: String,
}

const CUT: &str =
    "deepseek-recipe-encoding renders fixed texts where version 0.2 put them (checked by tests)";

impl Wire {
    /// Cut the texts out of rendered prompts.
    pub(super) fn from_vendor() -> Self {
        let (tools_header, tools_footer) = tools();
        Self {
            effort_a: effort(ReasoningEffort::High),
            tools_header,
            tools_footer,
            schema_header: format(ResponseFormat::JsonSchema(Value::Null))
                .strip_suffix("null")
                .expect(CUT)
                .to_owned(),
            json_object: format(ResponseFormat::JsonObject),
        }
    }
}

/// The prefix of `effort` on the later table.
fn effort(effort: ReasoningEffort) -> String {
    plain(system_part(&Conversation {
        reasoning_effort: Some(effort),
        ..Conversation::default()
    }))
}

/// The block that asks for `response_format`, without the blank line before it.
fn format(response_format: ResponseFormat) -> String {
    let part = system_part(&Conversation {
        thinking_mode: false,
        response_format,
        ..Conversation::default()
    });
    plain(part).strip_prefix("\n\n").expect(CUT).to_owned()
}

/// What surrounds the tool schemas, without the blank line before it.
fn tools() -> (PromptSpans, String) {
    const SCHEMA: &str = r#"{"name": "f", "description": "", "parameters": null}"#;
    let tool = ToolDefinition {
        name: "f".to_owned(),
        description: None,
        parameters: Value::Null,
        strict: None,
        defer_loading: false,
    };
    let mut part = system_part(&Conversation {
        thinking_mode: false,
        tools: vec![tool],
        ..Conversation::default()
    });
    let (header_end, footer) = match part.pop().as_ref() {
        Some(Span::Plain(text)) => {
            let (header_end, footer) = text.split_once(SCHEMA).expect(CUT);
            (header_end.to_owned(), footer.to_owned())
        }
        _ => unreachable!("{CUT}"),
    };
    part.push(Span::Plain(header_end));
    let mut header = PromptSpans::default();
    for (index, span) in part.into_iter().enumerate() {
        match span {
            Span::Plain(text) if index == 0 => header.plain(text.strip_prefix("\n\n").expect(CUT)),
            span => header.push(span),
        }
    }
    (header, footer)
}

/// What the vendor renders between BOS and `<｜Assistant｜>` for a conversation without messages.
fn system_part(conversation: &Conversation) -> Vec<Span> {
    let rendered = DeepseekV4Encoding::new().render_conversation(conversation);
    let mut spans = PromptSpans::from_vendor(&rendered).into_vec();
    let assistant = spans
        .iter()
        .rposition(|span| span.is(SpecialToken::Assistant))
        .expect(CUT);
    spans.truncate(assistant);
    spans.remove(0);
    spans
}

fn plain(part: Vec<Span>) -> String {
    match <[Span; 1]>::try_from(part) {
        Ok([Span::Plain(text)]) => text,
        other => unreachable!("{CUT}: found {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sha2::{Digest, Sha256};

    use super::*;

    fn check(text: &str, bytes: usize, sha256: &str) {
        assert_eq!(text.len(), bytes, "{text:?}");
        let digest = Sha256::digest(text)
            .iter()
            .fold(String::new(), |mut digest, byte| {
                write!(digest, "{byte:02x}").expect("strings take everything");
                digest
            });
        assert_eq!(digest, sha256);
    }

    #[test]
    fn wire_texts_have_the_published_hashes() {
        let wire = Wire::from_vendor();
        let header: String = wire
            .tools_header
            .as_slice()
            .iter()
            .map(|span| match span {
                Span::Plain(text) | Span::Control(text) => text.as_str(),
                Span::Sampled(_) => unreachable!(),
            })
            .collect();
        check(
            &header,
            890,
            "c7c9042638154a237b5d1bd48be772374a35a4d24c5cacfd1ffbd92703da329c",
        );
        check(
            &wire.tools_footer,
            99,
            "690702850fe256512cb1ee67c4e436ecb3e735c71ebee77ca45ff357a75fb5a7",
        );
        check(
            &wire.effort_a,
            476,
            "f7a24f3b3050d4a83781e9b755b316aae2ec1d9dc87562541d90bcb04d7350f7",
        );
        check(
            &effort(ReasoningEffort::Max),
            528,
            "53fb31b8392ec5b4a926481943efc67636748f137c1a49d493a7af4d4fa55d2c",
        );
    }

    #[test]
    fn format_texts_end_where_the_schema_starts() {
        let wire = Wire::from_vendor();
        assert!(wire.schema_header.starts_with("## Response Format:\n\n"));
        assert!(wire.schema_header.ends_with(":\n"));
        assert!(wire.json_object.ends_with("Reply with JSON object ONLY."));
    }
}
