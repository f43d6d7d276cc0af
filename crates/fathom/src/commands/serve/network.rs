//! Connections, encryption and patience.

use std::path::PathBuf;
use std::time::Duration;

use fathom_serve::{Network, Tls};

use crate::units::parse_bytes;

/// How connections are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NetworkOptions {
    /// Serve HTTPS with this certificate: a PEM file, the chain after it. Read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key: a PEM file
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    tls_key: Option<PathBuf>,

    /// Let pages of this origin send requests, such as https://example.org, or * for all; may be given several times
    #[arg(long = "cors", value_name = "ORIGIN", help_heading = "Network")]
    pub(crate) cors: Vec<String>,

    /// Connections at a time; one more is closed at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Network")]
    connections: u32,

    /// Largest request body
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "32M", help_heading = "Network")]
    pub(crate) body_max: u64,

    /// Seconds within which the head of a request must have come; idle connections are closed after as long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    head_timeout: u32,

    /// Seconds within which the body of a request must have come
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    body_timeout: u32,

    /// Seconds after which a client that reads nothing of its answer counts as gone
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    write_timeout: u32,

    /// Seconds that a request may wait for its turn
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    queue_wait: u32,

    /// Requests of one key and model that may wait for the key's limits; one more is refused with status 429
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Network")]
    pub(crate) key_queue: u16,

    /// Seconds that answers in progress may take once the server is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 60, help_heading = "Network")]
    drain: u32,
}

impl NetworkOptions {
    /// What is wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => {
                problems.push("--tls-cert needs --tls-key, the file of its private key".to_owned());
            }
            (None, Some(_)) => {
                problems.push("--tls-key needs --tls-cert, the file of its certificate".to_owned());
            }
            _ => {}
        }
        problems.extend(
            self.tls()
                .and_then(|tls| tls.check().err())
                .map(|error| error.to_string()),
        );
        for origin in self.cors.iter().filter(|origin| !is_origin(origin)) {
            problems.push(format!(
                "--cors {origin} is no origin: expected a scheme and a host as browsers send them, such as \
                 https://example.org or http://localhost:3000, without a path; or *"
            ));
        }
        problems
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls().is_some()
    }

    /// How long a request may wait.
    pub(crate) fn queue_wait(&self) -> Duration {
        seconds(self.queue_wait)
    }

    /// The same for the server.
    pub(crate) fn network(&self) -> Network {
        Network {
            connections_max: self.connections as usize,
            head_timeout: seconds(self.head_timeout),
            body_timeout: seconds(self.body_timeout),
            write_timeout: seconds(self.write_timeout),
            drain: seconds(self.drain),
            tls: self.tls(),
        }
    }

    fn tls(&self) -> Option<Tls> {
        Some(Tls {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        })
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Whether a browser could send this text as the origin of a page.
fn is_origin(text: &str) -> bool {
    let host = text
        .split_once("://")
        .filter(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        })
        .map(|(_, host)| host);
    let plain = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte) && !byte.is_ascii_uppercase()
            })
    };
    text == "*" || host.is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for origin in [
            "*",
            "https://example.org",
            "http://localhost:3000",
            "http://[::1]:8017",
            "tauri://localhost",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in [
            "",
            "example.org",
            "https://example.org/",
            "https://Example.org",
            "https://",
            "https://a b",
            "null",
        ] {
            assert!(!is_origin(origin), "{origin}");
        }
    }
}
