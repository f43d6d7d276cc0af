//! What the operator's page asks for, every few seconds:
//!
//! * `GET /admin/api/live?since=MS`: figures of now, and samples of the last ten minutes after `since`
//! * `GET /admin/api/usage?by=key|model|day|…&from=DAY&to=DAY&offset=MINUTES`: sums over the ledger
//! * `GET /admin/api/keys`: the keys, their limits and what of them is used
//!
//! Who asks needs a key with admin right, where keys are needed at all.

mod history;
mod keys;
mod live;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;

pub(crate) use history::{History, watch};

use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;

/// The operator's paths.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/api/live", get(live::live))
        .route("/admin/api/usage", get(usage::usage))
        .route("/admin/api/keys", get(keys::keys))
}

/// A caller who may see other people's usage. Figures that are open to everybody do not open this.
pub(crate) struct Operator;

impl<S: Sync> FromRequestParts<S> for Operator
where
    Arc<App>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let app = Arc::<App>::from_ref(state);
        if !app.require_key || caller.key.is_some_and(|key| key.admin) {
            return Ok(Self);
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "permission_error",
            "This key is not an operator's; `fathom keys create --admin` makes one that is",
        ))
    }
}
