//! `fathom usage` and `fathom prices`, run as a user runs them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fathom_accounts::{Accounts, Currency, NewKey, Options, Record, Tokens};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{fathom, text};

/// Four requests of two keys and nobody, recorded by the real thing.
fn ledger(dir: &TempDir) -> PathBuf {
    let file = dir.path().join("accounts");
    let accounts = Accounts::open(&file, Options::default()).unwrap();
    let key = |name: &str, currency| {
        let new = NewKey {
            currency,
            ..NewKey::named(name)
        };
        Arc::new(accounts.create_key(new).unwrap().0)
    };
    let (ann, bob) = (
        key("ann", Currency::USD),
        key("bob, \"the\" builder", Currency::CNY),
    );
    for (id, key, tier, started) in [
        ("1", Some(&ann), Some("flash"), "2026-10-31T20:00:00Z"),
        ("2", Some(&ann), Some("flash"), "2026-11-01T12:00:00Z"),
        ("3", Some(&bob), Some("pro"), "2026-11-01T12:00:00Z"),
        ("4", None, None, "2026-11-02T12:00:00Z"),
    ] {
        let written = accounts.record(Record {
            id: id.to_owned(),
            key: key.cloned(),
            user_id: String::new(),
            model: format!("v4-{}", tier.unwrap_or("own")),
            tier: tier.map(str::to_owned),
            wire: "chat".into(),
            outcome: "stop".into(),
            tokens: Tokens {
                hit: 1_000_000,
                miss: 2_000,
                output: 3_000,
                reasoning: 1_000,
            },
            billed: true,
            started: started.parse().unwrap(),
            queued: Duration::ZERO,
            prefill: Duration::from_millis(50),
            decode: Duration::from_millis(70),
        });
        // Dropping the accounts waits for it.
        drop(written);
    }
    file
}

fn run(command: &str, file: &Path, args: &[&str]) -> (bool, String, String) {
    let output = fathom(&[&[command], args, &["--accounts", file.to_str().unwrap()]].concat());
    (
        output.status.success(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

fn usage(file: &Path, args: &[&str]) -> String {
    let (ok, out, error) = run("usage", file, args);
    assert!(ok, "{error}");
    out
}

#[test]
fn usage_by_key_and_model() {
    let dir = TempDir::new().unwrap();
    let out = usage(&ledger(&dir), &[]);
    assert_eq!(
        out,
        "  \
  key                 model     requests        hit   miss  output  of it reasoning    cost
  (no key)            v4-own           1  1,000,000  2,000   3,000            1,000  0.0000  USD
  ann                 v4-flash         2  2,000,000  4,000   6,000            2,000  0.0102  USD
  bob, \"the\" builder  v4-pro           1  1,000,000  2,000   3,000            1,000  0.1995  CNY
  all                                  1  1,000,000  2,000   3,000            1,000  0.1995  CNY
  all                                  3  3,000,000  6,000   9,000            3,000  0.0102  USD

1 of these requests had no price and cost nothing.
"
    );
}

#[test]
fn usage_of_a_month_as_csv_and_json() {
    let dir = TempDir::new().unwrap();
    let file = ledger(&dir);
    let november = ["--from", "2026-11", "--to", "2026-11-01", "--by", "day,key"];
    assert_eq!(
        usage(&file, &[&november[..], &["--csv"]].concat()),
        "day,key,requests,hit,miss,output,reasoning,currency,cost,unpriced,prefill_ms,decode_ms\n\
         2026-11-01,ann,1,1000000,2000,3000,1000,USD,0.0051,0,50,70\n\
         2026-11-01,\"bob, \"\"the\"\" builder\",1,1000000,2000,3000,1000,CNY,0.1995,0,50,70\n"
    );
    let json: Value = serde_json::from_str(&usage(&file, &[&november[..], &["--json"]].concat())).unwrap();
    assert_eq!(json["from"], "2026-11-01T00:00:00Z");
    assert_eq!(json["to"], "2026-11-02T00:00:00Z");
    let row = &json["rows"][0];
    assert_eq!((&row["day"], &row["key"]), (&"2026-11-01".into(), &"ann".into()));
    assert_eq!(
        (&row["cost"], &row["currency"]),
        (&"0.0051".into(), &"USD".into())
    );
    assert_eq!((&row["hit"], &row["requests"]), (&1_000_000.into(), &1.into()));
    assert_eq!(row.get("group"), None);
    // In Beijing the first request was made on 1 November.
    let beijing = usage(
        &file,
        &["--by", "day", "--utc-offset", "+08:00", "--key", "ann", "--csv"],
    );
    assert!(
        beijing.lines().nth(1).unwrap().starts_with("2026-11-01,2,"),
        "{beijing}"
    );
    assert_eq!(usage(&file, &["--model", "none"]), "No requests fit.\n");
}

#[test]
fn mistakes_are_explained() {
    let dir = TempDir::new().unwrap();
    let file = ledger(&dir);
    for (args, expected) in [
        (
            &["--by", "moon"][..],
            "nothing is summed by \"moon\"; expected one of key, user, model",
        ),
        (
            &["--from", "yesterday"],
            "such as 2026-11, 2026-11-22 or 2026-11-22T13:00",
        ),
        (&["--key", "zoe"], "no key is called \"zoe\""),
        (
            &["--utc-offset", "8"],
            "expected an offset from UTC, such as +08:00",
        ),
        (&["--json", "--csv"], "cannot be used with"),
        (&["prune"], "--before"),
    ] {
        let (ok, _, error) = run("usage", &file, args);
        assert!(!ok && error.contains(expected), "{error}");
    }
}

#[test]
fn old_requests_are_removed() {
    let dir = TempDir::new().unwrap();
    let file = ledger(&dir);
    let out = usage(&file, &["prune", "--before", "2026-11"]);
    assert_eq!(
        out,
        "1 request removed. Balances are as they were; reports no longer know what was removed.\n"
    );
    let left = usage(&file, &["--by", "month", "--csv"]);
    assert!(left.contains("2026-11,") && !left.contains("2026-10"), "{left}");
}

#[test]
fn prices_are_shown_and_files_checked() {
    let output = fathom(&["prices", "--at", "2026-11-23T02:00:00Z"]);
    assert_eq!(
        text(&output.stdout),
        "Per 1,000,000 tokens at 2026-11-23T02:00:00Z (peak):
  tier          hit  miss  output  price
  flash  CNY   0.04  2.00    8.00  flash-2026-09-10/peak
  flash  USD  0.006  0.30    1.20  flash-2026-09-10/peak
  pro    CNY   0.30  9.00   27.00  pro-2026-08-17/peak
  pro    USD  0.044  1.32    3.96  pro-2026-08-17/peak
"
    );
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("prices.toml");
    let file = file.to_str().unwrap();
    std::fs::write(
        file,
        "[[price]]\nid = \"gift\"\ntier = \"own\"\nkind = \"free\"\nfrom = 2026-01-01T00:00:00Z\n",
    )
    .unwrap();
    let output = fathom(&[
        "prices",
        "--prices",
        file,
        "--json",
        "--at",
        "2026-11-23T02:00:00Z",
    ]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["prices"][0]["price"]["id"], "gift");
    std::fs::write(file, "[[price]]\nid = \"gift\"\n").unwrap();
    let output = fathom(&["prices", "--prices", file]);
    let error = text(&output.stderr);
    assert!(
        !output.status.success()
            && error.contains("are not usable")
            && error.contains("missing field `tier`"),
        "{error}"
    );
}
