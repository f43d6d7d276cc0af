//! `fathom bench`: how fast a model runs here, and how much of the machine's limit that is.
//!
//! Everything is measured in turns, so that a machine's good and bad moments fall on all of it alike, and memory speed
//! right before and after each decoding. The JSON report is a stable interface.

mod csv;
mod json;
mod machine;
mod measure;
mod plot;
mod report;
mod runner;
mod samples;
mod schedule;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use fathom_checkpoint::Config;
use fathom_engine::memory::{self, NotEnoughMemory};
use fathom_kernels::isa;
use fathom_kernels::team::Team;
use fathom_model::{Model, Numerics};
use jiff::Timestamp;

use self::machine::CpuTime;
use self::measure::{Bench, say};
use self::report::{Machine, Memory, Report};
use self::runner::Runner;
use self::schedule::{Schedule, ScheduleOptions};
use crate::limits::{Arithmetic, Costs, Peaks};
use crate::model_source::{ModelOptions, OpenedModel};
use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of a DeepSeek-V4 checkpoint; without it, the small built-in model runs
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    model: ModelOptions,

    #[command(flatten)]
    schedule: ScheduleOptions,

    /// Write the report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,

    /// Write the figures as comma-separated values
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,

    /// Draw rates against depth
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    svg: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut options = args.model.clone();
    options.model = args.directory.clone().or(options.model);
    let OpenedModel {
        checkpoint,
        name,
        numerics,
        ..
    } = options.open()?;
    let schedule = Schedule::new(&args.schedule, checkpoint.config())?;
    check_files(args)?;
    if !options.ignore_memory {
        memory::check_weights(&checkpoint)?;
        check_states(&schedule, checkpoint.config(), numerics)?;
    }
    let census = checkpoint.audit().census;
    let weights_bytes = census.backbone().bytes;
    let model = Model::load(checkpoint, numerics).with_context(|| format!("cannot load {name}"))?;
    let team = options
        .running
        .threads
        .map_or_else(Team::with_all_cores, |threads| Team::new(threads.into()));
    let chunk = options.running.chunk.get();
    let sessions = schedule.sessions.last().copied().unwrap_or(1);
    let runner = Runner::new(&model, team, chunk, sessions);
    say(&format!(
        "{name}, {numerics} numerics, {} threads\n",
        runner.team.threads()
    ));
    let arithmetic = Arithmetic::of(numerics);
    let cpu_time = CpuTime::now();
    let mut bench = Bench {
        model: &model,
        schedule: &schedule,
        costs: Costs::new(model.config(), &census, numerics),
        peaks: Peaks::default(),
        arithmetic,
        runner,
    };
    let measured = if schedule.interval.is_some() {
        bench.sweep()?
    } else {
        bench.probe()?
    };
    let report = Report {
        model: name,
        numerics: numerics.name(),
        arithmetic,
        date: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: started.elapsed().as_secs_f64(),
        repeats: schedule.repeats,
        chunk,
        interval: schedule.interval,
        machine: Machine {
            cpu: machine::cpu(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: bench.runner.team.threads(),
            isa: isa::detected().name(),
            peaks: bench.peaks,
            read_bytes_per_s: measured.read_bytes_per_s,
            others_share: cpu_time
                .zip(CpuTime::now())
                .map(|(start, end)| end.others_share(start)),
        },
        prefill: measured.prefill,
        decode: measured.decode,
        batch: measured.batch,
        memory: Memory {
            usage: measured.memory,
            weights_bytes,
            kv_bytes_per_token: bench.costs.kv_bytes_per_token(),
        },
    };
    write_files(args, &report)?;
    output::print(&text::of(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses depths whose states do not fit. They share most of their rows, so the deepest counts.
fn check_states(schedule: &Schedule, config: &Config, numerics: Numerics) -> anyhow::Result<()> {
    let deepest = schedule.depths.last().copied().unwrap_or(0);
    let needed = memory::state_bytes(config, numerics, deepest);
    match memory::available() {
        Some(available) if needed > available => Err(NotEnoughMemory {
            what: format!("a state of {deepest} tokens"),
            needed,
            available,
            advice: "Leave out the greatest of --depths",
        }
        .into()),
        _ => Ok(()),
    }
}

/// Finds out before anything is measured whether a file can be written. Nothing stays behind, whatever ends the run.
fn check_files(args: &Args) -> anyhow::Result<()> {
    for path in [&args.json, &args.csv, &args.svg].into_iter().flatten() {
        output::create_beside(path)?;
    }
    Ok(())
}

fn write_files(args: &Args, report: &Report) -> anyhow::Result<()> {
    write_file(args.json.as_deref(), || format!("{:#}\n", json::of(report)))?;
    write_file(args.csv.as_deref(), || csv::of(report))?;
    write_file(args.svg.as_deref(), || plot::of(report))
}

fn write_file(path: Option<&Path>, text: impl Fn() -> String) -> anyhow::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let mut file = output::create_beside(path)?;
    file.write_all(text().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.persist(path)
        .with_context(|| format!("cannot put the result in place as {}", path.display()))?;
    Ok(())
}
