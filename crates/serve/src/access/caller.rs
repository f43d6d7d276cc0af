//! Who sends a request.
//!
//! Where keys are asked for, a request shows its key as `Authorization: Bearer` or as `x-api-key`; if it shows both, the
//! former counts. What it is told otherwise is what the hosted API says, byte for byte.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use fathom_accounts::{Key, Timestamp};
use tracing::Span;
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;
use crate::observe::{Arrival, Refused};

/// Who sends a request, and which request it is.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Names the request in logs, in the ledger and in the reply's headers.
    pub(crate) request: Uuid,
    /// When it came.
    pub(crate) arrived: Instant,
    /// The same, by the clock on the wall.
    pub(crate) at: Timestamp,
    /// The key it showed; `None` where none is needed.
    pub(crate) key: Option<Arc<Key>>,
    arrival: Arrival,
}

impl Caller {
    /// Whose cached prefixes the request may use, and whose turn it takes: `user` of this caller. No two callers have the same,
    /// whatever their users are called.
    pub(crate) fn isolation(&self, user: &str) -> String {
        match &self.key {
            Some(key) => format!("{}/{user}", key.id.0),
            // What a server keeps for nobody in particular is what `fathom chat` on the same machine uses.
            None if user.is_empty() => String::new(),
            None => format!("/{user}"),
        }
    }

    /// The same caller with another request, which comes now.
    pub(crate) fn again(&self) -> Self {
        let arrival = Arrival::now();
        Self {
            request: arrival.id,
            arrived: arrival.at,
            at: arrival.wall,
            key: self.key.clone(),
            arrival: self.arrival.clone(),
        }
    }

    /// From now on the request's line in the log is written when its answer ends.
    pub(crate) fn answer_is_logged(&self) {
        self.arrival.answer_is_logged();
    }
}

impl<S: Sync> FromRequestParts<S> for Caller
where
    Arc<App>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let app = Arc::<App>::from_ref(state);
        let arrival = parts.extensions.get::<Arrival>().cloned();
        let arrival = arrival.unwrap_or_else(Arrival::now);
        let key = authenticate(&app, &parts.headers)?;
        if let Some(key) = &key {
            Span::current().record("key", key.name.as_str());
        }
        Ok(Self {
            request: arrival.id,
            arrived: arrival.at,
            at: arrival.wall,
            key,
            arrival,
        })
    }
}

/// A caller who may see how the server is doing.
pub(crate) struct Admin;

impl<S: Sync> FromRequestParts<S> for Admin
where
    Arc<App>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let app = Arc::<App>::from_ref(state);
        if app.metrics_open || !app.require_key {
            return Ok(Self);
        }
        match Caller::from_request_parts(parts, state).await?.key {
            Some(key) if key.admin => Ok(Self),
            _ => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "This key may not see how the server is doing; `fathom keys create --admin` makes one that may",
            )),
        }
    }
}

/// The key of a request; `None` where none is needed.
fn authenticate(app: &App, headers: &HeaderMap) -> Result<Option<Arc<Key>>, ApiError> {
    let shown = shown(headers);
    let found = match (&app.accounts, shown) {
        (Some(accounts), Some(shown)) => accounts.authenticate(shown).map_err(|error| {
            tracing::error!(target: "fathom::accounts", %error, "keys cannot be checked");
            ApiError::unavailable("Keys cannot be checked at the moment; try again later")
        })?,
        _ => None,
    };
    // Where no key is needed, clients send any text as one.
    if found.is_some() || !app.require_key {
        return Ok(found);
    }
    app.metrics.refused(Refused::Key);
    Err(match shown {
        Some(shown) => {
            let last = shown.char_indices().rev().nth(3).map_or(0, |(index, _)| index);
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                format!(
                    "Authentication Fails, Your api key: ****{} is invalid",
                    &shown[last..]
                ),
            )
        }
        None => ApiError::plain(StatusCode::UNAUTHORIZED, None, "Authentication Fails (governor)"),
    })
}

/// What a request shows as its key.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return headers.get("x-api-key")?.to_str().ok();
    };
    // What is no text is no key.
    let authorization = authorization.to_str().unwrap_or_default();
    let (scheme, key) = authorization.split_once(' ').unwrap_or(("", authorization));
    Some(if scheme.eq_ignore_ascii_case("bearer") {
        key.trim()
    } else {
        authorization
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn bearer_comes_before_the_other_header() {
        let show = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|&(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            shown(&pairs.collect()).map(str::to_owned)
        };
        assert_eq!(show(&[]), None);
        assert_eq!(show(&[("x-api-key", "a")]).as_deref(), Some("a"));
        assert_eq!(show(&[("authorization", "Bearer b")]).as_deref(), Some("b"));
        assert_eq!(show(&[("authorization", "bearer  b ")]).as_deref(), Some("b"));
        assert_eq!(
            show(&[("x-api-key", "a"), ("authorization", "Bearer b")]).as_deref(),
            Some("b")
        );
        // Without the word it is a bad key, not a missing one.
        assert_eq!(show(&[("authorization", "sk-1")]).as_deref(), Some("sk-1"));
        assert_eq!(
            show(&[("authorization", "Basic sk-1")]).as_deref(),
            Some("Basic sk-1")
        );
        assert_eq!(show(&[("authorization", "Bearer ")]).as_deref(), Some(""));
    }
}
