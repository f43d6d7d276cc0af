//! The report for programs.

use serde_json::{Value, json};

use super::Report;
use super::estimate::Rates;
use crate::commands::serve::models::Planned;

impl Report<'_> {
    pub(super) fn to_json(&self) -> Value {
        let access = &self.args.access;
        let models = self.models.iter().zip(&self.rates);
        json!({
            "ok": self.problems.is_empty(),
            "problems": self.problems,
            "notes": self.configured.notes,
            "config": self.configured.file_name(),
            "host": access.host,
            "port": access.port,
            "loopback": access.is_local(),
            "key_needed": access.key_needed(),
            "keys": self.keys.usable,
            "accounts": self.args.ledger.path(),
            "key_limits": self.args.ledger.limits(),
            "encrypted": self.args.network.is_encrypted(),
            "body_bytes_max": self.args.network.body_max,
            "available_bytes": self.machine.available_bytes,
            "models": models.map(|(model, rates)| of_model(model, rates)).collect::<Vec<_>>(),
        })
    }
}

fn of_model(model: &Planned, rates: &Rates) -> Value {
    let engine = model.engine(false);
    let context =
        |(tokens, bytes, fit): &(usize, u64, u64)| json!({"tokens": tokens, "bytes": bytes, "fit": fit});
    json!({
        "name": model.name,
        "aliases": model.aliases.iter().map(|alias| &alias.name).collect::<Vec<_>>(),
        "tier": model.tier.name(),
        "price": model.price(),
        "checkpoint": model.opened.checkpoint.directory(),
        "profile": model.opened.checkpoint.profile().name.to_string(),
        "numerics": model.opened.numerics.to_string(),
        "threads": rates.threads,
        "weight_bytes": model.need.weight_bytes,
        "scratch_bytes_estimate": model.need.workspace_bytes,
        "states_bytes": model.states_bytes,
        "contexts": rates.contexts.iter().map(context).collect::<Vec<_>>(),
        "parallel": engine.scheduling.running_max,
        "queue": engine.scheduling.waiting_max,
        "cache_dir": engine.cache.disk.as_ref().map(|disk| &disk.dir),
        "cache_disk_bytes": engine.cache.disk.as_ref().map(|disk| disk.bytes),
        "read_bytes_per_second": rates.read_bytes_per_s,
        "decode_tokens_per_second": {"expected": rates.decode.expected, "limit": rates.decode.limit},
        "prefill_tokens_per_second": {"expected": rates.prefill.expected, "limit": rates.prefill.limit},
    })
}
