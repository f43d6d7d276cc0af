//! `fathom plan`: what a model needs, and what this machine can do with it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use fathom_checkpoint::budget::{RowBytes, Weighting};
use fathom_checkpoint::{
    Census, Checkpoint, Config, Decode, Demand, ExpertStorage, OpenOptions, Plan, ProfileName, Quantization,
    Storage, WeightFormat, announced_draft,
};
use fathom_engine::memory;
use fathom_kernels::machine::{READ_BUFFER_BYTES, READ_TIME, ReadBuffer};
use fathom_kernels::team::Team;
use fathom_model::Numerics;
use serde_json::{Value, json};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::model_source::DEFAULT_CHUNK;
use crate::output;
use crate::table::{Align, Table};
use crate::units::{bytes, count, parameters, si};

/// Context planned for unless `--context` says otherwise or the model allows less.
const DEFAULT_CONTEXT: u64 = 131_072;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Checkpoint directory, or the config.json of a model that is not here yet
    path: PathBuf,

    /// Tokens per session
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    context: Option<u64>,

    /// Sessions at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    sessions: u64,

    /// Arithmetic: exact keeps the cache in float32, reference packs it as the model was trained
    #[arg(long, value_name = "NAME", default_value_t = Numerics::Reference)]
    numerics: Numerics,

    /// How routed experts are stored, where a lone config.json does not say
    #[arg(long, value_name = "TYPE")]
    experts: Option<Experts>,

    /// Which release the checkpoint is, where its files leave that open
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Experts {
    Fp4,
    Fp8,
    Bf16,
}

impl From<Experts> for ExpertStorage {
    fn from(experts: Experts) -> Self {
        match experts {
            Experts::Fp4 => Self::Fp4,
            Experts::Fp8 => Self::Fp8,
            Experts::Bf16 => Self::Unquantized,
        }
    }
}

/// Prints the plan.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (config, census) = args.model()?;
    let longest = config.max_position_embeddings as u64;
    let context = args.context.unwrap_or(DEFAULT_CONTEXT.min(longest));
    if context > longest {
        bail!(
            "--context {context} is beyond this model's context of {longest} tokens; ask for at most that many"
        );
    }
    let rows = match args.numerics {
        Numerics::Exact => RowBytes::float32(&config),
        Numerics::Reference | Numerics::Fast => RowBytes::packed(&config),
    };
    let demand = Demand {
        context,
        sessions: args.sessions,
        chunk: DEFAULT_CHUNK.get() as u64,
        rows,
    };
    let plan = Plan::new(&config, &census, demand);
    let machine = Machine::measure();
    if args.json {
        let mut value = to_json(&plan, demand, args.numerics, &machine);
        value["quantization"] = config
            .quantization
            .map(|quantization| quantization.to_json())
            .into();
        output::print(&format!("{value:#}\n"))?;
    } else {
        let text = to_text(&plan, config.quantization, demand, args.numerics, &machine);
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The configuration, and sizes: counted in the files where there are files, worked out otherwise.
    fn model(&self) -> anyhow::Result<(Config, Census)> {
        if self.path.is_dir() {
            let options = OpenOptions {
                profile: self.profile,
            };
            let checkpoint = Checkpoint::open_with(&self.path, options)
                .with_context(|| format!("cannot open the checkpoint in {}", self.path.display()))?;
            return Ok((checkpoint.config().clone(), checkpoint.audit().census));
        }
        let config = read_config(&self.path)?;
        let requantized = config.quantization.unwrap_or_default();
        let experts = match (self.experts, config.expert_dtype.as_deref()) {
            (Some(experts), _) => experts.into(),
            (None, Some("fp4")) => ExpertStorage::Fp4,
            (None, Some("fp8")) => ExpertStorage::Fp8,
            (None, None) if !config.quantized => ExpertStorage::Unquantized,
            // Re-quantised: how they were stored before does not matter.
            (None, _) if requantized.experts != WeightFormat::Keep => ExpertStorage::Unquantized,
            (None, found) => bail!(
                "{} does not say how routed experts are stored (expert_dtype is {}): -Base and the first Flash upload \
                 share this file. Say --experts fp4, fp8 or bf16, or pass the checkpoint directory",
                self.path.display(),
                found.unwrap_or("absent")
            ),
        };
        let storage = Storage {
            quantized: config.quantized,
            experts,
            requantized,
        };
        let census = Census::of(&config, announced_draft(&config), storage);
        Ok((config, census))
    }
}

fn read_config(path: &Path) -> anyhow::Result<Config> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::from_json(&bytes).with_context(|| format!("{} cannot be planned for", path.display()))
}

/// This machine.
struct Machine {
    memory_bytes: Option<u64>,
    available_bytes: Option<u64>,
    threads: usize,
    /// Read by all threads together.
    read_bytes_per_s: f64,
    /// What was read to measure that.
    buffer_bytes: usize,
}

impl Machine {
    fn measure() -> Self {
        let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let memory_bytes = System::new_with_specifics(ram)
            .ok()
            .map(|system| system.total_memory());
        let available_bytes = memory::available();
        let mut team = Team::with_all_cores();
        // At most a quarter of what is free.
        let buffer = ReadBuffer::new(available_bytes.map_or(READ_BUFFER_BYTES, |free| {
            READ_BUFFER_BYTES.min(usize::try_from(free / 4).unwrap_or(usize::MAX))
        }));
        Self {
            memory_bytes,
            available_bytes,
            threads: team.threads(),
            read_bytes_per_s: buffer.bytes_per_s(&mut team, READ_TIME),
            buffer_bytes: buffer.bytes(),
        }
    }
}

fn to_text(
    plan: &Plan,
    quantization: Option<Quantization>,
    demand: Demand,
    numerics: Numerics,
    machine: &Machine,
) -> String {
    let mut out = String::new();
    model_section(&mut out, plan, quantization);
    cache_section(&mut out, plan, demand, numerics);
    decode_section(&mut out, plan, machine);
    memory_section(&mut out, plan, demand, machine);
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<18} {value}");
}

fn model_section(out: &mut String, plan: &Plan, quantization: Option<Quantization>) {
    out.push_str("Model\n");
    line(
        out,
        "parameters",
        &format!("{} ({})", parameters(plan.parameters), count(plan.parameters)),
    );
    let active = format!(
        "{} per token, {} with the embedding table",
        parameters(plan.active_parameters),
        parameters(plan.active_parameters_with_embedding)
    );
    line(out, "active", &active);
    if plan.draft.tensors > 0 {
        let draft = format!(
            "{} parameters more, {}",
            parameters(plan.draft.parameters),
            bytes(plan.draft.bytes)
        );
        line(out, "draft module", &draft);
    }
    let total = plan.total;
    let files = format!(
        "{} tensors, {} bytes ({})",
        count(total.tensors),
        count(total.bytes),
        bytes(total.bytes)
    );
    line(out, "weights", &files);
    if let Some(quantization) = quantization {
        line(out, "re-quantised", &quantization.to_string());
    }
}

fn cache_section(out: &mut String, plan: &Plan, demand: Demand, numerics: Numerics) {
    let _ = writeln!(out, "\nCache of one session ({numerics} numerics)");
    line(out, "per token", &per_token(plan.kv_bytes_per_token));
    let kv = plan.kv;
    let parts = format!(
        "{} bytes ({}): sparse {}, heavy {}, windows {}",
        count(kv.total()),
        bytes(kv.total()),
        bytes(kv.sparse),
        bytes(kv.heavy),
        bytes(kv.window)
    );
    line(out, &format!("at {}", count(demand.context)), &parts);
    line(
        out,
        "open windows",
        &format!("{} ({})", count(plan.pending_bytes), bytes(plan.pending_bytes)),
    );
}

/// With a fraction, for entries stand for several tokens: `3,514.25 bytes`.
fn per_token(bytes: f64) -> String {
    let hundredths = (100.0 * bytes).round() as u64;
    format!("{}.{:02} bytes", count(hundredths / 100), hundredths % 100)
}

fn decode_section(out: &mut String, plan: &Plan, machine: &Machine) {
    out.push_str("\nOne decoded token\n");
    let mut table = Table::new(&[
        ("", Align::Left),
        ("first token", Align::Right),
        ("at full context", Align::Right),
    ]);
    let columns = [plan.at_start, plan.at_context];
    let mut row = |name: &str, value: &dyn Fn(&Decode) -> String| {
        let [start, end] = columns.each_ref().map(value);
        table.row([name.to_owned(), start, end]);
    };
    row("tokens before it", &|decode| count(decode.depth));
    row("weights read", &|decode| {
        format!("{}B", si(decode.weight_bytes as f64))
    });
    row("cache read", &|decode| {
        format!("{}B", si(decode.cache_bytes as f64))
    });
    row("operations", &|decode| {
        format!("{}FLOP", si(decode.flops.total(Weighting::PLAIN)))
    });
    row("  weights", &|decode| format!("{}FLOP", si(decode.flops.linear)));
    row("  indexer", &|decode| format!("{}FLOP", si(decode.flops.indexer)));
    row("  attention", &|decode| {
        format!(
            "{}FLOP",
            si(decode.flops.sparse + decode.flops.heavy + decode.flops.window)
        )
    });
    row("at most", &|decode| {
        format!(
            "{:.2} tokens/s",
            decode.tokens_per_second(machine.read_bytes_per_s)
        )
    });
    out.push_str(&table.to_string());
    let _ = writeln!(
        out,
        "  \"At most\" is the memory's limit: {}B/s, measured just now by {} threads over {}.",
        si(machine.read_bytes_per_s),
        machine.threads,
        bytes(machine.buffer_bytes as u64)
    );
    if cfg!(debug_assertions) {
        out.push_str(
            "  This is a debug build, which reads memory far below its speed: use a release build.\n",
        );
    }
    if let Some(share) = plan.v32_share {
        let _ = writeln!(
            out,
            "  At full context this is {:.1} % of V3.2's work, counted in FP8 operations as its report does.",
            100.0 * share
        );
    }
}

fn memory_section(out: &mut String, plan: &Plan, demand: Demand, machine: &Machine) {
    out.push_str("\nMemory\n");
    let memory = plan.memory;
    line(
        out,
        "weights",
        &format!("{} (mapped: held by the page cache)", bytes(memory.weights)),
    );
    let sessions = format!(
        "{} for {} of {} tokens",
        bytes(memory.sessions),
        if demand.sessions == 1 {
            "one session".to_owned()
        } else {
            format!("{} sessions", count(demand.sessions))
        },
        count(demand.context)
    );
    line(out, "cache and state", &sessions);
    line(
        out,
        "workspace",
        &format!(
            "{} (estimate, chunks of {})",
            bytes(memory.workspace),
            demand.chunk
        ),
    );
    line(out, "needed", &bytes(memory.total()));
    let unknown = || "unknown".to_owned();
    let machine_memory = format!(
        "{}, of which {} are free now",
        machine.memory_bytes.map_or_else(unknown, bytes),
        machine.available_bytes.map_or_else(unknown, bytes),
    );
    line(out, "this machine", &machine_memory);
    out.push_str(&verdict(plan, machine));
}

fn verdict(plan: &Plan, machine: &Machine) -> String {
    let needed = plan.memory.total();
    match (machine.available_bytes, machine.memory_bytes) {
        (Some(free), _) if needed <= free => "\nIt fits.\n".to_owned(),
        (Some(free), Some(memory)) if needed <= memory => format!(
            "\nIt fits into this machine, but not into what is free now: {} more are needed. Close other programs.\n",
            bytes(needed - free)
        ),
        (Some(free), _) => {
            let working = plan.memory.sessions.saturating_add(plan.memory.workspace);
            let rest = if working <= free {
                "Weights that do not stay in memory would be read from disk for every token: it would run \
                 (--ignore-memory), at the speed of the disk."
            } else {
                "Cache and workspace alone exceed what is free: ask for a shorter context or fewer sessions."
            };
            format!(
                "\nIt does not fit: {} more are needed. {rest}\n",
                bytes(needed - free)
            )
        }
        (None, _) => "\nThis system does not tell how much memory is free.\n".to_owned(),
    }
}

fn to_json(plan: &Plan, demand: Demand, numerics: Numerics, machine: &Machine) -> Value {
    let decode = |decode: &Decode| {
        let flops = decode.flops;
        json!({
            "depth": decode.depth,
            "weight_bytes": decode.weight_bytes,
            "cache_bytes": decode.cache_bytes,
            "flops": flops.total(Weighting::PLAIN),
            "flops_linear": flops.linear,
            "flops_indexer": flops.indexer,
            "flops_attention": flops.sparse + flops.heavy + flops.window,
            "tokens_per_second_max": decode.tokens_per_second(machine.read_bytes_per_s),
        })
    };
    json!({
        "numerics": numerics.to_string(),
        "context": demand.context,
        "sessions": demand.sessions,
        "parameters": plan.parameters,
        "active_parameters": plan.active_parameters,
        "active_parameters_with_embedding": plan.active_parameters_with_embedding,
        "draft_parameters": plan.draft.parameters,
        "tensors": plan.total.tensors,
        "weight_bytes": plan.total.bytes,
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "kv_bytes": {
            "sparse": plan.kv.sparse,
            "heavy": plan.kv.heavy,
            "window": plan.kv.window,
            "total": plan.kv.total(),
        },
        "pending_bytes": plan.pending_bytes,
        "decode": [decode(&plan.at_start), decode(&plan.at_context)],
        "share_of_v32_flops": plan.v32_share,
        "memory_bytes": {
            "weights": plan.memory.weights,
            "sessions": plan.memory.sessions,
            "workspace_estimate": plan.memory.workspace,
            "total": plan.memory.total(),
        },
        "machine": {
            "memory_bytes": machine.memory_bytes,
            "available_bytes": machine.available_bytes,
            "read_bytes_per_second": machine.read_bytes_per_s,
            "threads": machine.threads,
        },
        "fits": machine.available_bytes.map(|free| plan.memory.total() <= free),
    })
}
