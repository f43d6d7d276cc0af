//! Every request has an id, and leaves one line in the log.
//!
//! The id is ours, whatever the client sends: the ledger counts a request once by it. It comes back as `x-request-id`,
//! `x-deepseek-request-id` and `request-id`, which is where OpenAI's, DeepSeek's and Anthropic's clients look for it. An `x-request-id`, `x-client-request-id` or `traceparent` of the client's stands beside it in the
//! log, so that both sides find each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use fathom_accounts::Timestamp;
use tracing::{Instrument as _, Span, error_span};
use uuid::Uuid;

use crate::app::App;
use crate::error::ErrorText;

/// Longest text of a client's that goes into the log.
const FOREIGN_ID_BYTES_MAX: usize = 128;

/// Longest word of a client's that an error in the log may quote.
const QUOTED_BYTES_MAX: usize = 32;
/// What machines ask for every few seconds: nobody wants a line for each time that it worked.
const ASKED_OFTEN: [&str; 3] = ["/health", "/metrics", "/admin/api/live"];

/// A request at the door.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Names it in logs, in the ledger and in the reply's headers.
    pub(crate) id: Uuid,
    /// When its head was here.
    pub(crate) at: Instant,
    /// The same, by the clock on the wall.
    pub(crate) wall: Timestamp,
    /// Its line in the log is written when its answer has ended.
    answered: Arc<AtomicBool>,
}

impl Arrival {
    /// A request that came now.
    pub(crate) fn now() -> Self {
        Self {
            id: Uuid::new_v4(),
            at: Instant::now(),
            wall: Timestamp::now(),
            answered: Arc::default(),
        }
    }

    /// From now on the request's line in the log is written when its answer ends.
    pub(crate) fn answer_is_logged(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

/// Names a request, and notes how it was replied to.
pub(crate) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let arrival = Arrival::now();
    request.extensions_mut().insert(arrival.clone());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let span = span(&arrival, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    app.metrics.replied(&method, route.as_deref(), status);
    if !arrival.answered.load(Ordering::Relaxed) {
        let error = response.extensions_mut().remove::<ErrorText>();
        let error = error.as_ref().map(|error| without_quotations(&error.0));
        let error = error.as_deref();
        let route = route.as_deref().unwrap_or("unknown path");
        let ms = milliseconds(arrival.at.elapsed());
        let status = status.as_u16();
        let _entered = span.enter();
        if status >= 500 {
            tracing::error!(target: "fathom::request", %method, route, status, ms, error, "replied");
        } else if status < 400 && ASKED_OFTEN.contains(&route) {
            tracing::debug!(target: "fathom::request", %method, route, status, ms, error, "replied");
        } else {
            tracing::info!(target: "fathom::request", %method, route, status, ms, error, "replied");
        }
    }
    // Digits, letters and dashes.
    if let Ok(id) = HeaderValue::try_from(arrival.id.to_string()) {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-request-id"), id.clone());
        headers.insert(HeaderName::from_static("request-id"), id.clone());
        headers.insert(HeaderName::from_static("x-deepseek-request-id"), id);
    }
    response
}

/// What every line about the request carries; of the highest level, so that warnings have it too where nothing else is logged.
fn span(arrival: &Arrival, headers: &HeaderMap) -> Span {
    let foreign = |name: &str| headers.get(name).and_then(sane);
    error_span!(
        target: "fathom::request",
        "request",
        id = %arrival.id,
        client_id = foreign("x-request-id").or_else(|| foreign("x-client-request-id")),
        traceparent = foreign("traceparent"),
        key = tracing::field::Empty,
    )
}

/// A client's text if it is fit for a log.
fn sane(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let fit =
        (1..=FOREIGN_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fit.then_some(text)
}

/// An error's text without what it quotes: errors of the parser quote what stands in the wrong place, and that may be what a
/// person has written. Single words stay: the name of a role or a field.
fn without_quotations(text: &str) -> String {
    let mut rest = text;
    let mut safe = String::new();
    while let Some(begin) = rest.find(['"', '`']) {
        let (before, quotation) = rest.split_at(begin);
        safe.push_str(before);
        // The mark is one byte. Within double quotes a backslash stands before what does not end them.
        let (mark, inside) = quotation.split_at(1);
        let mut escaped = false;
        let end = inside.char_indices().find(|&(_, symbol)| {
            let ends = !escaped && mark.starts_with(symbol);
            escaped = !escaped && symbol == '\\' && mark == "\"";
            ends
        });
        // What is not closed is left out to its end.
        let (quoted, after) = end.map_or((inside, ""), |(end, _)| (&inside[..end], &inside[end + 1..]));
        let is_word = quoted.len() <= QUOTED_BYTES_MAX && !quoted.contains(char::is_whitespace);
        safe.push_str(mark);
        safe.push_str(if is_word { quoted } else { "…" });
        safe.push_str(mark);
        rest = after;
    }
    safe + rest
}

/// For lines of the log.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_errors_quote_is_not_logged() {
        for (text, logged) in [
            (
                "messages[0].role: unknown variant `robot`, expected `user`",
                "messages[0].role: unknown variant `robot`, expected `user`",
            ),
            (
                r#"tools: invalid type: string "Dear \"doctor\", I", expected a sequence at line 1"#,
                r#"tools: invalid type: string "…", expected a sequence at line 1"#,
            ),
            (
                "unknown variant `my secret plan`, and `",
                "unknown variant `…`, and ``",
            ),
            (r#"a "b\" c"#, r#"a "…""#),
            ("`日本語日本語日本語日本語`", "`…`"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(without_quotations(text), logged);
        }
    }
}
