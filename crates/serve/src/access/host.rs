//! Under which names a server that needs no key lets itself be called.
//!
//! A web page anywhere can have its own name point at this machine (DNS rebinding); to the browser the server is then part of that
//! page. Where keys are needed the page has none. Where they are not, a name that is not this machine's own is the sign.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::error::ApiError;

/// Refuses requests that call the server by a foreign name, if it is to listen to its own only.
pub(crate) async fn check_name(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.local_names_only {
        return next.run(request).await;
    }
    // HTTP/2 has it in the address.
    let host = request.headers().get(header::HOST);
    let name = match (request.uri().host(), host.map(|host| host.to_str())) {
        (Some(name), _) => name,
        (None, Some(Ok(host))) => without_port(host),
        (None, Some(Err(_))) => "?",
        (None, None) => "localhost",
    };
    if is_own(name) {
        return next.run(request).await;
    }
    let message = format!(
        "This server needs no key and therefore answers only under this machine's own names, such as localhost, not as {name}. If \
         it is meant to be called so, have it ask for keys (--require-key) or say --no-auth"
    );
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).into_response()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An address in brackets has colons of its own.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether no other machine can have this name.
fn is_own(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names() {
        for host in [
            "localhost",
            "LOCALHOST:8017",
            "fathom.localhost:1",
            "127.0.0.1:8017",
            "127.8.9.1",
            "[::1]:8017",
            "[::1]",
            "localhost.",
        ] {
            assert!(is_own(without_port(host)), "{host}");
        }
        for host in [
            "example.org",
            "localhost.example.org:80",
            "notlocalhost",
            "10.0.0.1:8017",
            "[::2]:8017",
            "",
            "?",
            "127.0.0.1.example.org",
        ] {
            assert!(!is_own(without_port(host)), "{host}");
        }
    }
}
