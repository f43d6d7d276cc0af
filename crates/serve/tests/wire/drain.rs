//! The end of a server.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_accounts::NewKey;

use crate::auth::{accounts, key, locked};
use crate::client::{Reply, Running};

/// A request that takes long, whatever the weights: its prompt does.
fn long(words: usize) -> String {
    let text = "word ".repeat(words);
    format!(
        r#"{{"model": "m", "stream": true, "max_tokens": 3, "messages": [{{"role": "user", "content": "{text}"}}]}}"#
    )
}
const SHORT: &str = r#"{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}"#;

fn read_status(stream: &mut TcpStream) {
    let mut bytes = [0; 15];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"HTTP/1.1 200 OK");
}

#[test]
fn while_answers_are_finished_new_ones_are_refused_and_health_says_so() {
    let mut server = Running::start(|_| ());
    assert_eq!(server.get("/health").json()["status"], "ok");
    let mut stream = server.send("POST /v1/chat/completions", &long(20_000));
    read_status(&mut stream);
    server.ask_to_end();
    let health = loop {
        let health = server.get("/health");
        if health.status != 200 {
            break health;
        }
    };
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &"draining".into())
    );
    let refused = server.chat(SHORT);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("about to end"), "{}", refused.body);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "{rest}");
}

#[test]
fn what_is_not_finished_in_time_is_cut_with_a_word_and_in_the_ledger() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let mut server = locked(&accounts, |options| {
        options.network.drain = Duration::from_millis(100);
    });
    let mut streams: Vec<_> = (0..3)
        .map(|_| server.send_as_key("POST /v1/chat/completions", &secret, &long(20_000)))
        .collect();
    let whole = long(20_000).replace("\"stream\": true, ", "");
    let whole = server.send_as_key("POST /v1/chat/completions", &secret, &whole);
    streams.iter_mut().for_each(read_status);
    // The last one says nothing before its end.
    while accounts
        .limiter()
        .in_use(accounts.find_key("a").unwrap().id)
        .running
        < 4
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = Instant::now();
    server.ask_to_end();
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(
            rest.contains("The server has ended before the answer was complete"),
            "{rest}"
        );
        assert!(!rest.contains("[DONE]"), "{rest}");
    }
    assert_eq!(Reply::read(whole).status, 503);
    drop(server);
    assert!(started.elapsed() < Duration::from_mins(1));
    let rows = crate::ledger::rows(&accounts);
    assert_eq!(
        (rows.len(), rows[0].requests, rows[0].group[2].as_str()),
        (1, 4, "shutdown"),
        "{rows:?}"
    );
    assert!(Arc::strong_count(&accounts) == 1, "the server let go of them");
}

#[test]
fn a_client_that_keeps_its_connection_does_not_hold_up_the_end() {
    let server = Running::start(|_| ());
    let mut idle = server.send_bytes(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    read_status(&mut idle);
    let silent = server.send_bytes(b"");
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_mins(1));
    drop((idle, silent));
}
