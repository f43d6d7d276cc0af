//! Figures, and names of requests.

use fathom_accounts::NewKey;

use crate::auth::{accounts, key, locked};
use crate::client::{Reply, Running};

const FEW: &str = r#"{"model": "m", "max_tokens": 5, "temperature": 0, "thinking": {"type": "disabled"}, "messages": [{"role": "user", "content": "Tell me a story."}]}"#;

/// The value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}"))
        .parse()
        .unwrap()
}

#[test]
fn figures_count_what_happens() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("team \"a\""));
    let server = locked(&accounts, |options| options.metrics_open = true);
    for _ in 0..3 {
        assert_eq!(server.chat_as(&secret, FEW).status, 200);
    }
    server.chat(FEW);
    server.get("/nothing/here");
    let reply = server.get("/metrics");
    assert_eq!(
        reply.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = reply.body;
    let value = |series: &str| value(&text, series);
    assert_eq!(
        value(r#"fathom_answers_total{wire="chat",model="m",outcome="length"}"#),
        3.0
    );
    assert_eq!(value(r#"fathom_tokens_total{model="m",kind="output"}"#), 15.0);
    assert_eq!(
        value(r#"fathom_key_tokens_total{key="team \"a\"",kind="output"}"#),
        15.0
    );
    assert_eq!(value(r#"fathom_key_answers_total{key="team \"a\""}"#), 3.0);
    assert_eq!(value(r#"fathom_refused_total{reason="key"}"#), 1.0);
    let replies = |route: &str, method: &str, status: u16| {
        value(&format!(
            r#"fathom_http_requests_total{{method="{method}",route="{route}",status="{status}"}}"#
        ))
    };
    assert_eq!(replies("/v1/chat/completions", "POST", 200), 3.0);
    assert_eq!(replies("/v1/chat/completions", "POST", 401), 1.0);
    assert_eq!(replies("other", "GET", 404), 1.0);
    assert_eq!(
        value(r#"fathom_time_to_first_token_seconds_count{model="m"}"#),
        3.0
    );
    assert!(value(r#"fathom_time_between_tokens_seconds_count{model="m"}"#) >= 12.0);
    assert_eq!(value(r#"fathom_queue_seconds_count{model="m"}"#), 3.0);
    // Answers leave a moment after their last event.
    assert!(value("fathom_requests_in_flight") <= 1.0);
    assert_eq!(value("fathom_draining"), 0.0);
    assert_eq!(value("fathom_ledger_failures_total"), 0.0);
    assert_eq!(value(r#"fathom_running{model="m"}"#), 0.0);
    assert!(value(r#"fathom_decode_tokens_total{model="m"}"#) >= 12.0);
    let (steps, decodes) = (
        value(r#"fathom_batch_size_count{model="m"}"#),
        value(r#"fathom_batch_size_sum{model="m"}"#),
    );
    assert!(
        text.contains(r#"fathom_batch_size_bucket{le="+Inf",model="m"}"#),
        "{text}"
    );
    assert!((12.0..=decodes).contains(&steps), "{steps} {decodes}");
    assert!(value(r#"fathom_computing_seconds_total{model="m"}"#) > 0.0);
    assert!(value(r#"fathom_cache_ram_bytes{model="m"}"#) > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let lookups: f64 = text
        .lines()
        .filter(|line| line.starts_with("fathom_cache_lookups_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(lookups, 3.0);
    assert!(text.contains("fathom_build_info{version=\""));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_number_of_series_is_bounded() {
    let accounts = accounts();
    let server = locked(&accounts, |options| options.metrics_open = true);
    for n in 0..205 {
        let (_, secret) = key(&accounts, NewKey::named(&format!("k{n}")));
        let one = FEW.replace("\"max_tokens\": 5", "\"max_tokens\": 1");
        assert_eq!(server.chat_as(&secret, &one).status, 200);
    }
    for n in 0..50 {
        server.get(&format!("/guess/{n}"));
    }
    let text = server.get("/metrics").body;
    assert_eq!(
        value(&text, r#"fathom_key_answers_total{key="(other keys)"}"#),
        5.0
    );
    assert_eq!(text.matches("fathom_key_answers_total{").count(), 201);
    assert_eq!(text.matches("fathom_http_requests_total{").count(), 2);
}

#[test]
fn every_reply_has_a_name_of_ours() {
    let server = Running::start(|_| ());
    let mut seen = std::collections::HashSet::new();
    let foreign = [("content-type", "application/json"), ("x-request-id", "mine")];
    for reply in [
        server.get("/health"),
        server.get("/nothing"),
        server.chat("{"),
        server.chat(FEW),
        server.chat(&FEW.replacen('{', "{\"stream\": true, ", 1)),
        // A client that says one twice must not be counted once.
        Reply::read(server.send_with("POST /v1/chat/completions", &foreign, FEW)),
    ] {
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(reply.header("x-deepseek-request-id"), Some(id.as_str()));
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
        if reply.status == 200 && reply.body.contains("\"choices\"") {
            assert!(reply.body.contains(&id), "the reply's own id is the same");
        }
        assert!(seen.insert(id));
    }
}
