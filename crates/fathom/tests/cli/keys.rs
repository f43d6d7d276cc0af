//! `fathom keys`, run as a user runs it.

use std::path::Path;

use fathom_accounts::{Accounts, Options};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{command, fathom, text};

/// Runs `fathom keys ARGS --accounts DIR/accounts`.
fn run(dir: &Path, args: &[&str]) -> (bool, String, String) {
    let file = dir.join("accounts");
    let output = fathom(&[&["keys"], args, &["--accounts", file.to_str().unwrap()]].concat());
    let text = |bytes| text(bytes).replace(dir.to_str().unwrap(), "DIR");
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn done(dir: &Path, args: &[&str]) -> String {
    let (ok, out, error) = run(dir, args);
    assert!(ok, "{error}");
    out
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let (ok, out, error) = run(dir, args);
    assert!(!ok, "{out}");
    error
}

#[test]
fn a_key_is_made_and_its_secret_shown_once() {
    let dir = TempDir::new().unwrap();
    let out = done(
        dir.path(),
        &["create", "laptop", "--concurrent", "4", "--tokens-per-day", "10M"],
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "Key laptop (#1) is made. Its secret, which is shown this once:"
    );
    let secret = lines[2].trim();
    assert!(secret.starts_with("sk-") && secret.len() == 67, "{secret}");
    assert!(out.contains("Authorization: Bearer"), "{out}");
    assert_eq!(lines.last(), Some(&"limits   4 at once, 10,000,000 tokens/day"));
    let list = done(dir.path(), &["list"]);
    assert!(
        !list.contains(secret) && list.contains(&format!("…{}", &secret[63..])),
        "{list}"
    );
    // What the command made is what a server lets in.
    let accounts = Accounts::open(&dir.path().join("accounts"), Options::default()).unwrap();
    let key = accounts.authenticate(secret).unwrap().unwrap();
    assert_eq!(
        (key.name.as_str(), key.limits.concurrent, key.admin),
        ("laptop", Some(4), false)
    );
    let error = refused(dir.path(), &["create", "laptop"]);
    assert_eq!(
        error,
        "error: there is a key called \"laptop\" already; revoke it first, or choose another name\n"
    );
}

#[test]
fn a_running_server_sees_what_the_command_does() {
    let dir = TempDir::new().unwrap();
    let made: Value =
        serde_json::from_str(&done(dir.path(), &["create", "ci", "--admin", "--json"])).unwrap();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(made["key"]["admin"], true);
    let server = Accounts::open(&dir.path().join("accounts"), Options::default()).unwrap();
    assert!(server.authenticate(secret).unwrap().is_some());
    let out = done(dir.path(), &["revoke", "ci"]);
    assert_eq!(
        out,
        "Key ci (#1) is revoked. Running servers refuse it within a second; what it has in progress ends as usual.\n"
    );
    let start = std::time::Instant::now();
    while server.authenticate(secret).unwrap().is_some() {
        assert!(start.elapsed().as_secs() < 60, "the revoked key still works");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(
        done(dir.path(), &["revoke", "#1"]),
        "Key ci (#1) was revoked before.\n"
    );
    assert_eq!(
        done(dir.path(), &["list"]),
        "There are no keys. `fathom keys create NAME` makes one.\n"
    );
    assert!(done(dir.path(), &["list", "--all"]).contains("admin, revoked 20"));
    let error = refused(dir.path(), &["limits", "#1", "--concurrent", "3"]);
    assert!(error.contains("was revoked; a revoked key stays so"), "{error}");
}

#[test]
fn balances_are_topped_up_and_limits_changed() {
    let dir = TempDir::new().unwrap();
    let out = done(dir.path(), &["create", "team", "--prepaid", "--currency", "cny"]);
    assert!(
        out.ends_with("balance  0.00 CNY; it can be used after: fathom keys top-up \"team\" AMOUNT\n"),
        "{out}"
    );
    assert_eq!(
        done(dir.path(), &["top-up", "team", "10.50"]),
        "Key team (#1): balance 10.50 CNY (0.00 granted)\n"
    );
    assert_eq!(
        done(dir.path(), &["top-up", "team", "5", "--granted"]),
        "Key team (#1): balance 15.50 CNY (5.00 granted)\n"
    );
    assert_eq!(
        done(dir.path(), &["top-up", "team", "-0.25"]),
        "Key team (#1): balance 15.25 CNY (5.00 granted)\n"
    );
    assert_eq!(
        done(
            dir.path(),
            &[
                "limits",
                "team",
                "--tokens-per-minute",
                "200k",
                "--concurrent-per-model",
                "2"
            ]
        ),
        "Key team (#1): limits 2 at once of a model, 200,000 tokens/min\n"
    );
    assert_eq!(
        done(dir.path(), &["limits", "team", "--tokens-per-minute", "none"]),
        "Key team (#1): limits 2 at once of a model\n"
    );
    let list: Value = serde_json::from_str(&done(dir.path(), &["list", "--json"])).unwrap();
    let team = &list["keys"][0];
    assert_eq!(team["balance"]["topped_up"], "10.25");
    assert_eq!(team["key"]["limits"]["concurrent_per_model"], 2);
    assert_eq!(team["key"]["limits"]["concurrent"], Value::Null);
    assert!(team.to_string().len() < 600 && !team.to_string().contains("hash"));
}

#[test]
fn a_copy_can_be_used_in_place_of_the_file() {
    let dir = TempDir::new().unwrap();
    done(dir.path(), &["create", "team"]);
    let copy = TempDir::new().unwrap();
    let to = copy.path().join("accounts");
    let to = to.to_str().unwrap();
    assert_eq!(
        done(dir.path(), &["backup", to]),
        format!("Everything is in {to}.\n")
    );
    assert_eq!(done(copy.path(), &["list"]), done(dir.path(), &["list"]));
    let error = refused(dir.path(), &["backup", to]);
    assert!(error.contains("exists"), "{error}");
}

#[test]
fn mistakes_are_explained() {
    let dir = TempDir::new().unwrap();
    let error = refused(dir.path(), &["list"]);
    assert_eq!(
        error,
        "error: there is no accounts file DIR/accounts. `fathom keys create` makes one; or name another with --accounts\n"
    );
    assert!(!dir.path().join("accounts").exists());
    done(dir.path(), &["create", "team"]);
    for (args, expected) in [
        (
            &["revoke", "tema"][..],
            "no key is called \"tema\"; `fathom keys list` shows all",
        ),
        (
            &["create", "sk-1234"],
            "no key can be called \"sk-1234\": sk- begins a secret",
        ),
        (
            &["create", "x", "--currency", "dollar"],
            "\"dollar\" is no currency: expected three letters",
        ),
        (
            &["create", "x", "--concurrent", "0"],
            "expected a number from 1, or none",
        ),
        (
            &["create", "x", "--tokens-per-day", "1.5M"],
            "such as 5000, 200k, 10M or 2G, or none",
        ),
        (
            &["top-up", "team", "5"],
            "this key has no balance: it was not made with --prepaid",
        ),
        (
            &["top-up", "team", "five"],
            "\"five\" is no amount: expected a decimal number",
        ),
    ] {
        let error = refused(dir.path(), args);
        assert!(error.contains(expected), "{error}");
    }
    std::fs::write(
        dir.path().join("accounts"),
        "not a database, but a text that is long enough\n".repeat(100),
    )
    .unwrap();
    let error = refused(dir.path(), &["list"]);
    assert!(
        error.contains("found something that is no SQLite database"),
        "{error}"
    );
}

#[test]
fn without_a_name_the_file_is_among_the_users_data() {
    let dir = TempDir::new().unwrap();
    let output = command(&["keys", "create", "me"])
        .env("XDG_DATA_HOME", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(dir.path().join("fathom/accounts.sqlite").is_file());
}
