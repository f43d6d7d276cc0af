//! `POST …/messages/count_tokens`: how long a prompt is, before it is sent.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::request;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;
use crate::wire;
use crate::wire::body::Body;

/// Counts exactly: the prompt is rendered and encoded as if it were to be answered. It may be longer than the context.
pub(crate) async fn count_tokens(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let count = move |app: &App, caller: &Caller| {
        let (mut draft, _) = request::draft(&body, app)?;
        let prompt = draft.prompt(app, caller)?;
        Ok(prompt.ids().len())
    };
    let tokens = wire::prepare(&app, &caller, count).await?;
    Ok(Json(json!({"input_tokens": tokens})))
}
