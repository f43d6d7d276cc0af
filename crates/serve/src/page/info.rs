//! `GET /page/info`: what the chat page needs to know before it can ask anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fathom_prompt::Thinking;
use serde::Serialize;

use crate::access::Caller;
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;

/// The models as the page shows them.
#[derive(Serialize)]
pub(crate) struct Info {
    version: &'static str,
    /// Whether requests need a key. Without one the list of models is empty.
    key_needed: bool,
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    id: String,
    name: String,
    tier: &'static str,
    /// Tokens of prompt and answer together.
    context: usize,
    thinking: Vec<&'static str>,
    price: Option<Price>,
    sampling: Sampling,
}

/// Per million tokens.
#[derive(Serialize)]
struct Price {
    currency: String,
    hit: f64,
    miss: f64,
    output: f64,
}

/// What holds where a request does not say.
#[derive(Serialize)]
struct Sampling {
    temperature: f32,
    top_p: f32,
}

pub(crate) async fn info(
    State(app): State<Arc<App>>,
    caller: Result<Caller, ApiError>,
) -> Result<Json<Info>, ApiError> {
    let models = match caller {
        Ok(caller) => app
            .catalog
            .models()
            .iter()
            .map(|model| describe(model, &app, &caller))
            .collect(),
        // The page asks for a key; that is no error.
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        key_needed: app.require_key,
        models,
    }))
}

fn describe(model: &ServedModel, app: &App, caller: &Caller) -> Model {
    Model {
        id: model.name.clone(),
        name: model.name.clone(),
        tier: model.tier.name(),
        context: model.engine.context_max(),
        thinking: model
            .engine
            .renderer()
            .modes()
            .iter()
            .copied()
            .map(mode)
            .collect(),
        price: price(model, app, caller),
        sampling: Sampling {
            temperature: model.sampling.temperature,
            top_p: model.sampling.top_p,
        },
    }
}

/// What the caller is charged now; `None` if nothing.
fn price(model: &ServedModel, app: &App, caller: &Caller) -> Option<Price> {
    // Who needs no key is not charged.
    let (accounts, key) = (app.accounts.as_ref()?, caller.key.as_ref()?);
    let price = accounts.prices().price(&model.price, caller.at, key.currency)?;
    let (hit, miss, output) = (
        price.per_token.hit_picos,
        price.per_token.miss_picos,
        price.per_token.output_picos,
    );
    // 10⁻¹² a token are 10⁻⁶ a million.
    let per_million = |picos: u64| picos as f64 / 1e6;
    let free = hit == 0 && miss == 0 && output == 0;
    (!free).then(|| Price {
        currency: price.currency.code().to_owned(),
        hit: per_million(hit),
        miss: per_million(miss),
        output: per_million(output),
    })
}

fn mode(mode: Thinking) -> &'static str {
    match mode {
        Thinking::Off => "off",
        Thinking::Low => "low",
        Thinking::High => "high",
        Thinking::Max => "max",
    }
}
