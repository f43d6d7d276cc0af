//! The chat page at `/` and the operator's at `/admin`: static files in the binary, and what they ask of the server.
//!
//! Their sources are in `web/`, from which `web/check` makes `assets/` and fails if anything differs. The pages ask nothing
//! of other hosts and run nothing but these files: the policy they come with forbids the rest.

mod files;
mod info;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::app::App;

/// The pages' paths.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(files::chat))
        .route("/admin", get(files::admin))
        .route("/assets/{name}", get(files::asset))
        .route("/page/info", get(info::info))
}
