//! Who is here, and whether anybody may still come.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::ApiError;

/// Counts the requests that generate, so that the server can end without losing any.
#[derive(Clone, Default)]
pub(crate) struct Presence {
    here: TaskTracker,
    cancelled: CancellationToken,
}

impl Presence {
    /// One more request, for as long as the token lives; refused once the server is about to end.
    pub(crate) fn enter(&self) -> Result<TaskTrackerToken, ApiError> {
        // The token first: who is refused leaves at once, and nobody slips in between.
        let token = self.here.token();
        if self.is_draining() {
            return Err(ApiError::unavailable(
                "The server is about to end and takes no more requests; send this one again",
            ));
        }
        Ok(token)
    }

    /// Requests that are here.
    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// Whether the server is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.here.is_closed()
    }

    /// Lets nobody in any more.
    pub(crate) fn drain(&self) {
        self.here.close();
    }

    /// Over when the server is about to end and nobody is left.
    pub(crate) async fn emptied(&self) {
        self.here.wait().await;
    }

    /// Ends what is in progress.
    pub(crate) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Over when what is in progress must end.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }
}
