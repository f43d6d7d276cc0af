//! `fathom serve`, run as a user runs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};

use crate::support::{command, fathom, text};

/// A running server, killed if a test fails.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Serving {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let mut child = command(&[&["serve", "--port", "0", "--threads", "1"], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, lines) = start_lines(&mut child);
        let address = address(&lines);
        assert_eq!(
            lines,
            format!(
                "fathom-small-1 (reference, 1 thread), also called deepseek-v4-flash, deepseek-flash, deepseek-v4-pro, \
                 deepseek-chat, deepseek-reasoner\n\n  \
                 chat page   http://{address}/\n  \
                 OpenAI      http://{address}/v1\n  \
                 Anthropic   http://{address}/anthropic\n  \
                 DeepSeek    http://{address}\n\n\
                 Try: curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\\n     \
                 -d '{{\"model\": \"fathom-small-1\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\
                 Ctrl-C ends the server.\n"
            )
        );
        Self {
            child,
            stdout,
            address,
        }
    }

    fn request(&self, body: &str) -> String {
        self.request_with("", body)
    }

    /// With header lines of its own.
    fn request_with(&self, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// What a server says when it is ready.
fn start_lines(child: &mut Child) -> (BufReader<ChildStdout>, String) {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.ends_with("Ctrl-C ends the server.\n") {
        assert_ne!(stdout.read_line(&mut lines).unwrap(), 0, "{lines}");
    }
    (stdout, lines)
}

/// Where it says that it is.
fn address(lines: &str) -> String {
    let address = lines
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    address.unwrap().to_owned()
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has usually ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn it_says_where_it_is_answers_and_ends_when_asked() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut serving = Serving::start();
        let body = r#"{"model": "fathom-small-1", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}"#;
        let reply = serving.request(body);
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        serving.signal(signal);
        assert_eq!(serving.child.wait().unwrap().code(), Some(0));
        let mut rest = String::new();
        serving.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(
            rest,
            "\nFinishing the answers in progress; Ctrl-C again ends at once.\nThe server has ended.\n"
        );
        let mut log = String::new();
        serving
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        let answered: Vec<_> = log.lines().filter(|line| line.contains(": answered ")).collect();
        assert_eq!(answered.len(), 1, "{log}");
        for word in [
            "wire=\"chat\"",
            "model=\"fathom-small-1\"",
            "outcome=\"length\"",
            " output=2 ",
            " ttft_ms=",
        ] {
            assert!(answered[0].contains(word), "{word}: {log}");
        }
        // The id that the client has, and nothing of what it said.
        let id = reply
            .split("\nx-request-id: ")
            .nth(1)
            .unwrap()
            .split('\r')
            .next()
            .unwrap();
        assert!(answered[0].contains(id) && !log.contains("Hello"), "{log}");
    }
}

#[test]
fn a_cache_directory_that_cannot_be_written_is_said_and_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    // Not even root can write to a lock that is a directory.
    std::fs::create_dir(dir.path().join("lock")).unwrap();
    let mut serving = Serving::start_with(&["--cache-dir", dir.path().to_str().unwrap()]);
    let body =
        r#"{"model": "fathom-small-1", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}"#;
    let reply = serving.request(body);
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    serving.signal(rustix::process::Signal::TERM);
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    let mut stderr = serving.child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert_eq!(log.matches("note: ").count(), 1, "{log}");
    assert!(
        log.starts_with("note: the cache in ") && log.contains("; it is only read. "),
        "{log}"
    );
}

#[test]
fn a_port_in_use_is_refused_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = fathom(&["serve", "--port", &port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "error: cannot listen on 127.0.0.1:{port}: Address already in use (os error 98). Choose another --port, or end \
             the program that uses this one\n"
        )
    );
}

#[test]
fn several_models_answer_to_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fathom.toml");
    let file = "threads = 1\ncache-dir = 'states'\n[[models]]\nname = 'quick'\nbuiltin = true\n[[models]]\nname = 'expert'\ntier = 'pro'\nbuiltin = true\ncache-ram = '64M'\n";
    std::fs::write(&config, file).unwrap();
    let mut child = command(&["serve", "--port", "0", "--config", config.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, lines) = start_lines(&mut child);
    assert!(
        lines.starts_with(
            "quick (reference, 1 thread), also called deepseek-v4-flash, deepseek-flash, deepseek-chat, deepseek-reasoner\n\
             expert (reference, 1 thread), also called deepseek-v4-pro\n"
        ),
        "{lines}"
    );
    let serving = Serving {
        child,
        stdout,
        address: address(&lines),
    };
    for name in ["quick", "expert", "deepseek-chat", "deepseek-v4-pro"] {
        let body = format!(
            r#"{{"model": "{name}", "max_tokens": 2, "messages": [{{"role": "user", "content": "Hello"}}]}}"#
        );
        let reply = serving.request(&body);
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {reply}");
    }
    let reply = serving.request(r#"{"model": "other", "messages": [{"role": "user", "content": "Hello"}]}"#);
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    // Each keeps its states in a directory of its own, beside the file that says so.
    for name in ["quick", "expert"] {
        assert!(dir.path().join("states").join(name).is_dir(), "{name}");
    }
}

#[test]
fn with_keys_only_who_shows_one_is_answered_and_use_is_kept() {
    use fathom_accounts::{Accounts, Currency, NewKey, Options, Query, Timestamp};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.sqlite");
    let (_, secret) = Accounts::open(&path, Options::default())
        .unwrap()
        .create_key(NewKey::named("ada"))
        .unwrap();
    // The tables say that this model is counted as the other one.
    let config = dir.path().join("fathom.toml");
    std::fs::write(
        &config,
        "require-key = true\naccounts = 'accounts.sqlite'\n[[models]]\nbuiltin = true\nprice = 'pro'\n",
    )
    .unwrap();
    let mut child = command(&[
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--config",
        config.to_str().unwrap(),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let (stdout, lines) = start_lines(&mut child);
    assert!(
        lines.contains("-H \"Authorization: Bearer $FATHOM_KEY\""),
        "{lines}"
    );
    let serving = Serving {
        child,
        stdout,
        address: address(&lines),
    };
    let body =
        r#"{"model": "deepseek-chat", "max_tokens": 2, "messages": [{"role": "user", "content": "Hello"}]}"#;
    let refused = serving.request(body);
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let header = format!("Authorization: Bearer {}\r\n", secret.expose());
    let reply = serving.request_with(&header, body);
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    drop(serving);
    let accounts = Accounts::open(&path, Options::default()).unwrap();
    let [row] = accounts.report(&Query::default()).unwrap().try_into().unwrap();
    assert_eq!((row.requests, row.tokens.output), (1, 2), "{row:?}");
    // Prompt and output at the price of today's Pro.
    let price = accounts
        .prices()
        .price("pro", Timestamp::now(), Currency::USD)
        .unwrap();
    assert_eq!(row.cost, price.cost(&row.tokens), "{row:?}");
}
