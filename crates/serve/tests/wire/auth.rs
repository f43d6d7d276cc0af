//! Who is let in, and who shares what with whom.

use std::sync::Arc;

use fathom_accounts::{Accounts, Key, NewKey, Options as AccountsOptions};
use fathom_serve::Options;

use crate::client::{Reply, Running};

/// A key of `accounts` and its secret.
pub(crate) fn key(accounts: &Accounts, new: NewKey) -> (Key, String) {
    let (key, secret) = accounts.create_key(new).unwrap();
    (key, secret.expose().to_owned())
}

/// Accounts that end with the test.
pub(crate) fn accounts() -> Arc<Accounts> {
    Arc::new(Accounts::in_memory(AccountsOptions::default()))
}

/// A server that serves only who has a key.
pub(crate) fn locked(accounts: &Arc<Accounts>, adjust: impl FnOnce(&mut Options)) -> Running {
    Running::start(|options| {
        options.accounts = Some(Arc::clone(accounts));
        options.require_key = true;
        adjust(options);
    })
}

const ONE_TOKEN: &str = r#"{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}"#;

fn chat_with(server: &Running, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    Reply::read(server.send_with("POST /v1/chat/completions", &all, ONE_TOKEN))
}

#[test]
fn who_shows_no_key_or_a_wrong_one_is_told_so_as_by_the_hosted_api() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |_| ());

    let none = chat_with(&server, &[]);
    assert_eq!(
        (none.status, none.body.as_str()),
        (401, "Authentication Fails (governor)")
    );
    assert_eq!(none.header("content-type"), None);

    let wrong = "Bearer sk-0123456789abcdef";
    let refused = chat_with(&server, &[("authorization", wrong)]);
    let body = r#"{"error":{"message":"Authentication Fails, Your api key: ****cdef is invalid","type":"authentication_error","param":null,"code":"invalid_request_error"}}"#;
    assert_eq!((refused.status, refused.body.as_str()), (401, body));
    assert_eq!(refused.content_type, "application/json");

    // The first of the two counts, also where it is the wrong one.
    assert_eq!(chat_with(&server, &[("x-api-key", &secret)]).status, 200);
    let bearer = format!("Bearer {secret}");
    assert_eq!(
        chat_with(&server, &[("x-api-key", "sk-1"), ("authorization", &bearer)]).status,
        200
    );
    assert_eq!(
        chat_with(&server, &[("x-api-key", &secret), ("authorization", wrong)]).status,
        401
    );
    // Not a text at all, short, and longer than any key.
    for odd in [
        "Bearer \u{e9}\u{e9}",
        "Bearer x",
        "Bearer",
        "",
        &format!("Bearer {}", "x".repeat(5000)),
    ] {
        assert_eq!(chat_with(&server, &[("authorization", odd)]).status, 401, "{odd}");
    }
}

#[test]
fn a_bad_key_is_refused_before_the_body_is_read() {
    let accounts = accounts();
    let server = locked(&accounts, |_| ());
    // Announces a body that never comes.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n\
                Content-Length: 1000000\r\n\r\n";
    let reply = Reply::read(server.send_bytes(head.as_bytes()));
    assert_eq!(reply.status, 401);
}

#[test]
fn doors_that_need_no_key() {
    let accounts = accounts();
    let (_, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |_| ());
    assert_eq!(server.get("/health").status, 200);
    for path in ["/v1/models", "/models", "/user/balance", "/metrics"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let as_key = |path: &str| Reply::read(server.send_as_key(&format!("GET {path}"), &secret, ""));
    assert_eq!(as_key("/v1/models").status, 200);
    assert_eq!(as_key("/metrics").status, 403);
    let (_, admin) = key(
        &accounts,
        NewKey {
            admin: true,
            ..NewKey::named("b")
        },
    );
    assert_eq!(
        Reply::read(server.send_as_key("GET /metrics", &admin, "")).status,
        200
    );
}

#[test]
fn a_revoked_key_ends() {
    let accounts = accounts();
    let (made, secret) = key(&accounts, NewKey::named("a"));
    let server = locked(&accounts, |_| ());
    assert_eq!(server.chat_as(&secret, ONE_TOKEN).status, 200);
    accounts.revoke_key(made.id).unwrap();
    assert_eq!(server.chat_as(&secret, ONE_TOKEN).status, 401);
}

#[test]
fn without_the_need_of_a_key_any_text_will_do_and_a_known_key_counts() {
    let accounts = accounts();
    let (made, secret) = key(&accounts, NewKey::named("a"));
    let server = Running::start(|options| options.accounts = Some(Arc::clone(&accounts)));
    for secret in ["sk-x", &secret] {
        assert_eq!(server.chat_as(secret, ONE_TOKEN).status, 200);
    }
    let rows = crate::ledger::rows(&accounts);
    let keys: Vec<_> = rows.iter().map(|row| row.group[0].as_str()).collect();
    assert!(
        keys.contains(&made.name.as_str()) && keys.contains(&""),
        "{keys:?}"
    );
}

/// The usage of a prompt of several pages.
fn usage(server: &Running, secret: &str, user: &str) -> serde_json::Value {
    let text = "word ".repeat(400);
    let body = format!(
        r#"{{"model": "m", "max_tokens": 1, "user_id": "{user}", "messages": [{{"role": "user", "content": "{text}"}}]}}"#
    );
    let reply = server.chat_as(secret, &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["usage"].clone()
}

#[test]
fn nobody_sees_by_counts_what_others_have_asked() {
    let accounts = accounts();
    let (_, first) = key(&accounts, NewKey::named("first"));
    let (_, second) = key(&accounts, NewKey::named("second"));
    let server = locked(&accounts, |_| ());
    let cold = usage(&server, &first, "u");
    assert_eq!(cold["prompt_cache_hit_tokens"], 0);
    let warm = usage(&server, &first, "u");
    assert!(warm["prompt_cache_hit_tokens"].as_u64().unwrap() >= 256, "{warm}");
    // Another user of the key, another key with the user's name, and names that would be the same if they were put together
    // carelessly: to all of them the prompt is new, in so many words.
    for (secret, user) in [
        (&first, "v"),
        (&second, "u"),
        (&first, ""),
        (&second, ""),
        (&first, "/u"),
        (&second, "1/u"),
    ] {
        let usage = usage(&server, secret, user);
        assert_eq!(usage, cold, "{user}");
        assert_eq!(usage["prompt_cache_miss_reason"], "the rest is new");
    }
    // And each of them has its own from now on.
    assert_eq!(usage(&server, &second, "u"), warm);
}

#[test]
fn pages_of_other_origins_may_ask_only_if_they_are_named() {
    let ask = |server: &Running, origin: &str| {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let reply = Reply::read(server.send_with("OPTIONS /v1/chat/completions", &preflight, ""));
        reply.header("access-control-allow-origin").map(str::to_owned)
    };
    let closed = Running::start(|_| ());
    assert_eq!(ask(&closed, "https://a.example"), None);
    let server = Running::start(|options| options.cors_origins = vec!["https://a.example".to_owned()]);
    assert_eq!(
        ask(&server, "https://a.example").as_deref(),
        Some("https://a.example")
    );
    assert_eq!(ask(&server, "https://b.example"), None);
    let open = Running::start(|options| options.cors_origins = vec!["*".to_owned()]);
    assert_eq!(ask(&open, "https://b.example").as_deref(), Some("*"));
    // And replies can be read by them, with the request's id.
    let headers = [
        ("origin", "https://a.example"),
        ("content-type", "application/json"),
    ];
    let reply = Reply::read(server.send_with("POST /v1/chat/completions", &headers, ONE_TOKEN));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert!(
        reply
            .header("access-control-expose-headers")
            .unwrap()
            .contains("x-request-id")
    );
}

#[test]
fn a_server_without_keys_answers_to_its_own_names_only() {
    let server = Running::start(|options| options.local_names_only = true);
    let ask = |host: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Reply::read(server.send_bytes(head.as_bytes()))
    };
    for host in ["localhost:8017", "127.0.0.1:8017", "[::1]:8017"] {
        assert_eq!(ask(host).status, 200, "{host}");
    }
    for host in ["rebound.example.org:8017", "10.1.2.3"] {
        let reply = ask(host);
        assert_eq!(reply.status, 403, "{host}");
        assert!(reply.body.contains("--require-key"), "{}", reply.body);
    }
}
