//! What a person who starts the server needs to know: what is served, and where.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::models::Described;
use crate::model_source::LoadedModel;
use crate::terminal::figures::plural;

/// A model as it is shown.
pub(super) struct Shown {
    name: String,
    facts: String,
    aliases: String,
}

impl Shown {
    pub(super) fn of(model: &Described, loaded: &LoadedModel) -> Self {
        let aliases: Vec<_> = model.aliases.iter().map(|alias| alias.name.as_str()).collect();
        Self {
            name: model.name.clone(),
            facts: format!(
                "{}, {}",
                loaded.engine.numerics(),
                plural(loaded.engine.threads(), "thread")
            ),
            aliases: aliases.join(", "),
        }
    }
}

/// Where to knock.
pub(super) struct Doors {
    pub(super) scheme: &'static str,
    pub(super) address: SocketAddr,
    pub(super) key_needed: bool,
}

impl Doors {
    /// The first lines of the server.
    pub(super) fn text(&self, models: &[Shown]) -> String {
        let base = format!("{}://{}", self.scheme, reachable(self.address));
        let mut text = String::new();
        // Writing to a string cannot fail.
        for Shown { name, facts, aliases } in models {
            let _ = write!(text, "{name} ({facts})");
            let also = if aliases.is_empty() { "" } else { ", also called " };
            let _ = writeln!(text, "{also}{aliases}");
        }
        let _ = writeln!(
            text,
            "\n  chat page   {base}/\n  OpenAI      {base}/v1\n  Anthropic   {base}/anthropic\n  DeepSeek    {base}\n"
        );
        if self.address.ip().is_unspecified() {
            let _ = writeln!(
                text,
                "Other machines reach it under this one's name or address, port {}.",
                self.address.port()
            );
        }
        let key = if self.key_needed {
            " -H \"Authorization: Bearer $FATHOM_KEY\""
        } else {
            ""
        };
        let name = models
            .first()
            .map(|model| model.name.as_str())
            .unwrap_or_default();
        let _ = write!(
            text,
            "Try: curl {base}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n     \
             -d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\
             Ctrl-C ends the server.\n"
        );
        text
    }
}

/// An address that this machine itself can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
