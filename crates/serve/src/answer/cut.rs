//! Answers that are broken off on this side of the engine.

use super::Outcome;
use crate::app::App;
use crate::error::ApiError;
use crate::observe::Refused;

/// Why an answer is broken off.
pub(super) enum Cut {
    /// Nobody reads any more.
    Gone,
    /// The server ends.
    Shutdown,
    /// It has waited for as long as it may.
    Expired,
    /// It was refused after it had waited.
    Refused(ApiError),
}

impl Cut {
    /// Its name for logs and the ledger.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Gone => Outcome::Cancelled,
            Self::Shutdown => Outcome::Shutdown,
            Self::Expired => Outcome::Expired,
            Self::Refused(_) => Outcome::Refused,
        }
    }

    /// What the client is told, if it is still there.
    pub(super) fn error(self, app: &App) -> ApiError {
        match self {
            Self::Gone => ApiError::internal("the client has gone"),
            Self::Shutdown => ApiError::unavailable(
                "The server has ended before the answer was complete; send the request again",
            ),
            Self::Expired => {
                app.metrics.refused(Refused::Waited);
                ApiError::unavailable(format!(
                    "The request has waited for {} s without being begun; try again when there is less to do",
                    app.admission.wait_max.as_secs()
                ))
            }
            Self::Refused(error) => error,
        }
    }
}
