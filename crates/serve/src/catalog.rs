//! The models on offer, by all their names.

use std::collections::HashMap;
use std::sync::Arc;

use fathom_engine::Engine;
use fathom_engine::sampling::Params;

use crate::error::ApiError;

/// Which of the hosted API's two models one stands for: prices, `claude-*` names and the page's picker go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// V4-Pro, "Expert".
    Pro,
    /// V4-Flash, "Quick".
    Flash,
}

impl Tier {
    /// Its name in prices and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pro => "pro",
            Self::Flash => "flash",
        }
    }
}

/// Another name for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// Whether requests under this name think if they do not say; `None` as usual. `deepseek-chat` does not.
    pub thinking: Option<bool>,
}

impl Alias {
    /// A name that means nothing else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            thinking: None,
        }
    }
}

/// A model and how it is served.
pub struct ServedModel {
    /// The engine that runs it.
    pub engine: Arc<Engine>,
    /// The name that lists and replies show.
    pub name: String,
    /// Other names that requests may use.
    pub aliases: Vec<Alias>,
    /// What it stands for.
    pub tier: Tier,
    /// The tier of the prices by which its use is counted; usually its own.
    pub price: String,
    /// Sampling where a request does not say.
    pub sampling: Params,
}

impl ServedModel {
    /// A model under its name alone, with the usual sampling.
    pub fn new(engine: Arc<Engine>, name: impl Into<String>) -> Self {
        Self {
            engine,
            name: name.into(),
            aliases: Vec::new(),
            tier: Tier::Flash,
            price: Tier::Flash.name().to_owned(),
            sampling: Params::default(),
        }
    }

    /// Identifies what computes: version and arithmetic.
    pub(crate) fn fingerprint(&self) -> String {
        format!("fathom_{}_{}", env!("CARGO_PKG_VERSION"), self.engine.numerics())
    }
}

/// A model as a request names it.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) model: Arc<ServedModel>,
    /// Whether it thinks if the request does not say.
    pub(crate) thinks: bool,
}

/// All models that are served.
pub(crate) struct Catalog {
    models: Vec<Arc<ServedModel>>,
    by_name: HashMap<String, Named>,
}

impl Catalog {
    /// The first of two equal names counts; there is at least one model.
    pub(crate) fn new(models: Vec<ServedModel>) -> Self {
        let models: Vec<_> = models.into_iter().map(Arc::new).collect();
        let mut by_name = HashMap::new();
        // Their own names before all aliases.
        for model in &models {
            let named = Named {
                model: Arc::clone(model),
                thinks: true,
            };
            by_name.entry(model.name.clone()).or_insert(named);
        }
        for model in &models {
            for alias in &model.aliases {
                by_name.entry(alias.name.clone()).or_insert_with(|| Named {
                    model: Arc::clone(model),
                    thinks: alias.thinking.unwrap_or(true),
                });
            }
        }
        Self { models, by_name }
    }

    /// The models, in the operator's order.
    pub(crate) fn models(&self) -> &[Arc<ServedModel>] {
        &self.models
    }

    /// The model of a name.
    pub(crate) fn find(&self, name: &str) -> Result<Named, ApiError> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
            ApiError::invalid(format!(
                "The supported API model names are {}, but you passed {name}.",
                names.join(" or ")
            ))
        })
    }

    /// The model that stands for a tier; the only one if there is one.
    pub(crate) fn of_tier(&self, tier: Tier) -> Option<Named> {
        let model = self
            .models
            .iter()
            .find(|model| model.tier == tier)
            .or_else(|| self.models.first())?;
        Some(Named {
            model: Arc::clone(model),
            thinks: true,
        })
    }
}
