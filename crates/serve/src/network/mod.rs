//! Connections: how many, how long they may take, encrypted or not.
//!
//! What a client can hold open is bounded in number and in time, whether it sends its request a byte at a time, says nothing
//! at all, or stops reading its answer.

mod guard;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::{Accept, DefaultAcceptor};
use axum_server::service::SendService;
use axum_server::tls_rustls::RustlsAcceptor;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use guard::Guard;
pub(crate) use tls::Certificate;
pub use tls::{Tls, TlsError};

/// Largest head of a request in bytes; a larger one is refused with 431.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 256;
/// How often a silent HTTP/2 client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How connections are kept.
#[derive(Debug, Clone)]
pub struct Network {
    /// Connections at a time; one more is closed at once.
    pub connections_max: usize,
    /// A request's head must have come within this time, and a connection without requests is closed after it.
    pub head_timeout: Duration,
    /// A request's body must have come within this time.
    pub body_timeout: Duration,
    /// Who has not read anything of what waits for him for this long is gone.
    pub write_timeout: Duration,
    /// How long answers in progress may go on once the server is asked to end.
    pub drain: Duration,
    /// Encryption; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_mins(5),
            write_timeout: Duration::from_mins(5),
            drain: Duration::from_mins(1),
            tls: None,
        }
    }
}

/// Serves `router` until `handle` says otherwise.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    network: Network,
    certificate: Option<Certificate>,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    match certificate {
        Some(certificate) => {
            let acceptor = RustlsAcceptor::new(certificate.config());
            let serving = accept(listener, router, &network, acceptor, handle);
            // Watches for as long as there are connections.
            tokio::select! {
                result = serving => result,
                never = certificate.watch() => match never {},
            }
        }
        None => accept(listener, router, &network, DefaultAcceptor::new(), handle).await,
    }
}

async fn accept<A>(
    listener: TcpListener,
    router: Router,
    network: &Network,
    acceptor: A,
    handle: Handle<SocketAddr>,
) -> io::Result<()>
where
    A: Accept<TcpStream, Service> + Clone + Send + Sync + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Service: SendService<axum::http::Request<hyper::body::Incoming>> + Send,
    A::Future: Send,
{
    let guard = Guard {
        inner: acceptor,
        room: Arc::new(Semaphore::new(network.connections_max)),
        opening: network.head_timeout,
        stall: network.write_timeout,
    };
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener)
        .acceptor(guard)
        .handle(handle);
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(network.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(network.head_timeout);
    server
        .serve(router.into_make_service_with_connect_info::<SocketAddr>())
        .await
}

/// What answers one connection.
type Service = axum::middleware::AddExtension<Router, axum::extract::ConnectInfo<SocketAddr>>;
