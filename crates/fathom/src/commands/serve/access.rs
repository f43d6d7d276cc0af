//! Who can reach the server, and what they need for it.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::Context as _;
use fathom_serve::BindError;
use tokio::net::TcpSocket;

use super::ledger::Keys;

/// Where the server listens and whom it answers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AccessOptions {
    /// Address to listen on; other machines can reach the server only if this is not a loopback address
    #[arg(
        long,
        value_name = "HOST",
        default_value = "127.0.0.1",
        help_heading = "Server"
    )]
    pub(crate) host: String,

    /// Port to listen on; 0 takes any that is free
    #[arg(long, value_name = "N", default_value_t = 8017, help_heading = "Server")]
    pub(crate) port: u16,

    /// Answer everybody who can reach the server, also from other machines
    #[arg(long, help_heading = "Accounts")]
    no_auth: bool,

    /// Answer only who shows a key, also on this machine; other machines always need one
    #[arg(long, help_heading = "Accounts")]
    require_key: bool,
}

impl AccessOptions {
    /// Whether callers have to show a key.
    pub(crate) fn key_needed(&self) -> bool {
        self.require_key || (!self.no_auth && !self.is_local())
    }

    /// Whether requests must call the server by this machine's own names: what stands open to this machine alone must not be
    /// reached through a web page in its browser.
    pub(crate) fn local_names_only(&self) -> bool {
        self.is_local() && !self.key_needed() && !self.no_auth
    }

    /// What is wrong, if so many keys can be used.
    pub(crate) fn problems(&self, keys: Keys) -> Vec<String> {
        let mut problems = Vec::new();
        if self.no_auth && self.require_key {
            problems.push("--no-auth and --require-key contradict each other; say one of them".to_owned());
        }
        if let Err(error) = self.addresses() {
            problems.push(crate::commands::message(&error));
        } else if self.key_needed() && !self.no_auth && keys.usable == 0 {
            let why = if self.is_local() {
                "--require-key is said".to_owned()
            } else {
                format!("--host {} can be reached from other machines", self.host)
            };
            let or_local = if self.is_local() {
                ""
            } else {
                ", listen on 127.0.0.1"
            };
            problems.push(format!(
                "{why}, but there is no key yet. Make one with `fathom keys create NAME`{or_local}, or say --no-auth if everybody \
                 who can reach the server may use it"
            ));
        }
        problems
    }

    /// Whether only this machine can reach the server.
    pub(crate) fn is_local(&self) -> bool {
        let addresses = self.addresses().unwrap_or_default();
        addresses.iter().all(|address| address.ip().is_loopback())
    }

    /// Sees whether the port can be had. Nothing listens meanwhile: who connected would be thrown out again.
    pub(crate) fn try_port(&self) -> Result<(), BindError> {
        let bind = |address: SocketAddr| {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // As listening does: a port that was used a moment ago is free.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)
        };
        // What is no address is reported as such.
        let mut outcome = Ok(());
        for address in self.addresses().unwrap_or_default() {
            outcome = bind(address);
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map_err(|source| BindError::Listen {
            host: self.host.clone(),
            port: self.port,
            source,
        })
    }

    fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.with_context(|| {
            format!(
                "--host {} is no address of this machine: give an IP address or a name that has one",
                self.host
            )
        })?;
        Ok(addresses.collect())
    }
}
