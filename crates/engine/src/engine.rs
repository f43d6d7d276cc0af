//! A loaded model and what is needed to talk to it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use fathom_cache::disk::DiskOptions;
use fathom_cache::{Cache, CacheOptions, Policy};
use fathom_checkpoint::{Checkpoint, CheckpointError, Config};
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics};
use fathom_prompt::{Opening, Renderer, Tokenizer, TokenizerError};

use crate::core::Core;
use crate::grammar::{Constraint, Grammar, GrammarError, Vocabulary};
use crate::memory::{self, NotEnoughMemory};
use crate::scheduler::Driver;
use crate::{SchedulerStats, Scheduling, Session, StepRules};

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
    /// What is kept of what sessions compute.
    pub cache: CacheSettings,
    /// How sessions share the machine.
    pub scheduling: Scheduling,
    /// No thread of its own: the engine moves only when [`Engine::step`] is called, and writes to disk only in
    /// [`Engine::pump_cache`]. For simulations. Calls that wait would wait for ever.
    pub by_hand: bool,
}

/// What is kept of what sessions compute, so that it is not computed again.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Bytes of RAM for the states of running sessions and for what is kept of others; `None` for half of what is
    /// available once the weights are in memory.
    pub ram_bytes: Option<u64>,
    /// Where to keep more of it, over restarts too.
    pub disk: Option<DiskOptions>,
    /// Where whole states are kept; between them, tokens are computed again. Results do not depend on it.
    pub policy: Policy,
}

/// Tokens between two kept states within a long text.
pub const SNAPSHOT_INTERVAL: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ram_bytes: None,
            disk: None,
            policy: Policy::Periodic(SNAPSHOT_INTERVAL),
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            numerics: Numerics::Reference,
            threads: None,
            chunk_tokens: 512,
            ignore_memory: false,
            cache: CacheSettings::default(),
            scheduling: Scheduling::default(),
            by_hand: false,
        }
    }
}

/// A loaded model with its tokenizer and prompt encoding: immutable, shared, [`Send`] and [`Sync`].
pub struct Engine {
    core: Arc<Core>,
    driver: Driver,
    threads: usize,
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
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] fathom_cache::OpenError),
    /// No thread for the engine.
    #[error("cannot start the engine's threads: {0}")]
    Threads(#[source] io::Error),
}

impl Engine {
    /// Loads the model of `checkpoint`.
    ///
    /// The cheap checks come first: memory, then the tokenizer, then the weights.
    pub fn load(checkpoint: Checkpoint, options: &EngineOptions) -> Result<Arc<Self>, LoadError> {
        for (option, found) in [
            ("chunk_tokens", options.chunk_tokens),
            ("threads", options.threads.unwrap_or(1)),
            ("running_max", options.scheduling.running_max),
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
        let ram_bytes = match options.cache.ram_bytes {
            _ if options.ignore_memory => u64::MAX / 2,
            Some(bytes) => bytes,
            None => memory::for_states(&checkpoint),
        };
        let model = Model::load(checkpoint, options.numerics)?;
        let identity = model.identity();
        let cache = Cache::open(&CacheOptions {
            identity,
            page_tokens: model.page_tokens(),
            page_bytes: model.page_bytes(),
            replay_tokens: model.replay_tokens(),
            policy: options.cache.policy,
            ram_bytes: options.cache.ram_bytes.unwrap_or(ram_bytes),
            disk: options.cache.disk.clone(),
            background: !options.by_hand,
        })?;
        let core = Arc::new(Core {
            model,
            identity,
            renderer,
            vocabulary: OnceLock::new(),
            cache,
            policy: options.cache.policy,
            chunk_tokens: options.chunk_tokens,
            ram_bytes,
        });
        let team = options.threads.map_or_else(Team::with_all_cores, Team::new);
        let threads = team.threads();
        let rules = options.scheduling.clone();
        let driver = if options.by_hand {
            Driver::stepped(Arc::clone(&core), team, rules)
        } else {
            Driver::start(Arc::clone(&core), team, rules).map_err(LoadError::Threads)?
        };
        Ok(Arc::new(Self {
            core,
            driver,
            threads,
        }))
    }

    /// A new, empty timeline. It shares the cache with all others that have no isolation id.
    pub fn session(self: &Arc<Self>) -> Session {
        self.session_of("")
    }

    /// A new, empty timeline of a user: it finds in the cache what sessions with the same isolation id have computed, and
    /// takes turns with other users.
    pub fn session_of(self: &Arc<Self>, isolation: &str) -> Session {
        Session::new(Arc::clone(self), isolation.into())
    }

    /// What the cache holds and has done.
    pub fn cache(&self) -> &Cache {
        &self.core.cache
    }

    /// What the scheduler does and has done.
    pub fn stats(&self) -> SchedulerStats {
        self.driver.stats()
    }

    /// Writes what is queued for the disk, in an engine that is driven by hand.
    pub fn pump_cache(&self) {
        self.core.cache.pump();
    }

    /// Does one piece of work in an engine that is driven by hand; `false` if there was none, or if a thread drives it.
    pub fn step(&self, rules: StepRules) -> bool {
        self.driver.step(rules).unwrap_or(false)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.core.model
    }

    /// What determines the bits of a state: two engines share it only if their states can be exchanged.
    pub fn identity(&self) -> &[u8; 32] {
        &self.core.identity
    }

    /// The checkpoint the model was loaded from.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.core.model.checkpoint()
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        self.core.model.checkpoint().config()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.core.tokenizer()
    }

    /// The prompt encoding.
    pub fn renderer(&self) -> &Renderer {
        &self.core.renderer
    }

    /// Makes a grammar of a constraint, for answers to prompts that end with `opening`.
    ///
    /// Takes milliseconds, with many tools or a large schema tens of them, and bounded time and memory whatever it is given;
    /// the first call prepares the tokenizer as well. Nothing in the engine waits for it.
    pub fn compile(&self, constraint: &Constraint, opening: Opening) -> Result<Grammar, GrammarError> {
        let vocabulary = self
            .core
            .vocabulary
            .get_or_init(|| Vocabulary::new(self.tokenizer()));
        vocabulary
            .as_ref()
            .map_err(Clone::clone)?
            .compile(constraint, opening)
    }

    /// Which arithmetic the model uses.
    pub fn numerics(&self) -> Numerics {
        self.core.model.numerics()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Most tokens one forward pass takes.
    pub fn chunk_tokens(&self) -> usize {
        self.core.chunk_tokens
    }

    /// Longest timeline that fits into the context and, alone, into the memory for states, in tokens.
    pub fn timeline_max(&self) -> usize {
        self.core.tokens_max()
    }

    /// Longest timeline the model was made for, in tokens.
    pub fn context_max(&self) -> usize {
        self.core.context_max()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Has the engine's thread look for what has changed.
    pub(crate) fn wake(&self) {
        self.driver.bell().ring();
    }
}
