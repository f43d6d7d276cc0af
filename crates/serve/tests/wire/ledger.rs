//! What is written down of a request, and when.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Accounts, Group, Money, NewKey, Query, Row};

use crate::auth::{accounts, key, locked};
use crate::client::Reply;

/// The ledger, a row for each key, wire and outcome.
pub(crate) fn rows(accounts: &Accounts) -> Vec<Row> {
    accounts
        .report(&Query {
            by: vec![Group::Key, Group::Wire, Group::Outcome],
            ..Query::default()
        })
        .unwrap()
}

const FEW: &str = r#"{"model": "m", "max_tokens": 5, "temperature": 0, "thinking": {"type": "disabled"}, "messages": [{"role": "user", "content": "Tell me a story."}]}"#;

#[test]
fn a_request_is_in_the_ledger_before_its_client_is_told_that_it_is_complete() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |_| ());
    let usage = server.chat_as(&secret, FEW).json()["usage"].clone();
    let row = &rows(&accounts)[0];
    let tokens = row.tokens;
    assert_eq!(
        (tokens.hit + tokens.miss, tokens.hit, tokens.output, row.requests),
        (
            usage["prompt_tokens"].as_u64().unwrap(),
            usage["prompt_cache_hit_tokens"].as_u64().unwrap(),
            usage["completion_tokens"].as_u64().unwrap(),
            1
        )
    );
    assert_eq!(row.group, ["a", "chat", "length"]);

    // Of a stream: with its last event in hand, before anything else is read.
    let streamed = FEW.replacen('{', "{\"stream\": true, ", 1);
    for n in 2..6 {
        let mut stream = server.send_as_key("POST /v1/chat/completions", &secret, &streamed);
        let mut text = String::new();
        let mut byte = [0];
        while !text.contains("finish_reason\":\"length\"") {
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0].into());
        }
        assert_eq!(rows(&accounts)[0].requests, n);
    }
}

#[test]
fn who_leaves_pays_for_what_was_computed() {
    let accounts = accounts();
    let (_, secret) = key(
        &accounts,
        NewKey {
            prepaid: true,
            ..NewKey::named("a")
        },
    );
    let made = accounts.find_key("a").unwrap();
    accounts
        .top_up(made.id, "1".parse::<Money>().unwrap(), false)
        .unwrap();
    let server = locked(&accounts, |_| ());
    let long = r#"{"model": "m", "stream": true, "max_tokens": 20000, "messages": [{"role": "user", "content": "Tell me a long story."}]}"#;
    let mut stream = server.send_as_key("POST /v1/chat/completions", &secret, long);
    let mut start = [0; 2500];
    stream.read_exact(&mut start).unwrap();
    drop(stream);
    // Its end is a step away.
    let rows = loop {
        let rows = rows(&accounts);
        if !rows.is_empty() {
            break rows;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(rows[0].group[2], "cancelled");
    assert!(
        rows[0].tokens.output > 0 && rows[0].tokens.output < 20_000,
        "{rows:?}"
    );
    assert!(accounts.balance(made.id).unwrap().total() < "1".parse().unwrap());
}

#[test]
fn no_money_no_answer() {
    let accounts = accounts();
    let (made, secret) = key(
        &accounts,
        NewKey {
            prepaid: true,
            ..NewKey::named("a")
        },
    );
    let server = locked(&accounts, |_| ());
    let refused = server.chat_as(&secret, FEW);
    let body = r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#;
    assert_eq!((refused.status, refused.body.as_str()), (402, body));
    let balance = |server| {
        Reply::read(crate::client::Running::send_as_key(
            server,
            "GET /user/balance",
            &secret,
            "",
        ))
        .body
    };
    assert_eq!(
        balance(&server),
        r#"{"is_available":false,"balance_infos":[{"currency":"USD","total_balance":"0.00","granted_balance":"0.00","topped_up_balance":"0.00"}]}"#
    );
    accounts.top_up(made.id, "0.5".parse().unwrap(), true).unwrap();
    assert_eq!(
        balance(&server),
        r#"{"is_available":true,"balance_infos":[{"currency":"USD","total_balance":"0.50","granted_balance":"0.50","topped_up_balance":"0.00"}]}"#
    );
    assert_eq!(server.chat_as(&secret, FEW).status, 200);
    assert!(accounts.balance(made.id).unwrap().granted < "0.5".parse().unwrap());
    assert!(accounts.audit().unwrap().is_empty());
}

#[test]
fn a_failing_ledger_is_loud_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.sqlite");
    let accounts = Arc::new(Accounts::open(&path, fathom_accounts::Options::default()).unwrap());
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |options| {
        options.ledger_required = true;
        options.metrics_open = true;
    });
    assert_eq!(server.chat_as(&secret, FEW).status, 200);
    // As a disk that is full would: no row can be added.
    let other = rusqlite::Connection::open(&path).unwrap();
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON requests BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    other.execute_batch(refuse).unwrap();
    // The answer that is there is given; the next one is not begun.
    assert_eq!(server.chat_as(&secret, FEW).status, 200);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("fathom_ledger_failures_total 1\n"), "{metrics}");
    assert!(metrics.contains("fathom_ledger_waiting 1\n"), "{metrics}");
    let refused = server.chat_as(&secret, FEW);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(rows(&accounts)[0].requests, 1);
    // Room again: what was missing is written, and requests are served.
    other.execute_batch("DROP TRIGGER full").unwrap();
    while server.chat_as(&secret, FEW).status == 503 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rows(&accounts)[0].requests, 3);
}
