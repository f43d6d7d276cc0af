//! The listening server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use fathom_engine::Engine;
use tokio::net::TcpListener;

use crate::app::{App, Options};
use crate::error::ApiError;
use crate::{chat, model_list};

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
    pub async fn bind(
        engine: Arc<Engine>,
        host: &str,
        port: u16,
        options: Options,
    ) -> Result<Self, BindError> {
        let listener = TcpListener::bind((host, port))
            .await
            .map_err(|source| BindError::Listen {
                host: host.to_owned(),
                port,
                source,
            })?;
        let app = App { engine, options };
        Ok(Self {
            listener,
            router: router(app),
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

fn router(app: App) -> Router {
    let limit = DefaultBodyLimit::max(app.options.body_bytes_max);
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/chat/completions", post(chat::completions))
        .route("/v1/models", get(model_list::models))
        .route("/models", get(model_list::models))
        .route("/health", get(model_list::health))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(limit)
        .with_state(Arc::new(app))
}

async fn no_such_path(uri: Uri) -> ApiError {
    let message = format!(
        "There is no {}; this server has POST /v1/chat/completions, GET /v1/models and GET /health.",
        uri.path()
    );
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!(
        "{} does not take {method}; chat completions take POST, the others GET.",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}
