//! The listening server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum_server::Handle;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::admin;
use crate::app::App;
use crate::network::{self, Certificate, Network, TlsError};
use crate::options::Options;
use crate::routes::router;

/// How long answers that are cut short may take to end: a step, a record in the ledger, and the last bytes to a client.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A server that has its port and does not answer yet.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    router: Router,
    network: Network,
    certificate: Option<Certificate>,
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
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Server {
    /// Takes `port` on `host`; port 0 takes any that is free. Must be called inside a tokio runtime.
    pub async fn bind(host: &str, port: u16, mut options: Options) -> Result<Self, BindError> {
        let network = std::mem::take(&mut options.network);
        let certificate = network.tls.clone().map(Certificate::load).transpose()?;
        let listener = TcpListener::bind((host, port))
            .await
            .map_err(|source| BindError::Listen {
                host: host.to_owned(),
                port,
                source,
            })?;
        let app = Arc::new(App::new(options, &network));
        admin::watch(&app);
        Ok(Self {
            listener,
            router: router(&app),
            app,
            network,
            certificate,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is over. From then on no request that generates is taken, and `/health` says so; answers in
    /// progress have [`Network::drain`] to be finished, and the rest is cancelled. What was used is noted of all of them.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self {
            listener,
            app,
            router,
            network,
            certificate,
        } = self;
        let (handle, drain) = (Handle::new(), network.drain);
        let serving = network::serve(listener, router, network, certificate, handle.clone());
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served,
            () = shutdown => {}
        }
        let ending = async {
            let left = end_answers(&app, drain).await;
            handle.graceful_shutdown(Some(left.max(LAST_WORDS)));
            std::future::pending::<io::Result<()>>().await
        };
        let served = tokio::select! {
            served = serving => served,
            never = ending => never,
        };
        app.ledger.close().await;
        served
    }
}

/// Waits until no answer is left, for at most `drain`; then cancels those that are. Returns what is left of the time.
async fn end_answers(app: &App, drain: Duration) -> Duration {
    let started = Instant::now();
    let presence = &app.presence;
    presence.drain();
    tracing::info!(target: "fathom::server", answers = presence.len(), "ending");
    if timeout(drain, presence.emptied()).await.is_err() {
        tracing::warn!(target: "fathom::server", answers = presence.len(), "out of time: cancelling the rest");
        presence.cancel();
        if timeout(LAST_WORDS, presence.emptied()).await.is_err() {
            tracing::error!(target: "fathom::server", answers = presence.len(), "answers that do not end are left behind");
        }
    }
    drain.saturating_sub(started.elapsed())
}
