//! The 0731 / 0813 encoding is the vendor crate's: effort table, openings, refusals, and that nothing is changed on the way.

mod support;

use deepseek_recipe_core::conversation as vendor;
use deepseek_recipe_core::messages::InputMessage;
use deepseek_recipe_core::prompt::Prompt;
use deepseek_recipe_encoding::dsv4::DeepseekV4Encoding;
use deepseek_recipe_encoding::{PromptEncoding, PromptTokenizer};
use fathom_checkpoint::EffortTable;
use fathom_prompt::{
    Conversation, Message, Opening, RenderedPrompt, Renderer, Task, Thinking, ToolDefinition,
};
use serde_json::json;
use support::tokenizer;

const BOS: &str = "<｜begin▁of▁sentence｜>";

fn renderer() -> Renderer {
    Renderer::new(EffortTable::Official, tokenizer())
}

fn render(conversation: &Conversation) -> RenderedPrompt {
    renderer().render(conversation).unwrap()
}

fn assistant(reasoning: Option<&str>, content: &str, prefix: bool) -> Message {
    Message::Assistant {
        content: content.to_owned(),
        reasoning_content: reasoning.map(str::to_owned),
        tool_calls: Vec::new(),
        prefix,
        task: None,
        sampled: None,
    }
}

#[test]
fn efforts_follow_the_later_table() {
    let effort_bytes = |thinking| {
        let prompt = render(&Conversation {
            thinking,
            ..Conversation::from_user("hi")
        });
        let marker = if thinking == Thinking::Off {
            "</think>"
        } else {
            "<think>"
        };
        let rest = prompt.text.strip_prefix(BOS).unwrap();
        rest.strip_suffix(&format!("<｜User｜>hi<｜Assistant｜>{marker}"))
            .unwrap()
            .len()
    };
    assert_eq!(
        [Thinking::Off, Thinking::Low, Thinking::High, Thinking::Max].map(effort_bytes),
        [0, 0, 476, 528],
        "nothing, nothing, text A, text B"
    );
}

#[test]
fn text_and_ids_are_the_vendors() {
    let ours = Conversation {
        messages: vec![
            Message::user("a </think> b"),
            Message::assistant("c"),
            Message::system("late"),
            Message::user("你好"),
        ],
        tools: vec![ToolDefinition::new("f", "d", json!({"z": 0, "a": 1}))],
        ..Conversation::default()
    };
    let user = |text: &str| InputMessage::User {
        content: Prompt::plain(text),
        image_sources: Vec::new(),
    };
    let theirs = vendor::Conversation {
        messages: vec![
            user("a </think> b"),
            InputMessage::Assistant {
                content: "c".to_owned(),
                reasoning_content: None,
                tool_calls: None,
                prefix: false,
            },
            InputMessage::System {
                content: Prompt::plain("late"),
                image_sources: Vec::new(),
                tools: None,
            },
            user("你好"),
        ],
        tools: vec![deepseek_recipe_core::tools::ToolDefinition {
            name: "f".to_owned(),
            description: Some("d".to_owned()),
            parameters: json!({"z": 0, "a": 1}),
            strict: None,
            defer_loading: false,
        }],
        ..vendor::Conversation::default()
    };
    let inner = tokenizers::Tokenizer::from_bytes(support::FIXTURE).unwrap();
    let encoding = DeepseekV4Encoding::new().with_tokenizer(PromptTokenizer::new(&inner));
    let prompt = render(&ours);
    assert_eq!(prompt.text, encoding.render_conversation(&theirs).prompt);
    assert_eq!(prompt.ids, encoding.encode(&theirs).unwrap());
    assert_eq!(prompt.opening, Opening::Reasoning);
}

#[test]
fn unfinished_answers_open_where_they_stop() {
    let opening = |reasoning, content| {
        render(&Conversation {
            messages: vec![Message::user("q"), assistant(reasoning, content, true)],
            ..Conversation::default()
        })
        .opening
    };
    assert_eq!(opening(Some("r"), ""), Opening::Reasoning);
    assert_eq!(opening(Some("r"), "c"), Opening::Content);
}

#[test]
fn what_the_vendor_cannot_express_is_refused() {
    let refusal = |conversation: Conversation| renderer().render(&conversation).unwrap_err().to_string();
    let task = Message::User {
        content: "a".to_owned(),
        task: Some(Task::Title),
    };
    assert_eq!(
        refusal(Conversation {
            messages: vec![task],
            ..Conversation::default()
        }),
        "a quick-instruction task (message 0) cannot be written in this checkpoint's prompt encoding; ask in the message's text, \
         or use an April checkpoint"
    );
    let messages = vec![
        Message::user("a"),
        assistant(Some("r"), "b", false),
        Message::user("c"),
    ];
    let kept = Conversation {
        messages,
        keep_reasoning: true,
        ..Conversation::default()
    };
    assert!(refusal(kept).starts_with("reasoning of an earlier answer (message 1) cannot be written"));
}
