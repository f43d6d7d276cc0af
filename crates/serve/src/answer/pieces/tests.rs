//! Made-up answers, down to the JSON of every chunk.

use deepseek_recipe::openai::ChatCompletionRequest;
use deepseek_recipe::request::{ConversionOptions, ModelVersion, ProtocolRequest as _};
use deepseek_recipe::stream::ChunkGenerator as _;
use fathom_engine::answer::{Prefill, Timings, Usage};
use serde_json::{Value, json};

use super::*;

fn tokenizer() -> Tokenizer {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../prompt/tests/fixtures/tokenizer.json"
    );
    Tokenizer::from_json(&std::fs::read(path).unwrap(), usize::MAX).unwrap()
}

fn finished(finish_reason: answer::FinishReason) -> Answer {
    Answer {
        parsed: fathom_prompt::Answer::default(),
        finish_reason,
        usage: Usage {
            prompt: 30,
            cached: 28,
            generated: 12,
            reasoning: 4,
        },
        report: fathom_cache::Report::default(),
        timings: Timings::default(),
        tokens: Vec::new(),
        logprobs: Vec::new(),
        prompt_logprobs: Vec::new(),
    }
}

/// The choices and usage of every chunk a client gets for `events`.
async fn chunks(request: Value, events: &[Event], reason: answer::FinishReason) -> Vec<Value> {
    let mut body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "q"}]});
    body.as_object_mut()
        .unwrap()
        .extend(request.as_object().unwrap().clone());
    let names = [("m", ModelVersion::DeepseekV4Pro)];
    let request: ChatCompletionRequest = serde_json::from_value(body).unwrap();
    let converted = request
        .convert(ConversionOptions::new().with_model_versions_by_name(names))
        .unwrap();
    let mut generator = ChatCompletionRequest::chunk_generator(&converted, "id".into(), "m".into());
    let mut pieces = Pieces {
        tokenizer: tokenizer(),
        fingerprint: Some("fathom".to_owned()),
        logprobs: (converted.inference_options.logprobs)
            .then(|| converted.inference_options.top_logprobs.unwrap_or(0).into()),
        exact: false,
        offers_tools: converted.parsing_options.parse_tool_calls,
        thinking: converted.conversation.thinking_mode,
    };
    let mut outputs: Vec<OutputChunk> = events
        .iter()
        .filter_map(|event| pieces.of(event.clone()))
        .collect();
    outputs.push(pieces.last(&finished(reason)));
    let mut chunks = Vec::new();
    for output in outputs {
        for chunk in generator.generate(output).await {
            let mut chunk = serde_json::to_value(&chunk).unwrap();
            assert_eq!(
                (&chunk["id"], &chunk["object"]),
                (&json!("id"), &json!("chat.completion.chunk"))
            );
            assert_eq!(
                (&chunk["model"], &chunk["system_fingerprint"]),
                (&json!("m"), &json!("fathom"))
            );
            if let Some(Value::String(id)) = chunk.pointer_mut("/choices/0/delta/tool_calls/0/id") {
                assert!(id.starts_with("call_0"), "{id}");
                "call".clone_into(id);
            }
            let choice = &chunk["choices"][0];
            assert_eq!(choice["index"], 0);
            let mut shown = json!({"delta": choice["delta"]});
            for (key, value) in [
                ("logprobs", &choice["logprobs"]),
                ("finish_reason", &choice["finish_reason"]),
                ("usage", &chunk["usage"]),
            ] {
                if !value.is_null() {
                    shown[key] = value.clone();
                }
            }
            chunks.push(shown);
        }
    }
    chunks
}

const READ: Event = Event::Prefill(Prefill {
    cached: 28,
    done: 2,
    total: 2,
});

fn content(text: &str) -> Event {
    Event::Content(Text {
        text: text.to_owned(),
        ..Text::default()
    })
}

#[tokio::test]
async fn thinking_then_two_tool_calls() {
    let tools = json!([{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "b"}}]);
    let events = [
        READ,
        READ,
        Event::Tick,
        Event::Reasoning(Text {
            text: "Hm.".to_owned(),
            ..Text::default()
        }),
        content("I look."),
        Event::ToolCallBegin {
            index: 0,
            name: "a".to_owned(),
        },
        Event::ToolCallArguments {
            index: 0,
            json: "{\"x\": ".to_owned(),
        },
        Event::ToolCallArguments {
            index: 0,
            json: "1}".to_owned(),
        },
        Event::ToolCallEnd { index: 0 },
        Event::ToolCallBegin {
            index: 1,
            name: "b".to_owned(),
        },
        Event::ToolCallArguments {
            index: 1,
            json: "{}".to_owned(),
        },
        Event::ToolCallEnd { index: 1 },
    ];
    let start = |index: u32, name: &str| {
        json!({"delta": {"tool_calls": [
            {"index": index, "id": "call", "type": "function", "function": {"name": name, "arguments": ""}}
        ]}})
    };
    let arguments = |index: u32, text: &str| json!({"delta": {"tool_calls": [{"index": index, "function": {"arguments": text}}]}});
    assert_eq!(
        chunks(json!({"tools": tools}), &events, answer::FinishReason::ToolCalls).await,
        [
            json!({"delta": {"role": "assistant", "content": null, "reasoning_content": ""}}),
            json!({"delta": {"content": null, "reasoning_content": "Hm."}}),
            json!({"delta": {"content": "I look.", "reasoning_content": null}}),
            start(0, "a"),
            arguments(0, "{\"x\": "),
            arguments(0, "1}"),
            start(1, "b"),
            arguments(1, "{}"),
            json!({
                "delta": {"content": "", "reasoning_content": null},
                "finish_reason": "tool_calls",
                "usage": {
                    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                    "prompt_tokens_details": {"cached_tokens": 28},
                    "completion_tokens_details": {"reasoning_tokens": 4},
                    "prompt_cache_hit_tokens": 28, "prompt_cache_miss_tokens": 2,
                },
            }),
        ]
    );
}

#[tokio::test]
async fn without_thinking_there_is_no_word_of_reasoning() {
    let off = json!({"thinking": {"type": "disabled"}});
    for (reason, word) in [
        (answer::FinishReason::Stop, "stop"),
        (answer::FinishReason::StopString("x".to_owned()), "stop"),
        (answer::FinishReason::Length, "length"),
    ] {
        assert_eq!(
            chunks(off.clone(), &[READ, content("Yes")], reason).await,
            [
                json!({"delta": {"role": "assistant", "content": ""}}),
                json!({"delta": {"content": "Yes"}}),
                json!({
                    "delta": {"content": ""},
                    "finish_reason": word,
                    "usage": {
                        "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
                        "prompt_tokens_details": {"cached_tokens": 28},
                        "prompt_cache_hit_tokens": 28, "prompt_cache_miss_tokens": 2,
                    },
                }),
            ]
        );
    }
}

#[tokio::test]
async fn logprobs_spell_tokens_that_are_no_text() {
    let tokenizer = tokenizer();
    let letter = tokenizer.encode_plain("a").unwrap()[0];
    let whale = tokenizer.encode_plain("\u{1F40B}").unwrap()[0];
    let bytes = tokenizer.token_bytes(whale).unwrap();
    assert!(
        std::str::from_utf8(bytes).is_err(),
        "the fixture's vocabulary has no whale"
    );
    let logprobs = [sampling::TokenLogprob {
        token: letter,
        logprob: -0.25,
        top: vec![(letter, -0.25), (whale, -2.0)],
    }];
    let event = Event::Content(Text {
        text: "a".to_owned(),
        logprobs: logprobs.to_vec(),
    });
    let request = json!({"thinking": {"type": "disabled"}, "logprobs": true, "top_logprobs": 2});
    let whale = json!({"token": hex_escapes(bytes), "logprob": -2.0, "bytes": bytes});
    assert_eq!(
        chunks(request, &[READ, event], answer::FinishReason::Stop).await[1]["logprobs"],
        json!({"content": [{
            "token": "a", "logprob": -0.25, "bytes": [97],
            "top_logprobs": [{"token": "a", "logprob": -0.25, "bytes": [97]}, whale],
        }]})
    );
    assert_eq!(hex_escapes(&[0xf0, 0x0a]), "\\xf0\\x0a");
}

/// Without tools on offer there is nobody to call: no markup, no call, and a finish that clients know.
#[tokio::test]
async fn calls_of_tools_that_are_not_on_offer_are_left_out() {
    let events = [
        READ,
        Event::ToolCallBegin {
            index: 0,
            name: "a".to_owned(),
        },
        Event::ToolCallArguments {
            index: 0,
            json: "{}".to_owned(),
        },
        Event::ToolCallEnd { index: 0 },
    ];
    let off = json!({"thinking": {"type": "disabled"}});
    let chunks = chunks(off, &events, answer::FinishReason::ToolCalls).await;
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[1]["finish_reason"], "stop");
    let mut answer = finished(answer::FinishReason::ToolCalls);
    answer.parsed.tool_calls.push(fathom_prompt::ToolCall {
        id: "call_0".to_owned(),
        name: "a".to_owned(),
        arguments: "{}".to_owned(),
    });
    let pieces = Pieces {
        tokenizer: tokenizer(),
        fingerprint: None,
        logprobs: None,
        exact: false,
        thinking: false,
        offers_tools: false,
    };
    assert_eq!(
        pieces.defects(&answer),
        ["found 1 tool calls, but no tools are on offer; left them out"]
    );
}
