//! Output parsing, whatever comes: the same message for every tokenisation, no panic, no leak, whole JSON; and the same as the
//! vendor's parser on well-formed output.

mod support;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use deepseek_recipe::stream::{
    ChunkGenerator, InferenceChunk, InferenceFinishReason, OutputChunk, ParsingOptions, StreamProcessor,
    ThinkingInitialStage,
};
use fathom_prompt::{Answer, Opening, Piece, Tokenizer, ToolDefinition};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::{FIXTURE, marked, tokenizer};
use tokio_stream::Stream;

fn tools() -> [ToolDefinition; 1] {
    [ToolDefinition::new("f", "", json!({"properties": {"x": {}}}))]
}

/// Pieces with neighbours of one kind joined.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), &piece) {
            (Some(Piece::Reasoning(text)), Piece::Reasoning(more))
            | (Some(Piece::Content(text)), Piece::Content(more))
            | (
                Some(Piece::ToolCallArguments { json: text, .. }),
                Piece::ToolCallArguments { json: more, .. },
            ) => {
                text.push_str(more);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// Output made of everything the format is made of, in any order.
fn garbage() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "</think>",
        "<think>",
        "<｜DSML｜",
        "</｜DSML｜",
        "｜DSML｜",
        "tool_calls>",
        "tool_calls",
        "invoke name=\"f\">",
        "invoke>",
        "parameter name=\"x\" string=\"true\">",
        "parameter name=\"x\" string=\"false\">",
        "parameter name=\"arguments\">",
        "parameter>",
        "\n",
        "\n\n",
        "<",
        "</",
        ">",
        "\"",
        "{\"x\": 1}",
        "[1,",
        "é",
        "👩‍🚀",
        "a text",
        "\\",
        "｜",
        "<｜User｜>",
        "<｜end▁of▁sentence｜>",
    ]);
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

fn openings() -> impl Strategy<Value = Opening> {
    prop::sample::select(vec![Opening::Reasoning, Opening::Content, Opening::ToolCalls])
}

/// What holds for every output.
fn check_invariants(tokenizer: &Tokenizer, pieces: &[Piece]) -> Result<(), TestCaseError> {
    let mut open = None;
    let mut begun = 0;
    for piece in pieces {
        match piece {
            Piece::ToolCallBegin { index, .. } => {
                prop_assert_eq!((open, *index), (None, begun));
                open = Some(*index);
                begun += 1;
            }
            Piece::ToolCallArguments { index, .. } => prop_assert_eq!(open, Some(*index)),
            Piece::ToolCallEnd { index } => prop_assert_eq!(open.take(), Some(*index)),
            Piece::Reasoning(text) | Piece::Content(text) => prop_assert!(!text.is_empty()),
            Piece::Defect(_) => {}
        }
    }
    prop_assert_eq!(open, None);
    let answer = Answer::from_iter(pieces.to_vec());
    for call in &answer.tool_calls {
        let arguments = serde_json::from_str::<Map<String, Value>>(&call.arguments);
        prop_assert!(arguments.is_ok(), "{}", call.arguments);
    }
    for marker in ["｜DSML｜", "</think>", "<｜User｜>"] {
        prop_assert!(tokenizer.special_id(marker).is_some());
        prop_assert!(!answer.content.contains(marker), "{:?}", answer.content);
        prop_assert!(!answer.reasoning.contains(marker), "{:?}", answer.reasoning);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tokenisation_gives_the_same_message(
        output in garbage(), opening in openings(), cuts in prop::collection::vec(any::<bool>(), 400),
    ) {
        let tokenizer = tokenizer();
        let parse = |ids: &[u32]| joined(marked::pieces(&tokenizer, opening, &tools(), ids));
        let whole = parse(&marked::ids(&tokenizer, &output, || false));
        check_invariants(&tokenizer, &whole)?;
        let mut cuts = cuts.into_iter().cycle();
        let cut = parse(&marked::ids(&tokenizer, &output, || cuts.next() == Some(true)));
        prop_assert_eq!(&cut, &whole);
        let letters = parse(&marked::ids(&tokenizer, &output, || true));
        prop_assert_eq!(&letters, &whole);
    }

    #[test]
    fn random_ids_never_panic_nor_break_a_call(
        ids in prop::collection::vec(prop_oneof![0_u32..610, 580_u32..600], 0..80), opening in openings(),
    ) {
        let tokenizer = tokenizer();
        let pieces = marked::pieces(&tokenizer, opening, &tools(), &ids);
        let answer = Answer::from_iter(pieces);
        for call in &answer.tool_calls {
            prop_assert!(serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok(), "{}", call.arguments);
        }
    }

    #[test]
    fn text_without_markers_passes_unchanged(text in "[a-zé<>/\\n \"]{0,60}") {
        let tokenizer = tokenizer();
        let answer = marked::answer(&tokenizer, Opening::Content, &[], &text);
        prop_assert_eq!(answer.content, text);
        prop_assert!(answer.defects.is_empty());
    }

    #[test]
    fn well_formed_output_is_parsed_as_the_vendor_parses_it(
        reasoning in word(), content in word(),
        calls in prop::collection::vec(prop::collection::vec((0_usize..4, any::<bool>(), word()), 0..4), 0..3),
    ) {
        let tokenizer = tokenizer();
        let output = well_formed(&reasoning, &content, &calls);
        let ids = marked::ids(&tokenizer, &output, || false);
        let ours = Answer::from_iter(marked::pieces(&tokenizer, Opening::Reasoning, &[], &ids));
        prop_assert_eq!(&ours.defects, &[]);
        let theirs = vendor(&ids);
        prop_assert_eq!((ours.reasoning, ours.content), (theirs.0, theirs.1));
        let ours: Vec<_> = ours.tool_calls.into_iter().map(|call| (call.name, call.arguments)).collect();
        prop_assert_eq!(ours, theirs.2);
    }
}

/// Text without line breaks at its ends, which the vendor drops and we keep.
fn word() -> impl Strategy<Value = String> {
    "[a-zé]([a-zé<>/\\n \"\\\\{}]{0,12}[a-zé])?"
}

/// One output as the encoder writes it: reasoning, content and calls with parameters `(name, is_string, value)`.
fn well_formed(reasoning: &str, content: &str, calls: &[Vec<(usize, bool, String)>]) -> String {
    let output = format!("{reasoning}</think>{content}");
    if calls.is_empty() {
        return output;
    }
    let calls = calls.iter().enumerate().map(|(index, parameters)| {
        let parameters = parameters.iter().enumerate().map(|(position, (name, is_string, value))| {
            let value = if *is_string { value.clone() } else { json!({"v": value, "n": [name, null]}).to_string() };
            format!("<｜DSML｜parameter name=\"p{name}_{position}\" string=\"{is_string}\">{value}</｜DSML｜parameter>\n")
        });
        format!("<｜DSML｜invoke name=\"f{index}\">\n{}</｜DSML｜invoke>\n", parameters.collect::<String>())
    });
    let calls: String = calls.collect();
    output + "\n\n<｜DSML｜tool_calls>\n" + &calls + "</｜DSML｜tool_calls>"
}

/// Reasoning, content and calls, as the vendor's stream processor finds them.
fn vendor(ids: &[u32]) -> (String, String, Vec<(String, String)>) {
    struct Unchanged;
    impl ChunkGenerator for Unchanged {
        type Chunk = OutputChunk;
        async fn generate(&mut self, chunk: OutputChunk) -> Vec<OutputChunk> {
            vec![chunk]
        }
    }
    let options = ParsingOptions {
        thinking_initial_stage: Some(ThinkingInitialStage::ReasoningStart),
        ..ParsingOptions::default()
    };
    let inner = tokenizers::Tokenizer::from_bytes(FIXTURE).unwrap();
    let tokens = ids.iter().map(|&id| InferenceChunk::Tokens {
        token_ids: vec![id],
        logprobs: None,
    });
    let finish = InferenceChunk::Finish {
        finish_reason: InferenceFinishReason::Stop,
    };
    let inference = tokio_stream::iter(tokens.chain([finish]).collect::<Vec<_>>());
    let processor = StreamProcessor::new(Unchanged, options).with_tokenizer(inner);
    let mut stream = pin!(processor.into_protocol_stream(inference));
    let mut context = Context::from_waker(Waker::noop());
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::new());
    loop {
        let chunk = match stream.as_mut().poll_next(&mut context) {
            Poll::Ready(Some(chunk)) => chunk,
            Poll::Ready(None) => break,
            // `tokio_stream::iter` pauses now and then; there is nobody else to run.
            Poll::Pending => continue,
        };
        match chunk.unwrap() {
            OutputChunk::Reasoning { content: text, .. } => reasoning += &text,
            OutputChunk::Content { content: text, .. } => content += &text,
            OutputChunk::ToolCallNamed { tool_name } => calls.push((tool_name, String::new())),
            OutputChunk::ToolCallArgumentsDelta { arguments } => calls.last_mut().unwrap().1 += &arguments,
            OutputChunk::Start { .. } | OutputChunk::ToolCallBegin | OutputChunk::Finish { .. } => {}
        }
    }
    (reasoning, content, calls)
}
