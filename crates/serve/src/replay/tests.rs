//! Answers that go out and come back.

use fathom_checkpoint::EffortTable;
use fathom_engine::answer::{Timings, Usage};
use fathom_prompt::{Opening, OutputParser, Piece, Renderer, Thinking, ToolChoice, ToolDefinition};
use serde_json::json;

use super::*;

const SCOPE: Scope = Scope {
    model: &[7; 32],
    isolation: "user",
};

fn renderer() -> Renderer {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../prompt/tests/fixtures/tokenizer.json"
    );
    let tokenizer = Tokenizer::from_json(&std::fs::read(path).unwrap(), usize::MAX).unwrap();
    Renderer::new(EffortTable::Preview, tokenizer)
}

/// Tokens of a text in which `｜DSML｜`, `</think>` and the end of sentence are control tokens.
fn tokens(renderer: &Renderer, text: &str) -> Vec<u32> {
    let tokenizer = renderer.tokenizer();
    let marks = ["｜DSML｜", "</think>", "<｜end▁of▁sentence｜>"];
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some((at, mark)) = marks
        .iter()
        .filter_map(|mark| rest.find(mark).map(|at| (at, *mark)))
        .min()
    {
        ids.extend(tokenizer.encode_plain(&rest[..at]).unwrap());
        ids.push(tokenizer.special_id(mark).unwrap());
        rest = &rest[at + mark.len()..];
    }
    ids.extend(tokenizer.encode_plain(rest).unwrap());
    ids
}

/// What a client sees of `sampled`.
fn shown(renderer: &Renderer, opening: Opening, sampled: &[u32], tools: &[ToolDefinition]) -> Answer {
    let mut parser = OutputParser::new(renderer.tokenizer().clone(), opening, tools);
    let mut pieces: Vec<Piece> = sampled.iter().flat_map(|&id| parser.push(id)).collect();
    pieces.extend(parser.finish());
    Answer {
        parsed: pieces.into_iter().collect(),
        finish_reason: FinishReason::ToolCalls,
        usage: Usage::default(),
        report: fathom_cache::Report::default(),
        timings: Timings::default(),
        tokens: sampled.to_vec(),
        logprobs: Vec::new(),
        prompt_logprobs: Vec::new(),
    }
}

/// A call whose spacing and order nobody else would choose.
const ODD: &str = "so it is \n</think>Well.\n\n\n<｜DSML｜tool_calls>\n\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter \
    name=\"days\" string=\"false\">[1,  2.0 ]</｜DSML｜parameter><｜DSML｜parameter name=\"city\" string=\"true\">a\"b \
    </｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>";

fn weather() -> ToolDefinition {
    ToolDefinition::new("weather", "", json!({"type": "object"}))
}

/// The conversation that ends with the question that [`ODD`] answers.
fn question() -> Conversation {
    Conversation {
        messages: vec![Message::user("q")],
        tools: vec![weather()],
        thinking: Thinking::High,
        ..Conversation::default()
    }
}

/// [`question`] and what comes after it, as a client sends it.
fn next(reasoning: &str, content: &str, arguments: &str) -> Conversation {
    let mut conversation = question();
    let call = |id: &str| ToolCall {
        id: id.to_owned(),
        name: "weather".to_owned(),
        arguments: arguments.to_owned(),
    };
    conversation.messages.push(Message::Assistant {
        content: content.to_owned(),
        reasoning_content: Some(reasoning.to_owned()),
        tool_calls: vec![call("call00renamed")],
        prefix: false,
        task: None,
        sampled: None,
    });
    conversation.messages.push(Message::tool("rain", "call00renamed"));
    conversation
}

const ARGUMENTS: &str = r#"{"city":"a\"b ","days":[1,2]}"#;

/// A memory that holds [`ODD`], and the tokens up to its end.
fn after_odd(renderer: &Renderer) -> (Replay, Vec<u32>) {
    let replay = Replay::new(BYTES_MAX);
    let prompt = renderer.render(&question()).unwrap();
    let sampled = tokens(renderer, ODD);
    let answer = shown(renderer, prompt.opening, &sampled, &question().tools);
    assert_eq!(answer.parsed.defects, []);
    let beginning = Beginning::of(&question(), &prompt.ids, renderer.tokenizer());
    assert_eq!(beginning, Beginning::default());
    replay.remember(SCOPE, &beginning, &answer, renderer.tokenizer());
    (replay, [prompt.ids, sampled].concat())
}

#[test]
fn the_next_prompt_begins_with_the_tokens_of_the_last_answer() {
    let renderer = renderer();
    let (replay, so_far) = after_odd(&renderer);
    for (reasoning, content, arguments) in [
        ("so it is \n", "Well.\n", ARGUMENTS),
        // Trimmed, and arguments written in their own way.
        ("so it is", "Well.", r#"{ "days": [1.0, 2], "city": "a\"b " }"#),
    ] {
        let mut conversation = next(reasoning, content, arguments);
        replay.fill(SCOPE, &mut conversation);
        let ids = renderer.render(&conversation).unwrap().ids;
        assert_eq!(ids[..so_far.len()], so_far);
    }
}

#[test]
fn what_a_client_has_changed_is_encoded_as_it_stands() {
    let renderer = renderer();
    let (replay, _) = after_odd(&renderer);
    for (reasoning, content, arguments) in [
        ("so it was", "Well.", ARGUMENTS),
        ("", "Well.", ARGUMENTS),
        ("so it is", "Well", ARGUMENTS),
        ("so it is", "Well.", r#"{"city":"a\"b","days":[1,2]}"#),
        ("so it is", "Well.", r#"{"city":"a\"b ","days":[2,1]}"#),
        ("so it is", "Well.", r#"{"city":"a\"b ","days":[1,2]"#),
    ] {
        let mut conversation = next(reasoning, content, arguments);
        let as_it_stands = conversation.clone();
        replay.fill(SCOPE, &mut conversation);
        assert_eq!(conversation, as_it_stands);
    }
    for scope in [
        Scope {
            isolation: "other",
            ..SCOPE
        },
        Scope {
            model: &[8; 32],
            ..SCOPE
        },
    ] {
        let mut conversation = next("so it is", "Well.", ARGUMENTS);
        let as_it_stands = conversation.clone();
        replay.fill(scope, &mut conversation);
        assert_eq!(conversation, as_it_stands, "another's answers are another's");
    }
}

#[test]
fn reasoning_that_is_not_shown_is_not_replayed() {
    let renderer = renderer();
    let (replay, _) = after_odd(&renderer);
    let mut conversation = next("so it is", "Well.", ARGUMENTS);
    conversation.thinking = Thinking::Off;
    let as_it_stands = conversation.clone();
    replay.fill(SCOPE, &mut conversation);
    assert_eq!(conversation, as_it_stands);
}

#[test]
fn an_answer_whose_prompt_opened_the_block_is_replayed_with_its_opening() {
    let renderer = renderer();
    let replay = Replay::new(BYTES_MAX);
    let mut asked = question();
    asked.thinking = Thinking::Off;
    asked.tool_choice = ToolChoice::Required;
    let prompt = renderer.render(&asked).unwrap();
    let sampled = tokens(&renderer, &ODD[ODD.find("\n<｜DSML｜invoke").unwrap()..]);
    let answer = shown(&renderer, prompt.opening, &sampled, &asked.tools);
    let beginning = Beginning::of(&asked, &prompt.ids, renderer.tokenizer());
    assert!(!beginning.ids.is_empty());
    replay.remember(SCOPE, &beginning, &answer, renderer.tokenizer());
    let mut conversation = next("", "", ARGUMENTS);
    conversation.thinking = Thinking::Off;
    replay.fill(SCOPE, &mut conversation);
    let so_far = [prompt.ids, sampled].concat();
    let ids = renderer.render(&conversation).unwrap().ids;
    assert_eq!(ids[..so_far.len()], so_far);
}

#[test]
fn an_answer_that_was_continued_is_replayed_whole() {
    let renderer = renderer();
    let replay = Replay::new(BYTES_MAX);
    let mut asked = question();
    asked.tools.clear();
    asked.thinking = Thinking::Off;
    let unfinished = |content: &str, prefix| Message::Assistant {
        content: content.to_owned(),
        reasoning_content: None,
        tool_calls: Vec::new(),
        prefix,
        task: None,
        sampled: None,
    };
    let mut continued = asked.clone();
    continued.messages.push(unfinished("The harb", true));
    let prompt = renderer.render(&continued).unwrap();
    let sampled = tokens(&renderer, "our<｜end▁of▁sentence｜>");
    let answer = shown(&renderer, prompt.opening, &sampled, &[]);
    let beginning = Beginning::of(&continued, &prompt.ids, renderer.tokenizer());
    replay.remember(SCOPE, &beginning, &answer, renderer.tokenizer());
    asked.messages.push(unfinished("The harbour", false));
    asked.messages.push(Message::user("and?"));
    let so_far = [prompt.ids, sampled].concat();
    let alone = renderer.render(&asked).unwrap().ids;
    assert_ne!(alone[..so_far.len()], so_far, "one word, encoded in one piece");
    replay.fill(SCOPE, &mut asked);
    assert_eq!(renderer.render(&asked).unwrap().ids[..so_far.len()], so_far);
}

#[test]
fn what_was_cut_or_broken_is_not_kept() {
    let renderer = renderer();
    let replay = Replay::new(BYTES_MAX);
    let sampled = tokens(&renderer, ODD);
    let whole = shown(&renderer, Opening::Reasoning, &sampled, &question().tools);
    let cut = |reason| Answer {
        finish_reason: reason,
        ..whole.clone()
    };
    let half = shown(
        &renderer,
        Opening::Reasoning,
        &sampled[..sampled.len() - 6],
        &question().tools,
    );
    assert_ne!(half.parsed.defects, []);
    for answer in [
        cut(FinishReason::Cancelled),
        cut(FinishReason::StopString("rain".to_owned())),
        half,
    ] {
        replay.remember(SCOPE, &Beginning::default(), &answer, renderer.tokenizer());
    }
    assert!(replay.kept.lock().answers.is_empty());
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let mut kept = Kept::default();
    let ids: Arc<[u32]> = vec![1; 50].into();
    let room = 3 * size(&ids);
    for n in 0..3 {
        kept.insert([n; 32], Arc::clone(&ids), false, room);
    }
    assert!(kept.get(&[0; 32], false).is_some());
    kept.insert([3; 32], Arc::clone(&ids), false, room);
    let mut left: Vec<u8> = kept.answers.keys().map(|key| key[0]).collect();
    left.sort_unstable();
    assert_eq!((left, kept.bytes), (vec![0, 2, 3], room));
    kept.insert([4; 32], vec![1; 1000].into(), false, room);
    assert_eq!(
        (kept.answers.len(), kept.by_use.len(), kept.bytes),
        (0, 0, 0),
        "too large for all of it"
    );
}

#[test]
fn arguments_have_one_text() {
    for same in [r#"{"a": 1.0, "b": [1e2, "x"]}"#, r#"{"b":[100,"x"],"a":1}"#] {
        assert_eq!(canonical(same), r#"{"a":1,"b":[100,"x"]}"#);
    }
    assert_ne!(
        canonical(r#"{"a":9007199254740993}"#),
        canonical(r#"{"a":9007199254740992}"#)
    );
    assert_ne!(canonical(r#"{"a":0.5}"#), canonical(r#"{"a":0}"#));
    assert_eq!(canonical("not json"), "not json");
}
