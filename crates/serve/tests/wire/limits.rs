//! How much one may ask.

use std::io::Read as _;
use std::time::{Duration, Instant};

use fathom_accounts::{Limits, NewKey};

use crate::auth::{accounts, key, locked};
use crate::client::Reply;

/// A request that takes long, whatever the weights: its prompt does.
fn long() -> String {
    let text = "word ".repeat(20_000);
    format!(
        r#"{{"model": "m", "stream": true, "max_tokens": 5, "messages": [{{"role": "user", "content": "{text}"}}]}}"#
    )
}

const SHORT: &str = r#"{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}"#;

fn one_at_a_time(name: &str) -> NewKey {
    NewKey {
        limits: Limits {
            concurrent: Some(1),
            ..Limits::default()
        },
        ..NewKey::named(name)
    }
}

#[test]
fn over_its_concurrency_a_key_waits_and_others_do_not() {
    let accounts = accounts();
    let (made, secret) = key(&accounts, one_at_a_time("a"));
    let (_, other) = key(&accounts, NewKey::named("b"));
    let server = locked(&accounts, |options| options.key_queue = 1);
    let mut first = server.send_as_key("POST /v1/chat/completions", &secret, &long());
    let mut start = [0; 15];
    first.read_exact(&mut start).unwrap();
    // Waits: its stream begins, and says nothing.
    let streamed = SHORT.replacen('{', "{\"stream\": true, ", 1);
    let mut second = server.send_as_key("POST /v1/chat/completions", &secret, &streamed);
    let mut status = [0; 15];
    second.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    assert_eq!(accounts.limiter().in_use(made.id).running, 1);
    // As many wait as may.
    let third = server.chat_as(&secret, SHORT);
    assert_eq!(third.status, 429, "{}", third.body);
    assert!(third.body.contains("rate_limit_error"));
    assert_eq!(server.chat_as(&other, SHORT).status, 200);
    // The first leaves, so it is the second one's turn.
    drop(first);
    let mut rest = String::new();
    second.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(accounts.limiter().in_use(made.id).running, 0);
}

#[test]
fn who_waits_for_too_long_is_told_so() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, one_at_a_time("a"));
    let server = locked(&accounts, |options| options.wait_max = Duration::from_millis(300));
    let mut first = server.send_as_key("POST /v1/chat/completions", &secret, &long());
    let mut start = [0; 15];
    first.read_exact(&mut start).unwrap();
    let whole = server.chat_as(&secret, SHORT);
    assert_eq!(whole.status, 503, "{}", whole.body);
    assert!(whole.body.contains("without being begun"), "{}", whole.body);
    let streamed = SHORT.replacen('{', "{\"stream\": true, ", 1);
    let reply = server.chat_as(&secret, &streamed);
    assert_eq!(reply.status, 200);
    assert!(
        reply.body.contains("without being begun") && !reply.body.contains("[DONE]"),
        "{}",
        reply.body
    );
    let rows = crate::ledger::rows(&accounts);
    assert_eq!(
        (rows.len(), rows[0].requests, rows[0].group[2].as_str()),
        (1, 2, "expired")
    );
}

#[test]
fn tokens_run_out() {
    let accounts = accounts();
    let day = Limits {
        tokens_per_day: Some(10),
        ..Limits::default()
    };
    let (_, secret) = key(
        &accounts,
        NewKey {
            limits: day,
            ..NewKey::named("a")
        },
    );
    let server = locked(&accounts, |_| ());
    let ask = || server.chat_as(&secret, &SHORT.replace("Hi", &"word ".repeat(20)));
    assert_eq!(ask().status, 200);
    let refused = ask();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 3600);
}

#[test]
fn a_body_must_come_in_time() {
    let server =
        crate::client::Running::start(|options| options.network.body_timeout = Duration::from_millis(200));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n\
                Content-Length: 1000\r\n\r\n{";
    let reply = Reply::read(server.send_bytes(head.as_bytes()));
    assert_eq!(reply.status, 408, "{}", reply.body);
}

#[test]
fn a_connection_that_says_nothing_or_never_ends_its_head_is_closed() {
    let server =
        crate::client::Running::start(|options| options.network.head_timeout = Duration::from_millis(200));
    for said in ["", "G", "GET /health HTTP/1.1\r\nHost: test\r\nX-A"] {
        let mut stream = server.send_bytes(said.as_bytes());
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut rest = Vec::new();
        // Closed, with or without a word.
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = crate::client::Running::start(|_| ());
    let large = "x".repeat(200_000);
    let head = format!("GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-A: {large}\r\n\r\n");
    let reply = Reply::read(server.send_bytes(head.as_bytes()));
    assert_eq!(reply.status, 431);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_there_is_room_again_later() {
    let server = crate::client::Running::start(|options| options.network.connections_max = 2);
    let mut held: Vec<_> = (0..2)
        .map(|_| server.send_bytes(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"))
        .collect();
    for stream in &mut held {
        let mut start = [0; 15];
        stream.read_exact(&mut start).unwrap();
    }
    let mut third = server.send_bytes(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut bytes = Vec::new();
    // Closed or reset, but nothing said.
    third.read_to_end(&mut bytes).ok();
    assert!(bytes.is_empty());
    drop(held);
    let started = Instant::now();
    loop {
        let mut stream =
            server.send_bytes(b"GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok();
        if bytes.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(1));
    }
}

#[test]
fn who_stops_reading_is_dropped_and_pays_for_what_was_computed() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |options| {
        options.network.write_timeout = Duration::from_millis(300);
    });
    // Many answers in one stream, with log-probabilities: together more than the system buffers.
    let prompts = vec!["Tell me a story."; 256];
    let body = serde_json::json!({"model": "m", "prompt": prompts, "stream": true, "logprobs": 20, "max_tokens": 200});
    let stream = server.send_as_key("POST /v1/completions", &secret, &body.to_string());
    let started = Instant::now();
    let rows = loop {
        let rows = crate::ledger::rows(&accounts);
        if rows.iter().any(|row| row.group[2] == "cancelled") || started.elapsed() > Duration::from_mins(1) {
            break rows;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let cancelled = rows.iter().find(|row| row.group[2] == "cancelled");
    assert!(cancelled.is_some_and(|row| row.tokens.output > 0), "{rows:?}");
    drop(stream);
}
