//! Many clients, and clients that leave.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fathom_engine::{CacheSettings, EngineOptions, Scheduling};
use fathom_serve::Options;

use crate::client::{Reply, Running};

/// A request that takes long, whatever the weights: its prompt does.
fn long(stream: bool) -> String {
    let text = "word ".repeat(20_000);
    format!(
        r#"{{"model": "m", "stream": {stream}, "max_tokens": 5, "messages": [{{"role": "user", "content": "{text}"}}]}}"#
    )
}

const STORY: &str = r#"{"model": "m", "stream": true, "max_tokens": 300, "messages": [{"role": "user", "content": "Tell me a story."}]}"#;
const SHORT: &str = r#"{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}"#;

/// Notes how every answer ended.
fn noting(outcomes: &Arc<Mutex<Vec<String>>>) -> impl Fn(&mut Options) {
    let outcomes = Arc::clone(outcomes);
    move |options| {
        let outcomes = Arc::clone(&outcomes);
        options.on_completed =
            Arc::new(move |completed| outcomes.lock().unwrap().push(completed.outcome.to_string()));
    }
}

/// One request at a time, and none that waits.
fn one_at_a_time(outcomes: &Arc<Mutex<Vec<String>>>) -> Running {
    let options = EngineOptions {
        scheduling: Scheduling {
            running_max: 1,
            waiting_max: 0,
            ..Scheduling::default()
        },
        ..EngineOptions::default()
    };
    Running::start_with(&options, noting(outcomes))
}

/// Waits until the stream has begun.
fn read_status(stream: &mut TcpStream) {
    let mut bytes = [0; 15];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, *b"HTTP/1.1 200 OK");
}

/// Repeats the request while the server is busy.
fn patiently(server: &Running, body: &str) -> Reply {
    let started = Instant::now();
    loop {
        let reply = server.chat(body);
        if reply.status != 429 || started.elapsed() > Duration::from_mins(1) {
            return reply;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// How both answers ended, in order of the alphabet: which one is noted first is up to their tasks.
fn both(outcomes: &Mutex<Vec<String>>) -> Vec<String> {
    let started = Instant::now();
    loop {
        let mut noted = outcomes.lock().unwrap().clone();
        if noted.len() == 2 || started.elapsed() > Duration::from_mins(1) {
            noted.sort();
            return noted;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_request_too_many_is_refused_and_a_client_that_leaves_makes_room() {
    let outcomes = Arc::default();
    let server = one_at_a_time(&outcomes);
    let mut stream = server.send("POST /v1/chat/completions", &long(true));
    read_status(&mut stream);
    let refused = server.chat(SHORT);
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (
            429,
            r#"{"error":{"message":"1 requests are here already, as many as the engine accepts; try again when one is done","type":"rate_limit_error","param":null,"code":"invalid_request_error"}}"#
        )
    );
    drop(stream);
    assert_eq!(patiently(&server, SHORT).status, 200);
    assert_eq!(both(&outcomes), ["cancelled", "length"]);
}

#[test]
fn a_client_that_leaves_without_a_stream_makes_room_too() {
    let outcomes = Arc::default();
    let server = one_at_a_time(&outcomes);
    let stream = server.send("POST /v1/chat/completions", &long(false));
    // Nothing comes back before the answer is whole, so there is no sign of its start to wait for.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(server.chat(SHORT).status, 429);
    drop(stream);
    assert_eq!(patiently(&server, SHORT).status, 200);
    assert_eq!(both(&outcomes), ["cancelled", "length"]);
}

#[test]
fn a_seed_means_the_same_text_for_everybody() {
    let server = Running::start(|_| ());
    let body = r#"{"model": "m", "seed": 9, "max_tokens": 40, "messages": [{"role": "user", "content": "Tell me a story."}]}"#;
    let texts: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| server.chat(body).json())).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap()["choices"][0]["message"].clone())
            .collect()
    });
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[test]
fn the_next_turn_is_read_from_where_the_last_one_ended() {
    let server = Running::start(|_| ());
    let ask = |messages: &str| {
        server
            .chat(&format!(r#"{{"model": "m", "temperature": 0, "thinking": {{"type": "disabled"}}, "max_tokens": 30, "messages": [{messages}]}}"#))
            .json()
    };
    let question = r#"{"role": "user", "content": "What is 12 plus 30?"}"#;
    let first = ask(question);
    let answer = &first["choices"][0]["message"]["content"];
    // Another conversation in between does not push the first one out.
    ask(r#"{"role": "user", "content": "Tell me a story."}"#);
    let more = r#"{"role": "user", "content": "And 2 more?"}"#;
    let second = ask(&format!(
        r#"{question}, {{"role": "assistant", "content": {answer}}}, {more}"#
    ));
    let cached = second["usage"]["prompt_cache_hit_tokens"].as_u64().unwrap();
    assert!(
        cached >= first["usage"]["prompt_tokens"].as_u64().unwrap(),
        "{second}"
    );
}

#[test]
fn answers_in_progress_are_finished_before_the_server_ends() {
    let outcomes = Arc::default();
    let mut server = one_at_a_time(&outcomes);
    let mut stream = server.send("POST /v1/chat/completions", STORY);
    read_status(&mut stream);
    server.ask_to_end();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "{rest}");
    drop(server);
    assert_ne!(outcomes.lock().unwrap()[0], "cancelled");
}

#[test]
fn who_asks_for_no_length_or_too_much_gets_what_memory_has_room_for() {
    let options = EngineOptions {
        cache: CacheSettings {
            ram_bytes: Some(400_000),
            ..CacheSettings::default()
        },
        ..EngineOptions::default()
    };
    let ask = |strict, more: &str| {
        let server = Running::start_with(&options, |options| options.strict = strict);
        server.chat(&format!(
            r#"{{"model": "m", "thinking": {{"type": "disabled"}}, "messages": [{{"role": "user", "content": "Hello"}}]{more}}}"#
        ))
    };
    assert_eq!(ask(true, "").status, 200);
    assert_eq!(ask(false, r#", "max_tokens": 60000"#).status, 200);
    let refused = ask(true, r#", "max_tokens": 60000"#);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("--cache-ram"), "{}", refused.body);
}
