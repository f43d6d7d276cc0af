//! `fathom quantize`: a checkpoint with projections, head or experts in fewer bits, and the receipt of what that changed.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fathom_checkpoint::{Checkpoint, OpenOptions, ProfileName, Quantization, WeightFormat};
use fathom_engine::memory;
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics};
use fathom_quantize::{
    Comparison, Conversion, ModelBytes, Prompts, QuantizeError, RECEIPT_JSON, RECEIPT_TEXT, Receipt,
    ResultDir, compare,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt::{EXIT_STATUS, Interrupt};
use crate::output;

/// Arguments of `fathom quantize`.
///
/// Formats: q8, q6, q5, q4 are integers of so many bits with a scale per 32 weights (a quarter bit more); fp8 is the
/// official E4M3; keep leaves a matrix as it is. Router, compressors, hyper-connections, norms and embedding always stay.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the original checkpoint
    source: PathBuf,

    /// Where the result goes: a directory that does not exist yet, or is empty
    result: PathBuf,

    /// Format of the projections: attention, indexer queries, shared experts (q8, q6, q5, q4, fp8, keep)
    #[arg(long, value_name = "FORMAT", default_value_t)]
    dense: WeightFormat,

    /// Another format for the small projections that all queries, keys and values pass through (wq_a, wkv)
    #[arg(long, value_name = "FORMAT")]
    latents: Option<WeightFormat>,

    /// Another format for the projections to queries (wq_b, the indexer's too)
    #[arg(long, value_name = "FORMAT")]
    queries: Option<WeightFormat>,

    /// Another format for the shared experts
    #[arg(long, value_name = "FORMAT")]
    shared: Option<WeightFormat>,

    /// Format of the output head
    #[arg(long, value_name = "FORMAT", default_value_t)]
    head: WeightFormat,

    /// Format of the routed experts
    #[arg(long, value_name = "FORMAT", default_value_t)]
    experts: WeightFormat,

    /// Do not run both models over the fixed prompts; the receipt then says "not accepted"
    #[arg(long)]
    no_comparison: bool,

    /// Threads that compute; one per core by default
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Which release the checkpoint is, where its files leave that open
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,

    /// Compare even if the models do not fit into free memory
    #[arg(long)]
    ignore_memory: bool,
}

/// Runs the command. A result that misses the criterion is kept: the receipt says so.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::install_patient()?;
    match args.quantize(&interrupt) {
        Ok(receipt) => {
            output::print(&summary(args, &receipt))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if matches!(error.downcast_ref(), Some(QuantizeError::Stopped)) => {
            output::print("Stopped; nothing was written.\n")?;
            Ok(ExitCode::from(EXIT_STATUS))
        }
        Err(error) => Err(error),
    }
}

impl Args {
    fn quantize(&self, interrupt: &Interrupt) -> anyhow::Result<Receipt> {
        let options = OpenOptions {
            profile: self.profile,
        };
        let open = || {
            Checkpoint::open_with(&self.source, options)
                .with_context(|| format!("cannot open the checkpoint in {}", self.source.display()))
        };
        let source = open()?;
        let conversion = Conversion::new(
            &source,
            Quantization {
                latents: self.latents.unwrap_or(self.dense),
                queries: self.queries.unwrap_or(self.dense),
                shared: self.shared.unwrap_or(self.dense),
                ..Quantization::new(self.dense, self.head, self.experts)
            },
        )?;
        if !self.no_comparison {
            if !self.ignore_memory {
                memory::check_weights(&source)?;
            }
            // Finds out in time whether the source is a whole model.
            Model::load(open()?, Numerics::Reference)
                .with_context(|| format!("cannot load the model in {}", self.source.display()))?;
        }
        let threads = self
            .threads
            .map_or_else(|| Team::with_all_cores().threads(), usize::from);

        let place = ResultDir::create(&self.result, conversion.bytes())?;
        let bar = Bar::new(
            "quantising",
            conversion.bytes(),
            "{binary_bytes} of {binary_total_bytes}",
        );
        let tensors = conversion.write(place.temporary_path(), threads, &mut |done| {
            bar.at(done, interrupt)
        })?;
        drop(bar);
        place.write_side_files(&source, conversion.quantization)?;

        let prompts = Prompts::of(&source);
        let comparison = if self.no_comparison {
            None
        } else {
            Some(self.compare(&place, &prompts, threads, interrupt)?)
        };
        let result = Checkpoint::open(place.temporary_path())?;
        let receipt = Receipt {
            program: concat!("fathom ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: std::env::args().collect(),
            source_name: self.source_name(),
            profile: source.profile().name.to_string(),
            quantization: conversion.quantization,
            kept_narrow: conversion.kept_narrow,
            tensors,
            source_bytes: ModelBytes::of(&source),
            result_bytes: ModelBytes::of(&result),
            prompts,
            comparison,
        };
        place.write(RECEIPT_JSON, &format!("{:#}\n", receipt.to_json()))?;
        place.write(RECEIPT_TEXT, &receipt.to_text())?;
        place.finish()?;
        Ok(receipt)
    }

    fn compare(
        &self,
        place: &ResultDir,
        prompts: &Prompts,
        threads: usize,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Comparison> {
        let bar = Bar::new("comparing", 0, "{pos} of {len} passes");
        let comparison = compare(
            &self.source,
            OpenOptions {
                profile: self.profile,
            },
            place.temporary_path(),
            prompts,
            threads,
            &mut |done, total| {
                bar.bar.set_length(total as u64);
                bar.at(done as u64, interrupt)
            },
        )?;
        Ok(comparison)
    }

    fn source_name(&self) -> String {
        let full = self.source.canonicalize().unwrap_or_else(|_| self.source.clone());
        full.file_name().map_or_else(
            || "checkpoint".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }
}

fn summary(args: &Args, receipt: &Receipt) -> String {
    let mut text = receipt.to_text();
    let _ = writeln!(
        text,
        "\nWritten to {}, with this receipt as {RECEIPT_TEXT} and {RECEIPT_JSON}.",
        args.result.display()
    );
    text
}

/// A line on the terminal that says how far the work has come; none where nobody watches.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(what: &'static str, length: u64, amount: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        // The template is ours; should it be wrong, the default will do.
        if let Ok(style) = ProgressStyle::with_template(&format!("{{msg}} {amount}, {{elapsed}}")) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar }
    }

    fn at(&self, done: u64, interrupt: &Interrupt) -> ControlFlow<()> {
        self.bar.set_position(done);
        interrupt.flow()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
