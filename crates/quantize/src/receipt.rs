//! What was done, what it cost, and whether the result may stand in for its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fathom_checkpoint::budget::{RowBytes, decode_cache_bytes};
use fathom_checkpoint::{Checkpoint, Group, Quantization};
use fathom_model::Numerics;
use serde_json::{Value, json};

use crate::compare::{Comparison, Distance};
use crate::convert::ConvertedTensor;
use crate::encode::Error2;
use crate::prompts::{PromptSource, Prompts};

/// The receipt for programs.
pub const RECEIPT_JSON: &str = "fathom-quantize.json";
/// The same for people.
pub const RECEIPT_TEXT: &str = "fathom-quantize.md";

/// Version of [`RECEIPT_JSON`]'s form.
const VERSION: u64 = 1;

/// Everything a receipt is made of.
pub struct Receipt {
    /// Program and version, for example `fathom 0.1.0`.
    pub program: String,
    /// The command line.
    pub command: Vec<String>,
    /// Name of the source: its directory's.
    pub source_name: String,
    /// Profile of the source.
    pub profile: String,
    /// What was asked for.
    pub quantization: Quantization,
    /// Matrices that stayed since they are too narrow for groups.
    pub kept_narrow: Vec<String>,
    /// What became of every other matrix that was asked for.
    pub tensors: Vec<ConvertedTensor>,
    /// Sizes of the source.
    pub source_bytes: ModelBytes,
    /// Sizes of the result.
    pub result_bytes: ModelBytes,
    /// The prompts.
    pub prompts: Prompts,
    /// What both models made of them; `None` if they were not run.
    pub comparison: Option<Comparison>,
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelBytes {
    /// All tensors.
    pub total: u64,
    /// Weights and cache read for one decoded token, the first of a sequence.
    pub per_token: u64,
}

impl ModelBytes {
    /// Counts them.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let (config, census) = (checkpoint.config(), checkpoint.audit().census);
        let cache = decode_cache_bytes(config, RowBytes::packed(config), 0);
        Self {
            total: census.total().bytes,
            per_token: census.decode_weight_bytes(config) + cache,
        }
    }
}

/// Errors of some matrices together.
#[derive(Default)]
struct Line {
    matrices: usize,
    from: BTreeSet<&'static str>,
    to: BTreeSet<&'static str>,
    sum: Error2,
    worst: f64,
}

impl Receipt {
    /// Whether the result met the criterion; a result that was not measured did not.
    pub fn accepted(&self) -> bool {
        self.comparison.as_ref().is_some_and(Comparison::accepted)
    }

    /// Bytes per decoded token, result over source.
    pub fn bytes_ratio(&self) -> f64 {
        self.result_bytes.per_token as f64 / self.source_bytes.per_token as f64
    }

    /// Errors by layer and kind of matrix: `layers.3 attention`, `head`.
    fn lines(&self) -> BTreeMap<(usize, Group), Line> {
        let mut lines = BTreeMap::new();
        for tensor in &self.tensors {
            let line: &mut Line = lines.entry((layer(&tensor.part), tensor.group)).or_default();
            line.matrices += 1;
            line.from.insert(tensor.from);
            line.to.insert(tensor.to.name());
            line.sum += tensor.error;
            line.worst = line.worst.max(tensor.error.relative());
        }
        lines
    }

    fn overall(&self) -> f64 {
        let mut sum = Error2::default();
        self.tensors.iter().for_each(|tensor| sum += tensor.error);
        sum.relative()
    }

    /// The receipt for programs.
    pub fn to_json(&self) -> Value {
        let layers: Vec<_> = self
            .lines()
            .iter()
            .map(|(key, line)| {
                json!({
                    "name": line_name(*key),
                    "matrices": line.matrices,
                    "from": line.from,
                    "to": line.to,
                    "relative_rms_error": line.sum.relative(),
                    "worst": line.worst,
                })
            })
            .collect();
        let tensors: Vec<_> = self
            .tensors
            .iter()
            .map(|tensor| {
                json!({
                    "name": tensor.part,
                    "from": tensor.from,
                    "to": tensor.to.name(),
                    "shape": tensor.shape,
                    "relative_rms_error": tensor.error.relative(),
                })
            })
            .collect();
        let (kind, because) = match &self.prompts.source {
            PromptSource::Text => ("text", None),
            PromptSource::Generated { because } => ("generated", Some(because)),
        };
        let bytes = |bytes: ModelBytes| json!({"total": bytes.total, "per_decoded_token": bytes.per_token});
        json!({
            "receipt_version": VERSION,
            "program": self.program,
            "command": self.command,
            "source": {"name": self.source_name, "profile": self.profile},
            "quantization": self.quantization.to_json(),
            "accepted": self.accepted(),
            "criterion": Comparison::criterion(),
            "comparison": self.comparison.as_ref().map(comparison_json),
            "prompts": {
                "kind": kind,
                "because": because,
                "tokens": self.prompts.ids.iter().map(Vec::len).collect::<Vec<_>>(),
                "fingerprint": self.prompts.fingerprint(),
            },
            "bytes": {
                "source": bytes(self.source_bytes),
                "result": bytes(self.result_bytes),
                "per_decoded_token_ratio": self.bytes_ratio(),
            },
            "weights": {
                "relative_rms_error": self.overall(),
                "layers": layers,
                "tensors": tensors,
                "kept_narrow": self.kept_narrow,
            },
        })
    }

    /// The receipt for people, in Markdown.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}, re-quantised\n", self.source_name)?;
        writeln!(out, "- formats: {}; everything else as it was", self.quantization)?;
        writeln!(out, "- by: {}, `{}`", self.program, self.command.join(" "))?;
        let (source, result) = (self.source_bytes, self.result_bytes);
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        writeln!(
            out,
            "- bytes: {} instead of {} in all; {} instead of {} per decoded token ({:.3} ×)",
            megabytes(result.total),
            megabytes(source.total),
            megabytes(result.per_token),
            megabytes(source.per_token),
            self.bytes_ratio()
        )?;
        writeln!(out, "- criterion: {}", Comparison::criterion())?;
        match &self.comparison {
            Some(comparison) => {
                writeln!(
                    out,
                    "- **{}**: KL {:.5} of {:.5} allowed, NLL {:.4} of {:.4}",
                    if self.accepted() {
                        "accepted"
                    } else {
                        "NOT accepted"
                    },
                    comparison.weights_alone.kl_mean,
                    comparison.kl_limit(),
                    comparison.weights_alone.nll,
                    comparison.nll_limit()
                )?;
                self.write_comparison(out, comparison)?;
            }
            None => writeln!(
                out,
                "- **NOT accepted**: the models were not run (--no-comparison)"
            )?,
        }
        writeln!(
            out,
            "\n## Weights\n\nRelative RMS error {:.5} over all.",
            self.overall()
        )?;
        if !self.kept_narrow.is_empty() {
            writeln!(
                out,
                "{} matrices stayed as they were: rows of no multiple of 128 columns.",
                self.kept_narrow.len()
            )?;
        }
        writeln!(
            out,
            "\n| | matrices | from | to | relative RMS error | worst |\n|---|---|---|---|---|---|"
        )?;
        for (key, line) in self.lines() {
            writeln!(
                out,
                "| {} | {} | {} | {} | {:.5} | {:.5} |",
                line_name(key),
                line.matrices,
                list(&line.from),
                list(&line.to),
                line.sum.relative(),
                line.worst
            )?;
        }
        Ok(())
    }

    fn write_comparison(&self, out: &mut String, comparison: &Comparison) -> std::fmt::Result {
        let lengths: Vec<_> = self.prompts.ids.iter().map(|ids| ids.len().to_string()).collect();
        let kind = match &self.prompts.source {
            PromptSource::Text => "fixed texts".to_owned(),
            PromptSource::Generated { because } => format!("fixed random ids, for {because}"),
        };
        writeln!(
            out,
            "\n## Predictions\n\nPrompts: {kind}; {} tokens.",
            lengths.join(" + ")
        )?;
        writeln!(
            out,
            "KL in nats from the source in `reference`. The line `source, exact` is the yardstick: what the choice of \
             numerics alone changes.\n"
        )?;
        writeln!(
            out,
            "| | mean KL | largest | same top token | NLL |\n|---|---|---|---|---|"
        )?;
        let mut row = |name: &str, distance: &Distance| {
            writeln!(
                out,
                "| {name} | {:.5} | {:.4} | {:.1} % | {:.4} |",
                distance.kl_mean,
                distance.kl_max,
                distance.top1_same * 100.0,
                distance.nll
            )
        };
        for (model, distances) in [("source", &comparison.source), ("result", &comparison.result)] {
            for (numerics, distance) in distances {
                row(&format!("{model}, {numerics}"), distance)?;
            }
        }
        row("result, exact, from source, exact", &comparison.weights_alone)
    }
}

fn comparison_json(comparison: &Comparison) -> Value {
    let distance = |distance: &Distance| {
        json!({
            "kl_mean": distance.kl_mean,
            "kl_max": distance.kl_max,
            "top1_same": distance.top1_same,
            "nll": distance.nll,
        })
    };
    let all = |distances: &[(Numerics, Distance)]| -> Value {
        let entries = distances
            .iter()
            .map(|(numerics, value)| (numerics.name().to_owned(), distance(value)));
        Value::Object(entries.collect())
    };
    json!({
        "kl_limit": comparison.kl_limit(),
        "nll_limit": comparison.nll_limit(),
        "baseline": "source in reference",
        "source": all(&comparison.source),
        "result": all(&comparison.result),
        "result_exact_from_source_exact": distance(&comparison.weights_alone),
    })
}

/// The number of the layer in a part's name; what belongs to none comes last.
fn layer(part: &str) -> usize {
    let number = part
        .strip_prefix("layers.")
        .and_then(|rest| rest.split('.').next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or(usize::MAX)
}

fn list(names: &BTreeSet<&'static str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn line_name((layer, group): (usize, Group)) -> String {
    match layer {
        usize::MAX => group.name().to_owned(),
        layer => format!("layer {layer} {}", group.name()),
    }
}
