//! Who sends a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use uuid::Uuid;

/// Who sends a request, and which request it is.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Names the request in logs, in the ledger and in the reply's headers.
    pub(crate) request: Uuid,
}

impl Caller {
    #[expect(clippy::unused_self, reason = "keys come next")]
    /// Whose cached prefixes the request may use, and whose turn it takes: `user` of this caller.
    pub(crate) fn isolation(&self, user: &str) -> String {
        user.to_owned()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            request: Uuid::new_v4(),
        })
    }
}
