//! What the pages are and ask for.

use std::time::{Duration, Instant};

use fathom_accounts::NewKey;
use serde_json::{Value, json};

use crate::auth::{accounts, key, locked};
use crate::client::{Reply, Running};

#[test]
fn the_pages_are_served_and_nothing_beside_them() {
    let server = Running::start(|_| ());
    for path in ["/", "/admin"] {
        let page = server.get(path);
        assert_eq!(
            (page.status, page.content_type.as_str()),
            (200, "text/html; charset=utf-8"),
            "{path}"
        );
        // Every file that the page names is there.
        for name in page.body.split("\"/assets/").skip(1) {
            let name = &name[..name.find('"').unwrap()];
            assert_eq!(server.get(&format!("/assets/{name}")).status, 200, "{name}");
        }
    }
    for path in [
        "/assets/nothing.js",
        "/assets/..%2F..%2FCargo.toml",
        "/assets/%2Fetc%2Fpasswd",
        "/assets/",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn the_chat_page_learns_what_models_there_are() {
    let server = Running::start(|_| ());
    let info = server.get("/page/info").json();
    assert_eq!(info["key_needed"], false);
    let model = &info["models"][0];
    assert_eq!(model["id"], "m");
    assert_eq!(model["context"], 65_536);
    assert_eq!(model["thinking"], json!(["off", "high", "max"]));
    assert_eq!(model["tier"], "flash");
    assert_eq!(model["price"], json!(null));
    assert!(model["sampling"]["temperature"].is_number());
}

#[test]
fn the_operators_page_sees_what_was_computed() {
    let server = Running::start(|_| ());
    let reply = server.chat(r#"{"model":"m","messages":[{"role":"user","content":"What is 17 + 25?"}]}"#);
    assert_eq!(reply.status, 200);
    let output = reply.json()["usage"]["completion_tokens"].as_u64().unwrap();
    // Samples are taken every second.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let live = server.get("/admin/api/live?since=0").json();
        let model = &live["models"][0];
        assert_eq!(model["id"], "m");
        let lookups = model["lookups"].as_object().unwrap();
        assert_eq!(
            lookups.values().map(|count| count.as_u64().unwrap()).sum::<u64>(),
            1
        );
        let last = live["samples"]
            .as_array()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default();
        if last["models"][0]["decode_tokens"]
            .as_u64()
            .is_some_and(|tokens| tokens + 1 >= output)
        {
            let known = last["at"].as_i64().unwrap();
            let newer = server.get(&format!("/admin/api/live?since={known}")).json();
            let newer = newer["samples"].as_array().unwrap();
            assert!(newer.iter().all(|sample| sample["at"].as_i64().unwrap() > known));
            break;
        }
        assert!(Instant::now() < deadline, "{live}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.get("/admin/api/live?since=yesterday").status, 400);
    // Without accounts nothing is recorded, which is not the same as nothing used.
    for path in ["/admin/api/usage?by=key", "/admin/api/keys"] {
        assert_eq!(server.get(path).json()["accounts"], false, "{path}");
    }
}

fn get_with(server: &Running, path: &str, secret: &str) -> Reply {
    let bearer = format!("Bearer {secret}");
    Reply::read(server.send_with(&format!("GET {path}"), &[("authorization", &bearer)], ""))
}

#[test]
fn with_keys_the_pages_show_what_a_key_may_see() {
    let accounts = accounts();
    let (_, user) = key(&accounts, NewKey::named("user"));
    let (_, operator) = key(
        &accounts,
        NewKey {
            admin: true,
            ..NewKey::named("operator")
        },
    );
    let server = locked(&accounts, |options| options.metrics_open = true);

    // The page itself holds no secrets; it asks for the key.
    assert_eq!(server.get("/").status, 200);
    let info = server.get("/page/info").json();
    assert_eq!((&info["key_needed"], &info["models"]), (&json!(true), &json!([])));
    let info = get_with(&server, "/page/info", "sk-wrong").json();
    assert_eq!(info["models"], json!([]));
    let info = get_with(&server, "/page/info", &user).json();
    assert_eq!(info["models"][0]["id"], "m");
    let price = &info["models"][0]["price"];
    assert_eq!(price["currency"], "USD");
    assert!(price["output"].as_f64() > price["hit"].as_f64(), "{price}");

    // Figures that are open to everybody do not open the keys.
    for path in ["/admin/api/live", "/admin/api/usage?by=key", "/admin/api/keys"] {
        assert_eq!(server.get(path).status, 401, "{path}");
        assert_eq!(get_with(&server, path, &user).status, 403, "{path}");
        assert_eq!(get_with(&server, path, &operator).status, 200, "{path}");
    }

    let bearer = format!("Bearer {user}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    ];
    let body = r#"{"model":"m","max_tokens":3,"messages":[{"role":"user","content":"Hi"}]}"#;
    let reply = Reply::read(server.send_with("POST /v1/chat/completions", &headers, body));
    assert_eq!(reply.status, 200);

    let usage = |query: &str| get_with(&server, &format!("/admin/api/usage?{query}"), &operator).json();
    let by_key = usage("by=key");
    let row = &by_key["rows"][0];
    assert_eq!(
        (&row["group"], &row["requests"], &row["output"]),
        (&json!("user"), &json!(1), &json!(3))
    );
    assert!(row["cost"].as_str().unwrap().parse::<f64>().unwrap() > 0.0);
    assert_eq!(usage("by=model")["rows"][0]["group"], "m");
    assert_eq!(usage("by=day&to=2020-01-01")["rows"], json!([]));
    assert!(
        usage("by=colour")["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("by: ")
    );

    let keys = get_with(&server, "/admin/api/keys", &operator).json();
    let find = |name: &str| -> Value {
        let keys = keys["keys"].as_array().unwrap();
        keys.iter().find(|key| key["name"] == name).cloned().unwrap()
    };
    assert_eq!(
        find("user")["tokens_last_day"],
        find("user")["tokens_last_minute"]
    );
    assert!(find("user")["tokens_last_day"].as_u64() > Some(3));
    assert_eq!(find("operator")["admin"], true);
    assert!(user.ends_with(find("user")["last_four"].as_str().unwrap()));
    assert!(!keys.to_string().contains(&user));
}
