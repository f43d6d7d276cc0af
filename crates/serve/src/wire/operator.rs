//! `GET /user/balance` and `GET /metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::access::{Admin, Caller};
use crate::app::App;
use crate::error::ApiError;

/// What the caller's key has left. Who needs none has all he wants.
pub(crate) async fn balance(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let (Some(key), Some(accounts)) = (&caller.key, &app.accounts) else {
        return Ok(Json(json!({"is_available": true, "balance_infos": []})));
    };
    let (accounts, id) = (Arc::clone(accounts), key.id);
    let balance = tokio::task::spawn_blocking(move || accounts.balance(id)).await;
    let balance = match balance {
        Ok(Ok(balance)) => balance,
        failed => {
            tracing::error!(target: "fathom::accounts", ?failed, "a balance cannot be read");
            return Err(ApiError::unavailable(
                "Balances cannot be read at the moment; try again later",
            ));
        }
    };
    Ok(Json(json!({
        "is_available": balance.is_available(),
        "balance_infos": [{
            "currency": balance.currency.code(),
            "total_balance": balance.total().to_string(),
            "granted_balance": balance.granted.to_string(),
            "topped_up_balance": balance.topped_up.to_string(),
        }],
    })))
}

/// Figures for Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>, _: Admin) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.metrics.text()).into_response()
}
