//! `fathom inspect`: what a checkpoint is, and whether it is whole.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fathom_checkpoint::{
    Attention, Audit, Checkpoint, Config, Draft, EffortTable, KvPacking, Layer, Layout, Names, OpenOptions,
    Profile, ProfileName, PromptEncoding, Routing,
};
use serde_json::{Value, json};

use crate::output;
use crate::table::{Align, Table};
use crate::units::{bytes, count};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Checkpoint directory
    dir: PathBuf,

    /// Which release the checkpoint is, where its files leave that open
    #[arg(long, value_name = "NAME")]
    profile: Option<ProfileName>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// Prints the report. Fails if a tensor is missing or unusable.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = OpenOptions {
        profile: args.profile,
    };
    let checkpoint = Checkpoint::open_with(&args.dir, options)
        .with_context(|| format!("cannot open the checkpoint in {}", args.dir.display()))?;
    let audit = checkpoint.audit();
    if args.json {
        output::print(&format!("{:#}\n", to_json(&checkpoint, &audit)))?;
    } else {
        output::print(&to_text(&checkpoint, &audit))?;
    }
    Ok(if audit.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn to_text(checkpoint: &Checkpoint, audit: &Audit) -> String {
    let (config, profile) = (checkpoint.config(), checkpoint.profile());
    let mut out = String::new();
    section(&mut out, "Profile", &profile_rows(profile, checkpoint.layout()));
    section(&mut out, "Configuration", &config_rows(config));
    out.push_str("\nLayers\n");
    for (range, layer) in runs(&config.layers) {
        let _ = writeln!(out, "  {range:<24} {}", describe(layer));
    }
    out.push_str("\nTensors\n");
    out.push_str(&tensor_table(audit));
    names(
        &mut out,
        "Missing",
        "not in the files, but needed",
        &audit.missing,
    );
    names(
        &mut out,
        "Unusable",
        "in the files, but not as needed",
        &audit.wrong,
    );
    names(
        &mut out,
        "Unexpected",
        "in the files, but not part of this model; ignored",
        &audit.unexpected,
    );
    out.push_str(if audit.is_complete() {
        "\nComplete: every tensor the configuration asks for is there.\n"
    } else {
        "\nIncomplete: the model cannot be loaded. Download the files that hold the tensors above again.\n"
    });
    out
}

fn section(out: &mut String, title: &str, rows: &[(&str, String)]) {
    if !out.is_empty() {
        out.push('\n');
    }
    let _ = writeln!(out, "{title}");
    let mut above = "";
    for (name, value) in rows {
        // A heading that repeats is said once.
        let shown = if *name == above { "" } else { name };
        let _ = writeln!(out, "  {shown:<24} {value}");
        above = name;
    }
}

fn profile_rows(profile: &Profile, layout: Layout) -> Vec<(&'static str, String)> {
    let name = match (&profile.own_name, profile.name) {
        (Some(own), _) => format!("{} ({own})", profile.name),
        (None, ProfileName::Own) => "own (unreleased: its sizes match no release)".to_owned(),
        (None, release) => release.to_string(),
    };
    let mut rows = vec![("name", name)];
    rows.extend(profile.evidence.iter().map(|fact| ("because", fact.clone())));
    for difference in &profile.differences {
        let (release, field) = (difference.release, difference.field);
        rows.push((
            "differs",
            format!(
                "{field}: {} instead of {} (V4-{release})",
                difference.found, difference.expected
            ),
        ));
    }
    rows.push(("prompts", encoding(profile.encoding).to_owned()));
    rows.push(("reasoning effort", effort(profile.effort).to_owned()));
    rows.push(("draft module", draft(profile.draft)));
    rows.push(("cache packing", packing(profile.kv_packing).to_owned()));
    rows.push(("tensor names", layout_name(layout).to_owned()));
    rows
}

fn config_rows(config: &Config) -> Vec<(&'static str, String)> {
    let yarn = config.yarn.map_or_else(
        || "none".to_owned(),
        |yarn| {
            format!(
                "YaRN ×{} over {} positions",
                yarn.factor,
                count(yarn.original_max_position_embeddings as u64)
            )
        },
    );
    let mut rows = vec![
        ("vocabulary", count(config.vocab_size as u64)),
        (
            "hidden size",
            format!(
                "{} in {} streams",
                count(config.hidden_size as u64),
                config.hc_mult
            ),
        ),
        (
            "attention",
            format!(
                "{} heads of {} ({} rotary), query rank {}, output {} groups of rank {}",
                config.num_attention_heads,
                config.head_dim,
                config.qk_rope_head_dim,
                config.q_lora_rank,
                config.o_groups,
                config.o_lora_rank
            ),
        ),
        ("window", format!("{} positions", config.sliding_window)),
        (
            "indexer",
            format!(
                "{} heads of {}, top {}",
                config.index_n_heads, config.index_head_dim, config.index_topk
            ),
        ),
        (
            "experts",
            format!(
                "{} of {} routed and {} shared, width {}",
                config.num_experts_per_tok,
                config.n_routed_experts,
                config.n_shared_experts,
                config.moe_intermediate_size
            ),
        ),
        (
            "context",
            format!("{} positions", count(config.max_position_embeddings as u64)),
        ),
        (
            "rotary base",
            format!(
                "{} (window), {} (compressed), {yarn}",
                config.rope_theta, config.compress_rope_theta
            ),
        ),
    ];
    if let Some(quantization) = config.quantization {
        rows.push(("re-quantised", quantization.to_string()));
    }
    rows
}

/// Consecutive equal layers, and consecutive repetitions of a pair of layers, in one line each.
fn runs(layers: &[Layer]) -> Vec<(String, Vec<Layer>)> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < layers.len() {
        let repeats = |period: usize| {
            let pattern = &layers[start..(start + period).min(layers.len())];
            layers[start..]
                .iter()
                .zip(pattern.iter().cycle())
                .take_while(|(layer, same)| layer == same)
                .count()
        };
        let same = repeats(1);
        let (period, length) = match repeats(2) {
            // A pair pays off only if it repeats more than once.
            pairs if pairs >= 4 && pairs > same => (2, pairs - pairs % 2),
            _ => (1, same),
        };
        let last = start + length - 1;
        let name = if length == 1 {
            format!("{start}")
        } else {
            format!("{start}–{last}")
        };
        runs.push((name, layers[start..start + period].to_vec()));
        start += length;
    }
    runs
}

fn describe(layers: Vec<Layer>) -> String {
    let one = |layer: Layer| {
        let attention = match layer.attention {
            Attention::Window => "window".to_owned(),
            Attention::Sparse { ratio } => format!("window + sparse 1:{ratio}"),
            Attention::Heavy { ratio } => format!("window + heavy 1:{ratio}"),
        };
        let routing = match layer.routing {
            Routing::Hash => "hash routing",
            Routing::Biased => "biased routing",
        };
        format!("{attention}, {routing}")
    };
    layers.into_iter().map(one).collect::<Vec<_>>().join(" / ")
}

fn tensor_table(audit: &Audit) -> String {
    let mut table = Table::new(&[
        ("group", Align::Left),
        ("stored as", Align::Left),
        ("tensors", Align::Right),
        ("parameters", Align::Right),
        ("bytes", Align::Right),
    ]);
    for (group, dtypes) in &audit.stored {
        let stored: Vec<_> = dtypes.keys().map(|dtype| dtype.name()).collect();
        let tally = audit.census.group(*group);
        table.row([
            group.name().to_owned(),
            stored.join(", "),
            count(tally.tensors),
            count(tally.parameters),
            count(tally.bytes),
        ]);
    }
    let total = audit.census.total();
    table.row([
        "total".to_owned(),
        bytes(total.bytes),
        count(total.tensors),
        count(total.parameters),
        count(total.bytes),
    ]);
    table.to_string()
}

fn names(out: &mut String, title: &str, meaning: &str, names: &Names) {
    if names.count == 0 {
        return;
    }
    let _ = writeln!(out, "\n{title}: {} ({meaning})", count(names.count));
    for name in &names.first {
        let _ = writeln!(out, "  {name}");
    }
    let more = names.count - names.first.len() as u64;
    if more > 0 {
        let _ = writeln!(out, "  … and {} more", count(more));
    }
}

fn encoding(encoding: PromptEncoding) -> &'static str {
    match encoding {
        PromptEncoding::V4 => "V4 conversation markup",
        PromptEncoding::Completion => "plain text to be continued (pretrained, no conversations)",
    }
}

fn effort(effort: EffortTable) -> &'static str {
    match effort {
        EffortTable::Preview => "high (no prefix), max",
        EffortTable::Official => "low (no prefix), high, max",
    }
}

fn draft(draft: Draft) -> String {
    match draft {
        Draft::None => "none".to_owned(),
        Draft::Mtp { blocks } => format!("MTP, {blocks} block(s)"),
        Draft::Dspark { stages } => format!("DSpark, {stages} stages"),
    }
}

fn packing(packing: KvPacking) -> &'static str {
    match packing {
        KvPacking::Fp8 => "FP8 rows, FP4 indexer keys",
        KvPacking::Bf16 => "BF16 (not trained for low precision)",
    }
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Official => "official",
        Layout::Transformers => "transformers, experts fused",
        Layout::Saved => "as saved by transformers",
    }
}

fn to_json(checkpoint: &Checkpoint, audit: &Audit) -> Value {
    let profile = checkpoint.profile();
    let groups: Vec<_> = audit
        .stored
        .iter()
        .map(|(group, dtypes)| {
            let tally = audit.census.group(*group);
            let stored: serde_json::Map<_, _> = dtypes
                .iter()
                .map(|(dtype, stored)| {
                    (
                        dtype.name().to_owned(),
                        json!({"tensors": stored.tensors, "bytes": stored.bytes}),
                    )
                })
                .collect();
            json!({
                "group": group.name(),
                "tensors": tally.tensors,
                "parameters": tally.parameters,
                "bytes": tally.bytes,
                "stored": stored,
            })
        })
        .collect();
    let layers: Vec<_> = checkpoint
        .config()
        .layers
        .iter()
        .map(|layer| {
            json!({"compress_ratio": layer.attention.ratio(), "hash_routing": layer.routing == Routing::Hash})
        })
        .collect();
    let names = |names: &Names| json!({"count": names.count, "first": names.first});
    let total = audit.census.total();
    json!({
        "profile": {
            "name": profile.name.as_str(),
            "own_name": profile.own_name,
            "evidence": profile.evidence,
            "differences": profile.differences.iter().map(|difference| json!({
                "release": format!("V4-{}", difference.release),
                "field": difference.field,
                "found": difference.found,
                "expected": difference.expected,
            })).collect::<Vec<_>>(),
            "prompts": encoding(profile.encoding),
            "reasoning_effort": effort(profile.effort),
            "draft": draft(profile.draft),
            "cache_packing": packing(profile.kv_packing),
            "tensor_names": layout_name(checkpoint.layout()),
        },
        "quantization": checkpoint.config().quantization.map(|quantization| quantization.to_json()),
        "layers": layers,
        "groups": groups,
        "total": {"tensors": total.tensors, "parameters": total.parameters, "bytes": total.bytes},
        "missing": names(&audit.missing),
        "unusable": names(&audit.wrong),
        "unexpected": names(&audit.unexpected),
        "complete": audit.is_complete(),
    })
}
