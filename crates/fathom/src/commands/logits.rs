//! `fathom logits`: the model's output at every position, for comparison with other implementations.
//!
//! Raw little-endian files on both sides: `i32` token ids in, `f32` logits `[ids, vocab_size]` out, row after row. This
//! interface is stable; outside checks rely on it. No tokenizer is needed.

use std::io::{BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use fathom_checkpoint::{Checkpoint, Config, OpenOptions, ProfileName};
use fathom_engine::memory;
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics, Want};
use tempfile::NamedTempFile;

use crate::model_source::DEFAULT_CHUNK;
use crate::output;

/// Arguments of `fathom logits`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of a DeepSeek-V4 checkpoint
    dir: PathBuf,

    /// Token ids: raw little-endian int32
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,

    /// Where the logits go: raw little-endian float32, one row of vocab_size per id
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Arithmetic: exact (float32), reference (the published low-precision path) or fast (integer products)
    #[arg(long, value_name = "NAME", default_value_t = Numerics::Exact)]
    numerics: Numerics,

    /// Tokens per forward pass; changes speed and memory, never results
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHUNK)]
    chunk: NonZeroUsize,

    /// Threads that compute; one per core by default
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Which release the checkpoint is, where its files leave that open
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,

    /// Run even if the model does not fit into free memory
    #[arg(long)]
    ignore_memory: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let checkpoint = Checkpoint::open_with(
        &args.dir,
        OpenOptions {
            profile: args.profile,
        },
    )
    .with_context(|| format!("cannot open the checkpoint in {}", args.dir.display()))?;
    let ids = read_ids(&args.ids, checkpoint.config())?;
    let out = output::create_beside(&args.out)?;
    if !args.ignore_memory {
        memory::check_weights(&checkpoint)?;
    }
    let model = Model::load(checkpoint, args.numerics)
        .with_context(|| format!("cannot load the model in {}", args.dir.display()))?;
    let mut team = args
        .threads
        .map_or_else(Team::with_all_cores, |threads| Team::new(threads.into()));
    write_logits(&model, &mut team, &ids, args.chunk.get().min(ids.len()), &out)
        .with_context(|| format!("cannot write the logits for {}", args.out.display()))?;
    out.persist(&args.out)
        .with_context(|| format!("cannot put the result in place as {}", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write_logits(
    model: &Model,
    team: &mut Team,
    ids: &[u32],
    chunk: usize,
    out: &NamedTempFile,
) -> anyhow::Result<()> {
    let mut workspace = model.new_workspace(chunk);
    let mut state = model.new_state();
    let mut writer = BufWriter::with_capacity(1 << 20, out);
    for tokens in ids.chunks(chunk) {
        let logits = model.forward(team, &mut workspace, &mut state, tokens, Want::All)?;
        for logit in logits {
            writer.write_all(&logit.to_le_bytes())?;
        }
    }
    writer.flush()?;
    Ok(())
}

/// Reads and checks the token ids.
fn read_ids(path: &Path, config: &Config) -> anyhow::Result<Vec<u32>> {
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the token ids in {}", path.display()))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    ensure!(
        rest.is_empty(),
        "{} is {} bytes; expected little-endian int32 ids, 4 bytes each. Is the file cut off, or of another type?",
        path.display(),
        bytes.len()
    );
    ensure!(
        !numbers.is_empty(),
        "{} is empty; expected at least one token id",
        path.display()
    );
    let context = config.max_position_embeddings;
    ensure!(
        numbers.len() <= context,
        "{} holds {} ids, but this model's context is {context} tokens. Use a shorter sequence",
        path.display(),
        numbers.len()
    );
    let mut ids = Vec::with_capacity(numbers.len());
    for (index, &number) in numbers.iter().enumerate() {
        match u32::try_from(i32::from_le_bytes(number)) {
            Ok(id) if (id as usize) < config.vocab_size => ids.push(id),
            _ => bail!(
                "id {} at index {index} of {} is out of range; this model's ids are 0 to {}",
                i32::from_le_bytes(number),
                path.display(),
                config.vocab_size - 1
            ),
        }
    }
    Ok(ids)
}
