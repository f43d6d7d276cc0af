//! What a good request gets.

use fathom_serve::Alias;

use crate::client::Running;

const OFF: &str = r#""thinking": {"type": "disabled"}"#;

fn question(more: &str) -> String {
    format!(
        r#"{{"model": "m", "seed": 1, "max_tokens": 20, "messages": [{{"role": "user", "content": "What is 12 plus 30?"}}], {more}}}"#
    )
}

#[test]
fn a_reply_says_what_computed_it() {
    let server = Running::start(|_| ());
    assert_eq!(
        server.chat(&question(OFF)).json()["system_fingerprint"],
        format!("fathom_{}_reference", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn max_tokens_and_its_other_name() {
    let server = Running::start(|_| ());
    for body in [
        r#"{"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "q"}]}"#,
        r#"{"model": "m", "max_completion_tokens": 2, "messages": [{"role": "user", "content": "q"}]}"#,
    ] {
        let reply = server.chat(body).json();
        assert_eq!(reply["usage"]["completion_tokens"], 2);
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn logprobs_add_up_to_the_text() {
    let server = Running::start(|_| ());
    let reply = server
        .chat(&question(&format!(
            r#"{OFF}, "logprobs": true, "top_logprobs": 2"#
        )))
        .json();
    let tokens = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| {
            token["bytes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|byte| byte.as_u64().unwrap() as u8)
        })
        .collect();
    assert_eq!(
        bytes,
        reply["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .as_bytes()
    );
    for token in tokens {
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
        assert!(token["logprob"].as_f64().unwrap() <= token["top_logprobs"][0]["logprob"].as_f64().unwrap());
    }
}

#[test]
fn the_other_pages() {
    let named = |strict| {
        move |options: &mut fathom_serve::Options| {
            options.strict = strict;
            options.models[0].name = "fathom".to_owned();
            options.models[0].aliases = vec![Alias::new("deepseek-chat")];
        }
    };
    let server = Running::start(named(false));
    let model = r#"{"id":"fathom","object":"model","created":0,"owned_by":"fathom","aliases":["deepseek-chat"],"tier":"flash","context_length":65536,"thinking":["off","high","max"]}"#;
    for path in ["/v1/models", "/models"] {
        let reply = server.get(path);
        let expected = format!(r#"{{"object":"list","data":[{model}]}}"#);
        assert_eq!((reply.status, reply.body), (200, expected));
        for name in ["fathom", "deepseek-chat"] {
            let reply = server.get(&format!("{path}/{name}"));
            assert_eq!((reply.status, reply.body.as_str()), (200, model));
        }
        let missing = server.get(&format!("{path}/gpt"));
        assert_eq!(missing.status, 404);
        assert_eq!(
            missing.json()["error"]["message"],
            "There is no model gpt. This server has fathom."
        );
    }
    assert_eq!(
        Running::start(named(true)).get("/models").body,
        r#"{"object":"list","data":[{"id":"fathom","object":"model","owned_by":"deepseek"}]}"#
    );
    assert_eq!(
        server.get("/health").body,
        r#"{"status":"ok","models":[{"id":"fathom","numerics":"reference","context":65536}]}"#
    );
}

#[test]
fn a_reply_names_the_model_behind_an_alias() {
    let server = Running::start(|options| options.models[0].aliases = vec![Alias::new("deepseek-v4-flash")]);
    let body =
        r#"{"model": "deepseek-v4-flash", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]}"#;
    assert_eq!(server.chat(body).json()["model"], "m");
}
