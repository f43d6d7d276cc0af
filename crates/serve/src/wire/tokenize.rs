//! `POST /tokenize` and `POST /detokenize`: text and conversations to tokens, and back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body::Body;
use super::chat;
use crate::access::Caller;
use crate::app::App;
use crate::error::ApiError;

/// Body of `POST /tokenize`: a text, or the fields of a chat request.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenizeRequest {
    /// Name or alias of a model.
    model: String,
    /// The text, without a begin-of-sentence token; what it spells is never a control token.
    text: Option<String>,
    /// The messages of a chat request, whose other fields may stand beside them: the tokens are those of its prompt.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<serde::de::IgnoredAny>,
    /// Show the ids too; they are shown if it does not say.
    ids: Option<bool>,
}

/// Body of `POST /detokenize`.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DetokenizeRequest {
    /// Name or alias of a model.
    model: String,
    /// The tokens.
    ids: Vec<u32>,
}

/// How many tokens a text or a conversation has, and which.
pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    super::prepare(&app, &caller, move |app, caller| {
        let request: TokenizeRequest = body.parse()?;
        let ids = match (&request.text, &request.messages) {
            (Some(text), None) => {
                let named = app.catalog.find(&request.model)?;
                let encoded = named.model.engine.tokenizer().encode_plain(text);
                encoded.map_err(|error| ApiError::internal(error.to_string()))?
            }
            (None, Some(_)) => chat::draft(&body, app)?.prompt(app, caller)?.ids().to_vec(),
            _ => {
                return Err(ApiError::invalid(
                    "Expected either 'text' or 'messages'; send the one whose tokens you want.",
                ));
            }
        };
        let mut reply = json!({"tokens": ids.len()});
        if request.ids.unwrap_or(true) {
            reply["ids"] = ids.into();
        }
        Ok(Json(reply))
    })
    .await
}

/// The text of tokens, control tokens by their spelling.
pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    super::prepare(&app, &caller, move |app, _| {
        let request: DetokenizeRequest = body.parse()?;
        let named = app.catalog.find(&request.model)?;
        let tokenizer = named.model.engine.tokenizer();
        known(&request.ids, tokenizer.vocab_size(), "ids")?;
        Ok(Json(json!({"text": tokenizer.decode(&request.ids)})))
    })
    .await
}

/// Refuses ids beyond the vocabulary.
pub(super) fn known(ids: &[u32], vocab_size: usize, field: &str) -> Result<(), ApiError> {
    match ids.iter().position(|&id| id as usize >= vocab_size) {
        None => Ok(()),
        Some(index) => Err(ApiError::invalid(format!(
            "Invalid '{field}[{index}]': this model has tokens 0 to {}, but got {}.",
            vocab_size - 1,
            ids[index]
        ))),
    }
}
