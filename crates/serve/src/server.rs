//! The listening server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

use crate::app::App;
use crate::options::Options;
use crate::routes::router;

/// A server that has its port and does not answer yet.
pub struct Server {
    listener: TcpListener,
    router: Router,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {host}:{port}: {source}. Choose another --port, or end the program that uses this one"
    )]
    Listen {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

impl Server {
    /// Takes `port` on `host`; port 0 takes any that is free. Must be called inside a tokio runtime.
    pub async fn bind(host: &str, port: u16, options: Options) -> Result<Self, BindError> {
        let listener = TcpListener::bind((host, port))
            .await
            .map_err(|source| BindError::Listen {
                host: host.to_owned(),
                port,
                source,
            })?;
        Ok(Self {
            listener,
            router: router(App::new(options)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is over; requests that are being answered then are finished first.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        axum::serve(self.listener, self.router)
            .with_graceful_shutdown(shutdown)
            .await
    }
}
