//! Sampled ids are repeated in the next prompt, so that a cached prefix stays valid.

mod support;

use fathom_checkpoint::EffortTable;
use fathom_prompt::{Conversation, Message, Renderer, Thinking, Tokenizer, ToolDefinition};
use serde_json::json;
use support::tokenizer;

/// Ids the tokenizer would not give for `text`: one token per byte.
fn letters(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let ids: Vec<u32> = text
        .chars()
        .flat_map(|letter| tokenizer.encode_plain(&letter.to_string()).unwrap())
        .collect();
    assert_ne!(ids, tokenizer.encode_plain(text).unwrap(), "the text has a merge");
    ids
}

fn answered(thinking: Thinking, reasoning: Option<&str>, content: &str, sampled: Vec<u32>) -> Conversation {
    let answer = Message::Assistant {
        content: content.to_owned(),
        reasoning_content: reasoning.map(str::to_owned),
        tool_calls: Vec::new(),
        prefix: false,
        task: None,
        sampled: Some(sampled),
    };
    Conversation {
        messages: vec![Message::user("the question"), answer, Message::user("the next")],
        thinking,
        ..Conversation::default()
    }
}

fn question(conversation: &Conversation) -> Conversation {
    Conversation {
        messages: conversation.messages[..1].to_vec(),
        ..conversation.clone()
    }
}

/// Reasoning, `</think>` and answer as one sampled message, ended by EOS.
fn sampled_thought(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = letters(tokenizer, "the reasoning");
    ids.push(tokenizer.special_id("</think>").unwrap());
    ids.extend(letters(tokenizer, "the answer"));
    ids.push(tokenizer.eos_id());
    ids
}

#[test]
fn with_tools_the_next_prompt_extends_the_last_one() {
    let tokenizer = tokenizer();
    for table in [EffortTable::Preview, EffortTable::Official] {
        let renderer = Renderer::new(table, tokenizer.clone());
        let sampled = sampled_thought(&tokenizer);
        let mut conversation = answered(
            Thinking::High,
            Some("the reasoning"),
            "the answer",
            sampled.clone(),
        );
        conversation.tools = vec![ToolDefinition::new("f", "d", json!({}))];
        let mut so_far = renderer.render(&question(&conversation)).unwrap().ids;
        so_far.extend(&sampled);
        let next = renderer.render(&conversation).unwrap();
        assert!(next.ids.starts_with(&so_far), "{table:?}");
        assert_eq!(tokenizer.decode(&next.ids), next.text);
    }
}

#[test]
fn without_tools_the_answer_is_repeated_after_its_reasoning_is_dropped() {
    let tokenizer = tokenizer();
    for table in [EffortTable::Preview, EffortTable::Official] {
        let renderer = Renderer::new(table, tokenizer.clone());
        let conversation = answered(
            Thinking::High,
            Some("the reasoning"),
            "the answer",
            sampled_thought(&tokenizer),
        );
        let next = renderer.render(&conversation).unwrap();
        let mut expected = vec![tokenizer.special_id("</think>").unwrap()];
        expected.extend(letters(&tokenizer, "the answer"));
        expected.push(tokenizer.eos_id());
        assert!(
            next.ids.windows(expected.len()).any(|window| window == expected),
            "{table:?}"
        );
        assert!(!next.text.contains("the reasoning"));
    }
}

#[test]
fn without_thinking_the_next_prompt_extends_the_last_one() {
    let tokenizer = tokenizer();
    for table in [EffortTable::Preview, EffortTable::Official] {
        let renderer = Renderer::new(table, tokenizer.clone());
        let sampled = letters(&tokenizer, "the answer");
        let conversation = answered(Thinking::Off, None, "the answer", sampled.clone());
        let mut so_far = renderer.render(&question(&conversation)).unwrap().ids;
        so_far.extend(&sampled);
        assert!(
            renderer.render(&conversation).unwrap().ids.starts_with(&so_far),
            "{table:?}"
        );
    }
}

#[test]
fn an_answer_without_thinking_is_repeated_behind_an_empty_reasoning() {
    let tokenizer = tokenizer();
    let renderer = Renderer::new(EffortTable::Preview, tokenizer.clone());
    let sampled = letters(&tokenizer, "the answer");
    let mut conversation = answered(Thinking::High, None, "the answer", sampled.clone());
    conversation.keep_reasoning = true;
    let next = renderer.render(&conversation).unwrap();
    assert!(
        next.text
            .contains("<think></think>the answer<｜end▁of▁sentence｜>")
    );
    assert!(next.ids.windows(sampled.len()).any(|window| window == sampled));
}

#[test]
fn reasoning_that_never_ended_is_rendered_closed() {
    let tokenizer = tokenizer();
    let renderer = Renderer::new(EffortTable::Preview, tokenizer.clone());
    let sampled = letters(&tokenizer, "the reasoning");
    let mut conversation = answered(Thinking::High, Some("the reasoning"), "", sampled);
    conversation.keep_reasoning = true;
    assert!(
        renderer
            .render(&conversation)
            .unwrap()
            .text
            .contains("<think>the reasoning</think><｜end▁of▁sentence｜>")
    );
    // Once reasoning is dropped, nothing of it is left.
    conversation.keep_reasoning = false;
    assert!(
        renderer
            .render(&conversation)
            .unwrap()
            .text
            .contains("<｜Assistant｜></think><｜end▁of▁sentence｜>")
    );
}
