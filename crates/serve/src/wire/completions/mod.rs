//! `POST /completions`, with and without `/v1` or `/beta`: text behind text, or between two.

mod answers;
mod reply;
mod request;
mod schema;

pub(crate) use schema::CompletionRequest;
mod written;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::body::Body;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;

/// Answers one request.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    let plan = super::prepare(&app, &caller, move |app, _| request::read(&body, app)).await?;
    reply::respond(app, &caller, plan).await
}
