//! A loaded model and what is needed to talk to it.

use std::sync::Arc;

use fathom_checkpoint::{Checkpoint, CheckpointError, Config};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics};
use fathom_prompt::{Renderer, Tokenizer, TokenizerError};

use crate::Session;
use crate::executor::Executor;
use crate::memory::{self, NotEnoughMemory};

/// How to load a model.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Which arithmetic the model uses.
    pub numerics: Numerics,
    /// Threads that compute; `None` for one per core this process may use.
    pub threads: Option<usize>,
    /// Most tokens that one forward pass takes. Prefill reports progress, can be cancelled and lets other sessions run
    /// between passes; results do not depend on it.
    pub chunk_tokens: usize,
    /// Load even if the weights do not fit into free memory. The system then reads them from disk again and again.
    pub ignore_memory: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            numerics: Numerics::Reference,
            threads: None,
            chunk_tokens: 512,
            ignore_memory: false,
        }
    }
}

/// A loaded model with its tokenizer and prompt encoding: immutable, shared, [`Send`] and [`Sync`].
pub struct Engine {
    /// Boxed: workspaces recognise their model by its address.
    model: Model,
    renderer: Renderer,
    executor: Executor,
    threads: usize,
    chunk_tokens: usize,
    ignore_memory: bool,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An option is out of range.
    #[error("{option} is {found}; expected at least 1")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: usize,
    },
    /// The weights do not fit.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// A file of the checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer was refused.
    #[error("tokenizer.json: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The model was refused.
    #[error(transparent)]
    Model(#[from] fathom_model::LoadError),
}

impl Engine {
    /// Loads the model of `checkpoint`.
    ///
    /// The cheap checks come first: memory, then the tokenizer, then the weights.
    pub fn load(checkpoint: Checkpoint, options: &EngineOptions) -> Result<Arc<Self>, LoadError> {
        for (option, found) in [
            ("chunk_tokens", options.chunk_tokens),
            ("threads", options.threads.unwrap_or(1)),
        ] {
            if found == 0 {
                return Err(LoadError::Option { option, found });
            }
        }
        if !options.ignore_memory {
            memory::check_weights(&checkpoint)?;
        }
        let vocab_size = checkpoint.config().vocab_size;
        let tokenizer = Tokenizer::from_json(&checkpoint.tokenizer_json()?, vocab_size)?;
        let renderer = Renderer::for_profile(checkpoint.profile(), tokenizer);
        let model = Model::load(checkpoint, options.numerics)?;
        let team = options.threads.map_or_else(Team::with_all_cores, Team::new);
        let threads = team.threads();
        let executor = Executor::new(&model, team, options.chunk_tokens);
        let (chunk_tokens, ignore_memory) = (options.chunk_tokens, options.ignore_memory);
        Ok(Arc::new(Self {
            model,
            renderer,
            executor,
            threads,
            chunk_tokens,
            ignore_memory,
        }))
    }

    /// A new, empty timeline.
    pub fn session(self: &Arc<Self>) -> Session {
        Session::new(Arc::clone(self))
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The checkpoint the model was loaded from.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.model.checkpoint()
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        self.model.checkpoint().config()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.renderer.tokenizer()
    }

    /// The prompt encoding.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Which arithmetic the model uses.
    pub fn numerics(&self) -> Numerics {
        self.model.numerics()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Most tokens one forward pass takes.
    pub fn chunk_tokens(&self) -> usize {
        self.chunk_tokens
    }

    /// Longest timeline the model was made for, in tokens.
    pub fn context_max(&self) -> usize {
        self.config().max_position_embeddings
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.executor
    }

    pub(crate) fn ignores_memory(&self) -> bool {
        self.ignore_memory
    }
}
