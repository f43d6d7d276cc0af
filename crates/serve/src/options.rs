//! How to serve.

use std::sync::Arc;

use crate::answer::Completed;
use crate::catalog::ServedModel;

/// How to serve models.
pub struct Options {
    /// The models, at least one. Two must not share a name.
    pub models: Vec<ServedModel>,
    /// Refuse what the hosted API refuses even where that hurts clients.
    pub strict: bool,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// Told about every finished answer.
    pub on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl Options {
    /// Options for serving `models` on one's own machine.
    pub fn new(models: Vec<ServedModel>) -> Self {
        Self {
            models,
            strict: false,
            body_bytes_max: 32 << 20,
            on_completed: Arc::new(|_| ()),
        }
    }
}
