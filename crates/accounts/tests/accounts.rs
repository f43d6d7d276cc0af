//! Keys, balances and the ledger through the front door, in memory and in files.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fathom_accounts::{
    Accounts, AccountsError, Currency, Group, Key, KeyId, Limits, Money, NewKey, Options, Prices, Query,
    Record, Tokens,
};
use support::record;
use tempfile::TempDir;

fn open(dir: &TempDir) -> Accounts {
    Accounts::open(&dir.path().join("accounts"), Options::default()).unwrap()
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn prepaid(accounts: &Accounts, name: &str) -> Arc<Key> {
    let new = NewKey {
        prepaid: true,
        ..NewKey::named(name)
    };
    let (_, secret) = accounts.create_key(new).unwrap();
    accounts.authenticate(secret.expose()).unwrap().unwrap()
}

/// Waits until `condition` holds, and says how long that took.
fn wait_for(what: &str, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

#[test]
fn a_key_is_made_used_and_revoked() {
    let accounts = Accounts::in_memory(Options::default());
    let new = NewKey {
        admin: true,
        limits: Limits {
            concurrent: Some(3),
            tokens_per_day: Some(1 << 40),
            ..Limits::default()
        },
        ..NewKey::named("laptop")
    };
    let (key, secret) = accounts.create_key(new).unwrap();
    assert!(secret.expose().ends_with(&key.last_four));
    let found = accounts.authenticate(secret.expose()).unwrap().unwrap();
    assert_eq!(*found, key);
    assert_eq!(
        (found.limits.concurrent, found.limits.tokens_per_day),
        (Some(3), Some(1 << 40))
    );
    for wrong in ["", "sk-", "sk-0000", &secret.expose()[1..], &"x".repeat(10_000)] {
        assert_eq!(accounts.authenticate(wrong).unwrap(), None);
    }
    let again = accounts.create_key(NewKey::named("laptop")).unwrap_err();
    assert_eq!(again, AccountsError::NameTaken("laptop".to_owned()));
    let changed = accounts.set_limits(key.id, Limits::default()).unwrap();
    assert_eq!(changed.limits, Limits::default());
    assert_eq!(*accounts.authenticate(secret.expose()).unwrap().unwrap(), changed);
    let revoked = accounts.revoke_key(key.id).unwrap();
    assert!(revoked.revoked.is_some());
    assert_eq!(accounts.authenticate(secret.expose()).unwrap(), None);
    // Twice is once.
    assert_eq!(accounts.revoke_key(key.id).unwrap(), revoked);
    assert_eq!(
        accounts.set_limits(key.id, Limits::default()).unwrap_err(),
        AccountsError::Revoked("laptop".to_owned())
    );
    // The name is free again, the number is not.
    let (second, _) = accounts.create_key(NewKey::named("laptop")).unwrap();
    assert_ne!(second.id, key.id);
    assert_eq!(accounts.find_key("laptop").unwrap(), second);
    assert_eq!(accounts.find_key(&key.id.to_string()).unwrap(), revoked);
    assert!(accounts.find_key("nobody").is_err());
    assert_eq!(accounts.keys().unwrap(), [revoked, second]);
    let zero = Limits {
        concurrent: Some(0),
        ..Limits::default()
    };
    assert!(accounts.set_limits(KeyId(2), zero).is_err());
    assert!(accounts.revoke_key(KeyId(77)).is_err());
}

#[test]
fn the_secret_is_nowhere_in_the_file() {
    let dir = TempDir::new().unwrap();
    let accounts = open(&dir);
    let (_, secret) = accounts.create_key(NewKey::named("laptop")).unwrap();
    drop(accounts);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let random_part = &secret.expose().as_bytes()[3..35];
        assert!(!bytes.windows(32).any(|window| window == random_part));
    }
    let accounts = open(&dir);
    assert!(accounts.authenticate(secret.expose()).unwrap().is_some());
}

#[test]
fn what_another_process_does_to_keys_is_seen() {
    let dir = TempDir::new().unwrap();
    // Two openings share nothing but the file, as two processes do.
    let (server, tool) = (open(&dir), open(&dir));
    let (key, secret) = tool.create_key(NewKey::named("laptop")).unwrap();
    let knows = || server.authenticate(secret.expose()).unwrap();
    wait_for("a new key", || knows().is_some());
    let limits = Limits {
        concurrent: Some(7),
        ..Limits::default()
    };
    tool.set_limits(key.id, limits).unwrap();
    wait_for("a new limit", || knows().is_some_and(|key| key.limits == limits));
    tool.revoke_key(key.id).unwrap();
    wait_for("revocation", || knows().is_none());
}

#[tokio::test]
async fn costs_come_from_the_balance_granted_first() {
    let accounts = Accounts::in_memory(Options::default());
    let key = prepaid(&accounts, "team");
    assert!(!accounts.balance(key.id).unwrap().is_available());
    accounts.top_up(key.id, money("1"), true).unwrap();
    let balance = accounts.top_up(key.id, money("0.60"), false).unwrap();
    assert_eq!(balance, accounts.balance(key.id).unwrap());
    assert_eq!(
        (balance.total(), balance.currency),
        (money("1.60"), Currency::USD)
    );
    let recorded = accounts.record(record("a", Some(&key))).await.unwrap();
    assert_eq!((recorded.new, recorded.cost), (true, Some(money("0.75"))));
    assert_eq!(recorded.price.as_deref(), Some("flash-2026-09-10"));
    // The same id again, even with other figures, is the same request.
    let same = Record {
        tokens: Tokens::default(),
        ..record("a", Some(&key))
    };
    let duplicate = accounts.record(same).await.unwrap();
    assert_eq!(
        (duplicate.new, duplicate.cost, &duplicate.price),
        (false, recorded.cost, &recorded.price)
    );
    let balance = accounts.balance(key.id).unwrap();
    assert_eq!(
        (balance.granted, balance.topped_up),
        (money("0.25"), money("0.60"))
    );
    accounts.record(record("b", Some(&key))).await.unwrap();
    accounts.record(record("c", Some(&key))).await.unwrap();
    let balance = accounts.balance(key.id).unwrap();
    assert_eq!(
        (balance.granted, balance.topped_up),
        (Money::ZERO, money("-0.65"))
    );
    assert!(!balance.is_available());
    assert_eq!(accounts.audit().unwrap(), []);
    let error = accounts
        .top_up(key.id, Money::MAX, false)
        .and_then(|_| accounts.top_up(key.id, Money::MAX, false));
    assert!(error.unwrap_err().to_string().contains("too large"));
    assert!(accounts.top_up(key.id, Money::ZERO, false).is_err());
}

#[tokio::test]
async fn keys_without_a_balance_are_counted_and_not_charged() {
    let accounts = Accounts::in_memory(Options::default());
    let new = NewKey {
        currency: Currency::CNY,
        ..NewKey::named("free")
    };
    let (key, _) = accounts.create_key(new).unwrap();
    assert!(accounts.top_up(key.id, money("1"), true).is_err());
    let key = Arc::new(key);
    let recorded = accounts.record(record("a", Some(&key))).await.unwrap();
    assert_eq!(
        (recorded.cost, recorded.currency),
        (Some(money("5")), Currency::CNY)
    );
    let balance = accounts.balance(key.id).unwrap();
    assert_eq!((balance.total(), balance.is_available()), (Money::ZERO, true));
    let failed = Record {
        billed: false,
        outcome: "error".into(),
        ..record("failed", Some(&key))
    };
    let recorded = accounts.record(failed).await.unwrap();
    assert_eq!((recorded.cost, recorded.price), (Some(Money::ZERO), None));
    // No key, and a model without a price.
    let unpriced = Record {
        tier: None,
        ..record("b", None)
    };
    let recorded = accounts.record(unpriced).await.unwrap();
    assert_eq!((recorded.new, recorded.cost, recorded.price), (true, None, None));
    let rows = accounts.report(&Query::default()).unwrap();
    assert_eq!(
        rows.iter()
            .map(|row| (row.currency, row.requests, row.unpriced))
            .collect::<Vec<_>>(),
        [(Currency::CNY, 2, 0), (Currency::USD, 1, 1)]
    );
}

#[tokio::test]
async fn ids_are_checked_and_long_texts_are_cut() {
    let accounts = Accounts::in_memory(Options::default());
    for id in [String::new(), "x".repeat(129)] {
        let error = accounts.record(record(&id, None)).await.unwrap_err();
        assert!(matches!(error, AccountsError::RequestId(_)));
    }
    let long = Record {
        user_id: "é".repeat(1_000),
        ..record("a", None)
    };
    accounts.record(long).await.unwrap();
    let query = Query {
        by: vec![Group::User],
        ..Query::default()
    };
    assert_eq!(accounts.report(&query).unwrap()[0].group, ["é".repeat(256)]);
}

#[tokio::test]
async fn a_record_nobody_waits_for_is_written_all_the_same() {
    let dir = TempDir::new().unwrap();
    let accounts = open(&dir);
    for id in 0..100 {
        drop(accounts.record(record(&id.to_string(), None)));
    }
    drop(accounts);
    let rows = open(&dir).report(&Query::default()).unwrap();
    assert_eq!(rows[0].requests, 100);
}

#[tokio::test]
async fn reports_sum_by_what_is_asked() {
    let accounts = Accounts::in_memory(Options::default());
    let (a, _) = accounts.create_key(NewKey::named("a")).unwrap();
    let (b, _) = accounts.create_key(NewKey::named("b")).unwrap();
    let (a, b) = (Arc::new(a), Arc::new(b));
    for (id, key, model, wire, started) in [
        ("1", Some(&a), "flash", "chat", "2026-11-14T23:59:59.999Z"),
        ("2", Some(&a), "flash", "messages", "2026-11-15T00:00:00Z"),
        ("3", Some(&b), "pro", "chat", "2026-11-15T12:00:00Z"),
        ("4", None, "pro", "chat", "2026-11-15T16:00:00Z"),
    ] {
        let record = Record {
            model: model.to_owned(),
            wire: wire.into(),
            started: started.parse().unwrap(),
            ..record(id, key)
        };
        accounts.record(record).await.unwrap();
    }
    let groups = |query: Query| -> Vec<(String, u64)> {
        let rows = accounts.report(&query).unwrap();
        rows.iter()
            .map(|row| (row.group.join("/"), row.requests))
            .collect()
    };
    let by = |by: &[Group]| Query {
        by: by.to_vec(),
        ..Query::default()
    };
    let expect = |rows: &[(&str, u64)]| -> Vec<(String, u64)> {
        rows.iter()
            .map(|(group, requests)| ((*group).to_owned(), *requests))
            .collect()
    };
    assert_eq!(groups(by(&[])), expect(&[("", 4)]));
    assert_eq!(groups(by(&[Group::Key])), expect(&[("", 1), ("a", 2), ("b", 1)]));
    assert_eq!(
        groups(by(&[Group::Model, Group::Wire])),
        expect(&[("flash/chat", 1), ("flash/messages", 1), ("pro/chat", 2)])
    );
    assert_eq!(
        groups(by(&[Group::Day])),
        expect(&[("2026-11-14", 1), ("2026-11-15", 3)])
    );
    let beijing = Query {
        offset: fathom_accounts::Offset::from_hours(8).unwrap(),
        ..by(&[Group::Day])
    };
    assert_eq!(groups(beijing), expect(&[("2026-11-15", 3), ("2026-11-16", 1)]));
    assert_eq!(groups(by(&[Group::Hour]))[0].0, "2026-11-14 23:00");
    assert_eq!(groups(by(&[Group::Month])), expect(&[("2026-11", 4)]));
    let filtered = Query {
        from: Some("2026-11-15T00:00:00Z".parse().unwrap()),
        to: Some("2026-11-15T12:00:00Z".parse().unwrap()),
        key: Some(a.id),
        wire: Some("messages".to_owned()),
        model: Some("flash".to_owned()),
        user_id: Some(String::new()),
        currency: Some(Currency::USD),
        ..by(&Group::ALL)
    };
    let rows = accounts.report(&filtered).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].group,
        [
            "a",
            "",
            "flash",
            "messages",
            "stop",
            "flash-2026-09-10",
            "2026-11-15 00:00",
            "2026-11-15",
            "2026-11"
        ]
    );
    let row = &rows[0];
    assert_eq!(
        (row.cost, row.prefill_ms, row.decode_ms),
        (money("0.75"), 20, 300)
    );
    assert_eq!(row.tokens, record("", None).tokens);
    accounts.revoke_key(b.id).unwrap();
    assert_eq!(groups(by(&[Group::Key]))[2].0, format!("b ({}, revoked)", b.id));
}

#[tokio::test]
async fn sums_beyond_a_64_bit_number_do_not_fail() {
    let prices = "[[price]]\nid=\"gold\"\ntier=\"flash\"\nkind=\"table\"\nfrom=2026-01-01T00:00:00Z\nUSD={hit=0,miss=1000000,output=1000000}\n";
    let options = Options {
        prices: Prices::parse(prices).unwrap(),
        ..Options::default()
    };
    let accounts = Accounts::in_memory(options);
    let mut costs = Vec::new();
    for id in 0..5 {
        // 2,000,000 each.
        costs.push(accounts.record(record(&id.to_string(), None)).await.unwrap().cost);
    }
    assert_eq!(costs[0], Some(money("2000000")));
    assert_eq!(accounts.report(&Query::default()).unwrap()[0].cost, Money::MAX);
}

#[tokio::test]
async fn old_rows_are_removed_and_balances_stay_explained() {
    let dir = TempDir::new().unwrap();
    let accounts = open(&dir);
    let key = prepaid(&accounts, "team");
    accounts.top_up(key.id, money("10000"), false).unwrap();
    accounts.top_up(key.id, money("3"), true).unwrap();
    let mut waiting = Vec::new();
    for id in 0..6_000 {
        waiting.push(accounts.record(record(&id.to_string(), Some(&key))));
        if waiting.len() == 500 {
            for written in waiting.drain(..) {
                written.await.unwrap();
            }
        }
    }
    let later = Record {
        started: "2026-11-16T00:00:00Z".parse().unwrap(),
        ..record("later", Some(&key))
    };
    accounts.record(later).await.unwrap();
    let before = accounts.balance(key.id).unwrap();
    assert_eq!(
        accounts.prune("2026-11-16T00:00:00Z".parse().unwrap()).unwrap(),
        6_000
    );
    assert_eq!(accounts.balance(key.id).unwrap(), before);
    assert_eq!(accounts.audit().unwrap(), []);
    assert_eq!(accounts.report(&Query::default()).unwrap()[0].requests, 1);
}

#[tokio::test]
async fn a_backup_is_whole_and_private() {
    let dir = TempDir::new().unwrap();
    let accounts = open(&dir);
    let key = prepaid(&accounts, "team");
    accounts.top_up(key.id, money("3"), false).unwrap();
    accounts.record(record("a", Some(&key))).await.unwrap();
    let copy = dir.path().join("copy");
    accounts.backup(&copy).unwrap();
    accounts.record(record("b", Some(&key))).await.unwrap();
    let error = accounts.backup(&copy).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let restored = Accounts::open(&copy, Options::default()).unwrap();
    assert_eq!(restored.balance(key.id).unwrap().total(), money("2.25"));
    assert_eq!(restored.audit().unwrap(), []);
}

#[tokio::test]
async fn limits_are_charged_by_records_and_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let accounts = open(&dir);
    let new = NewKey {
        limits: Limits {
            tokens_per_day: Some(1_000),
            ..Limits::default()
        },
        ..NewKey::named("small")
    };
    let (key, secret) = accounts.create_key(new).unwrap();
    let key = Arc::new(key);
    let permit = accounts.admit(&key, "flash").unwrap();
    let now = Record {
        started: fathom_accounts::Timestamp::now(),
        tokens: Tokens {
            hit: 900,
            miss: 50,
            output: 50,
            reasoning: 50,
        },
        ..record("a", Some(&key))
    };
    accounts.record(now.clone()).await.unwrap();
    accounts.record(now).await.unwrap();
    drop(permit);
    assert_eq!(accounts.limiter().in_use(key.id).tokens_last_day, 1_000);
    let refusal = accounts.admit(&key, "flash").unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("this key has used 1000 tokens in the last 24 hours"),
        "{refusal}"
    );
    drop(accounts);
    let accounts = open(&dir);
    let key = accounts.authenticate(secret.expose()).unwrap().unwrap();
    assert_eq!(
        accounts.admit(&key, "flash").unwrap_err().to_string()[..60],
        refusal.to_string()[..60]
    );
}

#[test]
fn two_servers_on_one_file_lose_nothing() {
    const EACH: usize = 300;
    let dir = TempDir::new().unwrap();
    let servers = [open(&dir), open(&dir)];
    let key = prepaid(&servers[0], "shared");
    servers[1].top_up(key.id, money("1000"), false).unwrap();
    std::thread::scope(|scope| {
        for (index, server) in servers.iter().enumerate() {
            let key = &key;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let mut waiting = Vec::new();
                    for id in 0..EACH {
                        // Every third id is the other's, too.
                        let own = if id % 3 == 0 {
                            "both".to_owned()
                        } else {
                            index.to_string()
                        };
                        waiting.push(server.record(record(&format!("{own}-{id}"), Some(key))));
                        if waiting.len() == 16 {
                            for written in waiting.drain(..) {
                                written.await.unwrap();
                            }
                        }
                    }
                    for written in waiting {
                        written.await.unwrap();
                    }
                });
            });
        }
    });
    let requests = (EACH / 3 + 2 * (EACH - EACH / 3)) as u64;
    for server in &servers {
        let row = &server.report(&Query::default()).unwrap()[0];
        assert_eq!(row.requests, requests);
        let left = money("1000").saturating_sub(row.cost);
        assert_eq!(server.balance(key.id).unwrap().total(), left);
        assert_eq!(server.audit().unwrap(), []);
    }
}
