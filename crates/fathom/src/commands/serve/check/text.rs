//! The report for people.

use std::fmt::Write as _;

use fathom_accounts::Limits;
use fathom_engine::memory::Bytes;

use super::Report;
use super::estimate::{PROMPT_TOKENS, Rate, Rates};
use crate::commands::serve::models::Planned;
use crate::terminal::figures::{self, plural};
use crate::units::{bytes, count, si};

impl Report<'_> {
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        line(
            &mut out,
            "settings",
            &self
                .configured
                .file_name()
                .unwrap_or_else(|| "no file".to_owned()),
        );
        self.access(&mut out);
        for (model, rates) in self.models.iter().zip(&self.rates) {
            out.push('\n');
            describe(&mut out, model, rates);
            let price = self.args.ledger.price(model.price());
            let none = || {
                format!(
                    "none for {} in this currency: counted, and costs nothing",
                    model.price()
                )
            };
            line(&mut out, "price", &price.unwrap_or_else(none));
        }
        self.memory(&mut out);
        for note in &self.configured.notes {
            let _ = writeln!(out, "\nnote: {note}");
        }
        if !self.rates.is_empty() {
            let _ = writeln!(
                out,
                "\nRates are estimates for one request alone: what a token reads and computes (`fathom plan` counts it) against this \
                 machine's memory\nand arithmetic, measured just now beside whatever else runs, times the share of them that was reached when it was measured."
            );
        }
        match self.problems {
            [] => out.push_str("\nEverything is in order.\n"),
            problems => {
                let _ = writeln!(out, "\n{} to be put right:", plural(problems.len(), "thing"));
                for problem in problems {
                    let _ = writeln!(out, "  {problem}");
                }
            }
        }
        out
    }

    fn access(&self, out: &mut String) {
        let access = &self.args.access;
        let reach = if access.is_local() {
            "this machine alone"
        } else {
            "other machines too"
        };
        line(
            out,
            "listens on",
            &format!("{}:{} ({reach})", access.host, access.port),
        );
        let keys = plural(self.keys.usable, "key");
        let who = if access.key_needed() {
            "who shows a key"
        } else {
            "everybody"
        };
        line(out, "answers", &format!("{who}; {keys} can be used"));
        let path = self.args.ledger.path();
        let path = path.map_or_else(|| "in memory".to_owned(), |path| path.display().to_string());
        line(out, "accounts", &path);
        line(out, "per key", &of_limits(self.args.ledger.limits()));
        let network = &self.args.network;
        let encrypted = if network.is_encrypted() {
            "encrypted"
        } else {
            "not encrypted"
        };
        let bodies = format!("{encrypted}; requests of up to {}", bytes(network.body_max));
        line(out, "connections", &bodies);
    }

    fn memory(&self, out: &mut String) {
        let sum = |of: fn(&Planned) -> u64| self.models.iter().map(of).fold(0, u64::saturating_add);
        let weights = sum(|model| model.need.weight_bytes);
        let workspace = sum(|model| model.need.workspace_bytes);
        let states = sum(|model| model.states_bytes);
        let total = weights.saturating_add(workspace).saturating_add(states);
        let free = self
            .machine
            .available_bytes
            .map_or_else(|| "unknown".to_owned(), bytes);
        out.push_str("\nMemory of all\n");
        line(
            out,
            "at most",
            &format!(
                "{}: weights {}, scratch {}, states {}",
                bytes(total),
                bytes(weights),
                bytes(workspace),
                bytes(states)
            ),
        );
        line(out, "free now", &free);
    }
}

/// Limits that hold where a key has none of its own.
fn of_limits(limits: Limits) -> String {
    let limit = |most: Option<u64>, what: &str| most.map(|most| format!("{} {what}", count(most)));
    let all = [
        limit(limits.concurrent.map(u64::from), "requests at once"),
        limit(limits.concurrent_per_model.map(u64::from), "at once of a model"),
        limit(limits.tokens_per_minute, "tokens a minute"),
        limit(limits.tokens_per_day, "tokens a day"),
    ];
    let all: Vec<_> = all.into_iter().flatten().collect();
    if all.is_empty() {
        return "no limits but a key's own".to_owned();
    }
    format!("at most {}, if it has no limits of its own", all.join(", "))
}

fn describe(out: &mut String, model: &Planned, rates: &Rates) {
    let checkpoint = &model.opened.checkpoint;
    let source = checkpoint
        .directory()
        .map_or_else(|| "built in".to_owned(), |dir| dir.display().to_string());
    let _ = writeln!(out, "{}", model.name);
    let aliases: Vec<_> = model.aliases.iter().map(|alias| alias.name.as_str()).collect();
    line(
        out,
        "checkpoint",
        &format!("{source} ({})", checkpoint.profile().name),
    );
    if !aliases.is_empty() {
        line(out, "also called", &aliases.join(", "));
    }
    line(
        out,
        "runs with",
        &format!(
            "{} numerics, {}, tier {}",
            model.opened.numerics,
            plural(rates.threads, "thread"),
            model.tier.name()
        ),
    );
    let weights = match model.need.weight_bytes {
        0 => "in the program".to_owned(),
        weights => format!("{} (mapped)", Bytes(weights)),
    };
    line(out, "weights", &weights);
    let scheduling = model.engine(false).scheduling;
    line(
        out,
        "states",
        &format!(
            "{} of memory; up to {} at once, {} may wait",
            bytes(model.states_bytes),
            plural(scheduling.running_max, "answer"),
            count(scheduling.waiting_max as u64)
        ),
    );
    for (tokens, each, fit) in &rates.contexts {
        let context = format!(
            "{} contexts of {} tokens ({} each)",
            count(*fit),
            count(*tokens as u64),
            bytes(*each)
        );
        line(out, "", &context);
    }
    if let Some(disk) = model.engine(false).cache.disk {
        line(
            out,
            "on disk",
            &format!("{}, up to {}", disk.dir.display(), bytes(disk.bytes)),
        );
    }
    let memory = format!("for {}B/s from memory", si(rates.read_bytes_per_s));
    line(out, "decode", &of_rate(rates.decode, &memory));
    line(
        out,
        "prefill",
        &of_rate(rates.prefill, &format!("for {PROMPT_TOKENS} tokens")),
    );
}

fn of_rate(rate: Rate, limit: &str) -> String {
    let most = format!("{} tokens/s at most, {limit}", figures::rate(rate.limit));
    match rate.expected {
        Some(expected) => format!("about {} tokens/s; {most}", figures::rate(expected)),
        None => format!("{most}; so small a model stays far below that"),
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<12} {value}");
}
