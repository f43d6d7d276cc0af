//! `GET /admin/api/keys`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fathom_accounts::{Accounts, AccountsError, Key, Limits};
use serde::Serialize;

use super::Operator;
use crate::app::App;
use crate::error::ApiError;

/// All keys.
#[derive(Serialize)]
pub(crate) struct Keys {
    /// Whether this server has accounts at all.
    accounts: bool,
    keys: Vec<OneKey>,
}

#[derive(Serialize)]
struct OneKey {
    name: String,
    last_four: String,
    admin: bool,
    /// When it was.
    revoked: Option<String>,
    limits: Limits,
    /// In progress on this server.
    running: u32,
    tokens_last_minute: u64,
    tokens_last_day: u64,
    /// Absent unless the key must have one.
    balance: Option<Balance>,
}

#[derive(Serialize)]
struct Balance {
    currency: String,
    /// Decimal.
    amount: String,
}

pub(crate) async fn keys(State(app): State<Arc<App>>, _: Operator) -> Result<Json<Keys>, ApiError> {
    let Some(accounts) = app.accounts.clone() else {
        return Ok(Json(Keys {
            accounts: false,
            keys: Vec::new(),
        }));
    };
    // It reads the file.
    let keys = tokio::task::spawn_blocking(move || {
        let keys = accounts.keys()?;
        keys.into_iter().map(|key| describe(&accounts, key)).collect()
    });
    let keys: Result<Vec<OneKey>, AccountsError> = keys
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(Json(Keys {
        accounts: true,
        keys: keys.map_err(|error| ApiError::internal(error.to_string()))?,
    }))
}

fn describe(accounts: &Accounts, key: Key) -> Result<OneKey, AccountsError> {
    let in_use = accounts.limiter().in_use(key.id);
    let balance = if key.prepaid {
        let balance = accounts.balance(key.id)?;
        Some(Balance {
            currency: balance.currency.code().to_owned(),
            amount: balance.total().to_string(),
        })
    } else {
        None
    };
    Ok(OneKey {
        name: key.name,
        last_four: key.last_four,
        admin: key.admin,
        revoked: key.revoked.map(|at| at.to_string()),
        limits: key.limits,
        running: in_use.running,
        tokens_last_minute: in_use.tokens_last_minute,
        tokens_last_day: in_use.tokens_last_day,
        balance,
    })
}
