//! Which model a command runs: the options that name it, and loading.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use fathom_checkpoint::{Checkpoint, EmbeddedParts, KvPacking, OpenOptions, ProfileName};
use fathom_engine::sampling::Params;
use fathom_engine::{Engine, EngineOptions};
use fathom_model::Numerics;

use crate::generation_config::GenerationConfig;

/// The small model that is part of the program, so that it works with nothing downloaded.
macro_rules! default_model {
    ($file:literal) => {
        include_bytes!(concat!("../default-model/", $file))
    };
}

const DEFAULT_MODEL: EmbeddedParts = EmbeddedParts {
    config: default_model!("config.json"),
    tokenizer: default_model!("tokenizer.json"),
    tokenizer_config: default_model!("tokenizer_config.json"),
    weights: default_model!("model.safetensors"),
};
const DEFAULT_GENERATION_CONFIG: &[u8] = default_model!("generation_config.json");

/// Tokens that one forward pass takes unless `--chunk` says otherwise.
pub(crate) const DEFAULT_CHUNK: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Options of every command that runs a model.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ModelOptions {
    /// Directory of a DeepSeek-V4 checkpoint; without it, the small built-in model runs
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) running: RunOptions,

    /// Run even if the model or the context does not fit into free memory
    #[arg(long, help_heading = "Model")]
    pub(crate) ignore_memory: bool,
}

/// How a model is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    /// Arithmetic: exact (float32), reference (the published low-precision path) or fast (integer products); by default what the model was
    /// trained with
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) numerics: Option<Numerics>,

    /// Threads that compute; one per core by default
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Tokens per forward pass while reading a prompt; changes speed and memory, never results
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHUNK, help_heading = "Model")]
    pub(crate) chunk: NonZeroUsize,

    /// Which release the checkpoint is, where its files leave that open
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) profile: Option<ProfileName>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            numerics: None,
            threads: None,
            chunk: DEFAULT_CHUNK,
            profile: None,
        }
    }
}

/// A loaded model and how it is meant to be sampled.
pub(crate) struct LoadedModel {
    pub(crate) engine: Arc<Engine>,
    /// Name for people and for the server's model list.
    pub(crate) name: String,
    /// Sampling that the checkpoint recommends.
    pub(crate) sampling: Params,
}

/// A checkpoint and what the options say about running it.
pub(crate) struct OpenedModel {
    pub(crate) checkpoint: Checkpoint,
    /// Name for people and for the server's model list.
    pub(crate) name: String,
    pub(crate) numerics: Numerics,
    generation_config: GenerationConfig,
}

impl ModelOptions {
    /// Loads the model, for one conversation at a time.
    pub(crate) fn load(&self) -> anyhow::Result<LoadedModel> {
        let options = EngineOptions {
            ignore_memory: self.ignore_memory,
            ..self.running.engine()
        };
        self.open()?.load(options)
    }

    /// Opens the checkpoint without loading anything.
    pub(crate) fn open(&self) -> anyhow::Result<OpenedModel> {
        self.running.open(self.model.as_deref())
    }
}

impl RunOptions {
    /// What the engine is told.
    pub(crate) fn engine(&self) -> EngineOptions {
        EngineOptions {
            threads: self.threads.map(usize::from),
            chunk_tokens: self.chunk.into(),
            ..EngineOptions::default()
        }
    }

    /// Opens the checkpoint in `dir`, or the built-in model, without loading anything.
    pub(crate) fn open(&self, dir: Option<&Path>) -> anyhow::Result<OpenedModel> {
        let (checkpoint, generation_config) = match dir {
            Some(dir) => self.open_directory(dir)?,
            None => self.open_built_in()?,
        };
        let numerics = self.numerics.unwrap_or(match checkpoint.profile().kv_packing {
            KvPacking::Fp8 => Numerics::Reference,
            KvPacking::Bf16 => Numerics::Exact,
        });
        Ok(OpenedModel {
            name: name(&checkpoint),
            checkpoint,
            numerics,
            generation_config,
        })
    }

    fn open_directory(&self, dir: &Path) -> anyhow::Result<(Checkpoint, GenerationConfig)> {
        let options = OpenOptions {
            profile: self.profile,
        };
        let checkpoint = Checkpoint::open_with(dir, options)
            .with_context(|| format!("cannot open the checkpoint in {}", dir.display()))?;
        Ok((checkpoint, GenerationConfig::read(dir)?))
    }

    fn open_built_in(&self) -> anyhow::Result<(Checkpoint, GenerationConfig)> {
        anyhow::ensure!(
            self.profile.is_none(),
            "--profile says what a checkpoint directory holds; give the directory with --model DIR"
        );
        let checkpoint =
            Checkpoint::from_embedded(DEFAULT_MODEL).context("cannot open the built-in model")?;
        Ok((checkpoint, GenerationConfig::parse(DEFAULT_GENERATION_CONFIG)?))
    }
}

impl OpenedModel {
    /// Sampling that the checkpoint recommends.
    pub(crate) fn sampling(&self) -> anyhow::Result<Params> {
        self.generation_config.sampling()
    }

    /// Loads the model. Its numerics are those it was opened with.
    pub(crate) fn load(self, options: EngineOptions) -> anyhow::Result<LoadedModel> {
        let Self {
            checkpoint,
            name,
            numerics,
            generation_config,
        } = self;
        let options = EngineOptions { numerics, ..options };
        let engine = Engine::load(checkpoint, &options).with_context(|| format!("cannot load {name}"))?;
        Ok(LoadedModel {
            engine,
            name,
            sampling: generation_config.sampling()?,
        })
    }
}

/// Our own name for our own models, the directory's name for others.
fn name(checkpoint: &Checkpoint) -> String {
    if let Some(name) = checkpoint.config().own_name() {
        return name.to_owned();
    }
    let directory = checkpoint.directory().and_then(|dir| dir.canonicalize().ok());
    let name = directory
        .as_deref()
        .and_then(|dir| dir.file_name())
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| checkpoint.profile().name.to_string())
}
