//! What a reply looks like, without what depends on weights, time or chance.

use serde_json::Value;

use crate::client::Reply;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its name, empty if it has none.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: Value,
}

/// All events of a stream; comments do not count.
pub(crate) fn events(reply: &Reply) -> Vec<Event> {
    assert_eq!(
        (reply.status, reply.content_type.as_str()),
        (200, "text/event-stream; charset=utf-8")
    );
    assert!(reply.body.ends_with("\n\n"), "cut: {}", reply.body);
    let lines = |event: &str, field: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix(field).map(ToOwned::to_owned))
    };
    let events = reply
        .body
        .split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'));
    let events = events.map(|event| Event {
        name: lines(event, "event: ").unwrap_or_default(),
        data: match lines(event, "data: ").unwrap().as_str() {
            "[DONE]" => Value::from("[DONE]"),
            data => serde_json::from_str(data).unwrap(),
        },
    });
    events.collect()
}

/// The shape of a stream: its events blanked, runs of equal ones once.
pub(crate) fn stream(reply: &Reply) -> String {
    let mut shown: Vec<String> = Vec::new();
    for Event { name, mut data } in events(reply) {
        blank(&mut data);
        let event = format!("{name} {data}");
        if shown.last() != Some(&event) {
            shown.push(event);
        }
    }
    shown.join("\n")
}

/// The shape of a whole reply.
pub(crate) fn whole(reply: &Reply) -> String {
    assert_eq!(
        (reply.status, reply.content_type.as_str()),
        (200, "application/json"),
        "{}",
        reply.body
    );
    let mut value = reply.json();
    blank(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

fn blank(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::Object(fields) => {
            // How many tokens a text has is the model's business; their shape is shown once.
            for list in ["content", "reasoning_content", "top_logprobs"] {
                if let Some(Value::Array(tokens)) = fields.get_mut(list)
                    && tokens.iter().all(|token| token.get("logprob").is_some())
                {
                    tokens.truncate(1);
                }
            }
            for (name, value) in fields {
                let with = match name.as_str() {
                    "id" | "item_id" | "call_id" | "signature" | "encrypted_content" => "ID",
                    "token" | "text" | "thinking" | "partial_json" | "arguments" => "TEXT",
                    "delta" | "content" | "reasoning_content" if value.is_string() => "TEXT",
                    "bytes" => "BYTES",
                    "logprob" => "LOGPROB",
                    "system_fingerprint" => "FINGERPRINT",
                    "created" | "created_at" | "completed_at" => "TIME",
                    "completion_tokens" | "output_tokens" | "reasoning_tokens" | "total_tokens"
                    | "sequence_number" => "N",
                    "prompt_cache_miss_reason" => "WHY",
                    _ => "",
                };
                let shows = with.is_empty() || value.is_null() || value.is_object() || *value == "";
                if shows {
                    blank(value);
                } else {
                    *value = with.into();
                }
            }
        }
        _ => {}
    }
}
