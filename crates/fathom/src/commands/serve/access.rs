//! Who can reach the server, and what they need for it.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use anyhow::Context as _;
use fathom_serve::BindError;

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
    #[arg(long, help_heading = "Server")]
    no_auth: bool,
}

impl AccessOptions {
    /// What is wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        let addresses = match self.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return vec![crate::commands::message(&error)],
        };
        if self.no_auth || addresses.iter().all(|address| address.ip().is_loopback()) {
            return Vec::new();
        }
        vec![format!(
            "--host {} can be reached from other machines, and nobody needs a key. Listen on 127.0.0.1, or say --no-auth if \
             everybody who can reach it may use it",
            self.host
        )]
    }

    /// Sees whether the port can be had; it is given back at once.
    pub(crate) fn try_port(&self) -> Result<(), BindError> {
        TcpListener::bind((self.host.as_str(), self.port))
            .map(drop)
            .map_err(|source| BindError::Listen {
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
