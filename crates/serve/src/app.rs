//! What every request needs.

use std::sync::Arc;

use fathom_engine::Engine;
use fathom_engine::sampling::Params;

use crate::worker::Completed;

/// How to serve a model.
#[derive(Clone)]
pub struct Options {
    /// The name clients call the model by.
    pub model: String,
    /// Other names they may use.
    pub aliases: Vec<String>,
    /// Sampling where a request does not say.
    pub sampling: Params,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// Told about every finished answer.
    pub on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl Options {
    /// Options for serving one model under `model` on one's own machine.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            aliases: Vec::new(),
            sampling: Params::default(),
            body_bytes_max: 32 << 20,
            on_completed: Arc::new(|_| ()),
        }
    }
}

/// State shared by all handlers.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) options: Options,
}

impl App {
    /// Every name the model answers to.
    pub(crate) fn model_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.options.model)
            .chain(&self.options.aliases)
            .map(String::as_str)
    }

    /// Identifies what computes: version and arithmetic.
    pub(crate) fn fingerprint(&self) -> String {
        format!("fathom_{}_{}", env!("CARGO_PKG_VERSION"), self.engine.numerics())
    }
}
