//! Completions of text and tokens.

use fathom_engine::sampling::token_logprob;
use serde_json::{Value, json};

use crate::client::{Running, default_engine};

const PATHS: [&str; 3] = ["/completions", "/v1/completions", "/beta/completions"];

fn ask(more: &Value) -> Value {
    let mut body = json!({"model": "m", "prompt": "Once upon", "max_tokens": 8, "seed": 1});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// The chunks of a stream, and that it ended well.
fn chunks(body: &str) -> Vec<Value> {
    let events = body
        .strip_suffix("data: [DONE]\n\n")
        .unwrap()
        .split_terminator("\n\n");
    events
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[test]
fn a_text_is_completed() {
    let server = Running::start(|_| ());
    for path in PATHS {
        let reply = server.post(path, &ask(&json!({"logprobs": 2, "echo": false})).to_string());
        assert_eq!(reply.status, 200, "{}", reply.body);
        insta::assert_json_snapshot!("completion", reply.json(), {
            ".id" => "ID", ".created" => "TIME", ".system_fingerprint" => "FINGERPRINT",
            ".choices[].text" => "TEXT",
            ".choices[].logprobs.tokens" => "TOKENS",
            ".choices[].logprobs.token_logprobs" => "LOGPROBS",
            ".choices[].logprobs.top_logprobs" => "MAPS",
            ".choices[].logprobs.text_offset" => "OFFSETS",
            ".choices[].finish_reason" => "REASON",
            ".usage.prompt_tokens" => "N", ".usage.completion_tokens" => "N", ".usage.total_tokens" => "N",
            ".usage.prompt_cache_hit_tokens" => "N", ".usage.prompt_cache_miss_tokens" => "N",
            ".usage.prompt_tokens_details.cached_tokens" => "N",
        });
    }
}

#[test]
fn a_stream_says_the_same() {
    let server = Running::start(|_| ());
    let prompts = json!({"prompt": ["Once upon", "The sea"], "echo": true});
    let whole = server.post("/v1/completions", &ask(&prompts).to_string()).json();
    let mut streamed = ask(&prompts);
    streamed["stream"] = json!(true);
    let chunks = chunks(&server.post("/v1/completions", &streamed.to_string()).body);
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let of_choice = chunks
            .iter()
            .filter(|chunk| chunk["choices"][0]["index"] == index);
        let text: String = of_choice
            .clone()
            .map(|chunk| chunk["choices"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(choice["text"], text.as_str());
        assert!(
            text.starts_with(prompts["prompt"][index].as_str().unwrap()),
            "{text}"
        );
        let reasons: Vec<_> = of_choice
            .map(|chunk| &chunk["choices"][0]["finish_reason"])
            .filter(|reason| !reason.is_null())
            .collect();
        assert_eq!(reasons, [&choice["finish_reason"]]);
    }
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(
        last["usage"]["completion_tokens"],
        whole["usage"]["completion_tokens"]
    );
    assert!(others.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn tokens_are_completed_like_their_text() {
    let server = Running::start(|_| ());
    let text = server
        .post("/v1/completions", &ask(&json!({})).to_string())
        .json();
    let tokens = server
        .post("/tokenize", r#"{"model": "m", "text": "Once upon"}"#)
        .json();
    // A text comes behind begin-of-sentence, tokens come as they are.
    let mut ids = vec![json!(0)];
    ids.extend(tokens["ids"].as_array().unwrap().clone());
    for prompt in [json!(ids), json!([ids])] {
        let reply = server
            .post("/v1/completions", &ask(&json!({"prompt": prompt})).to_string())
            .json();
        assert_eq!(reply["choices"], text["choices"]);
    }
}

#[test]
fn logprobs_add_up_to_the_text() {
    let server = Running::start(|_| ());
    let reply = server
        .post(
            "/v1/completions",
            &ask(&json!({"logprobs": 3, "max_tokens": 20})).to_string(),
        )
        .json();
    let choice = &reply["choices"][0];
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    let text: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(choice["text"], text.as_str());
    for (index, token) in tokens.iter().enumerate() {
        let logprobs = &choice["logprobs"];
        let chosen = &logprobs["token_logprobs"][index];
        assert_eq!(&logprobs["top_logprobs"][index][token.as_str().unwrap()], chosen);
        let before: usize = tokens[..index]
            .iter()
            .map(|token| token.as_str().unwrap().chars().count())
            .sum();
        assert_eq!(logprobs["text_offset"][index], before);
    }
}

#[test]
fn a_hole_is_filled() {
    let server = Running::start(|_| ());
    let body = ask(&json!({"prompt": "def f(x):\n", "suffix": "\n    return y", "max_tokens": 4}));
    let reply = server.post("/beta/completions", &body.to_string()).json();
    let tokens = |text: &str| {
        let body = json!({"model": "m", "text": text}).to_string();
        server.post("/tokenize", &body).json()["tokens"].as_u64().unwrap()
    };
    // Begin-of-sentence and three that say what is where.
    assert_eq!(
        reply["usage"]["prompt_tokens"].as_u64().unwrap(),
        4 + tokens("def f(x):\n") + tokens("\n    return y")
    );
}

#[test]
fn an_echo_alone() {
    let server = Running::start(|_| ());
    let reply = server.post(
        "/v1/completions",
        &ask(&json!({"echo": true, "max_tokens": 0})).to_string(),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["choices"][0]["text"], "Once upon");
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(reply.json()["usage"]["completion_tokens"], 0);
}

#[test]
fn what_cannot_be_completed_is_told() {
    let server = Running::start(|_| ());
    for (more, message) in [
        (
            json!({"prompt": []}),
            "Invalid 'prompt': expected 1 to 256 prompts, but got 0",
        ),
        (json!({"prompt": [[]]}), "Invalid 'prompt': it has no tokens"),
        (
            json!({"logprobs": 21}),
            "Invalid logprobs value, the valid range of logprobs is [0, 20]",
        ),
        (
            json!({"max_tokens": 0}),
            "Invalid max_tokens value: 0 generates nothing; ask for at least 1, or for the prompt with 'echo'",
        ),
        (
            json!({"temperature": -1}),
            "Invalid temperature value, the valid range of temperature is [0, 2]",
        ),
        (
            json!({"top_p": 0}),
            "Invalid top_p value, the valid range of top_p is (0, 1.0]",
        ),
        (json!({"stop": vec!["x"; 17]}), "Stop string array too long: 17"),
        (
            json!({"suffix": "b", "echo": true}),
            "echo should not be used with suffix",
        ),
        (
            json!({"suffix": "b", "prompt": [1]}),
            "suffix should not be used with token ids as prompt",
        ),
        (
            json!({"model": "x"}),
            "The supported API model names are m, but you passed x.",
        ),
    ] {
        for stream in [false, true] {
            let mut body = ask(&more);
            body["stream"] = json!(stream);
            let reply = server.post("/v1/completions", &body.to_string());
            assert_eq!(
                (reply.status, reply.json()["error"]["message"].as_str().unwrap()),
                (400, message)
            );
        }
    }
}

/// What evaluation harnesses ask: how likely is a text, token by token.
#[test]
fn log_probabilities_of_a_prompt_are_those_of_the_model() {
    let server = Running::start(|_| ());
    let engine = default_engine(&fathom_engine::EngineOptions::default());
    let mut ids = vec![engine.tokenizer().bos_id()];
    ids.extend(
        engine
            .tokenizer()
            .encode_plain("What is 12 plus 30? 42 \u{1F40B}")
            .unwrap(),
    );
    let mut expected = vec![None];
    let mut session = engine.session();
    for (&id, &next) in ids.iter().zip(&ids[1..]) {
        let logprob = token_logprob(session.step(id).unwrap(), next, 1);
        let greedy = logprob.top[0].0 == next;
        expected.push(Some((logprob.logprob, greedy)));
    }
    let request = |prompt: Value, stream: bool| {
        ask(&json!({"prompt": prompt, "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0, "stream": stream}))
            .to_string()
    };
    let whole = server
        .post("/v1/completions", &request(json!([ids]), false))
        .json();
    let streamed = chunks(&server.post("/v1/completions", &request(json!([ids]), true)).body);
    assert_eq!(
        streamed.len(),
        1,
        "with its prompt's log-probabilities, a text comes in one piece"
    );
    for reply in [&whole, &streamed[0]] {
        let choice = &reply["choices"][0];
        assert_eq!(reply["usage"]["prompt_cache_hit_tokens"], 0);
        let logprobs = &choice["logprobs"];
        let chosen = logprobs["token_logprobs"].as_array().unwrap();
        assert_eq!(chosen.len(), ids.len() + 1);
        for (index, expected) in expected.iter().enumerate() {
            let Some((logprob, greedy)) = expected else {
                assert_eq!(
                    (&chosen[index], &logprobs["top_logprobs"][index]),
                    (&Value::Null, &Value::Null)
                );
                continue;
            };
            assert_eq!(chosen[index].as_f64().unwrap() as f32, *logprob);
            let likely = logprobs["top_logprobs"][index].as_object().unwrap();
            let best = likely
                .values()
                .map(|value| value.as_f64().unwrap())
                .fold(f64::MIN, f64::max);
            assert_eq!(best == chosen[index].as_f64().unwrap(), *greedy);
        }
        assert!(
            choice["text"]
                .as_str()
                .unwrap()
                .starts_with(&engine.tokenizer().decode(&ids))
        );
    }
    // As a text, the same but for begin-of-sentence, which is not part of it.
    let text = request(json!(engine.tokenizer().decode(&ids[1..])), false);
    let text = server.post("/v1/completions", &text).json();
    assert_eq!(
        text["choices"][0]["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()[..],
        whole["choices"][0]["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()[1..]
    );
}
