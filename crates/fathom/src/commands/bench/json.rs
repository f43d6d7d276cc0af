//! The report as JSON. Outside checks read it: fields are added, never renamed.

use serde_json::{Value, json};

use super::report::{Batch, Decode, Prefill, Report};

/// Raised when a field changes its meaning.
const FORMAT: u32 = 1;

pub(super) fn of(report: &Report) -> Value {
    let machine = &report.machine;
    let usage = report.memory.usage;
    json!({
        "format": FORMAT,
        "model": report.model,
        "numerics": report.numerics,
        "date": report.date,
        "seconds": report.seconds,
        "versions": {
            "fathom": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        },
        "repeats": report.repeats,
        "chunk_tokens": report.chunk,
        "interval": report.interval,
        "debug_build": cfg!(debug_assertions),
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "threads": machine.threads,
            "isa": machine.isa,
            "read_bytes_per_s": machine.read_bytes_per_s.median(),
            "read_bytes_per_s_spread": machine.read_bytes_per_s.spread(),
            "int8_ops_per_s": machine.peaks.int8,
            "bf16_flops_per_s": machine.peaks.bf16,
            "f32_flops_per_s": machine.peaks.f32,
            "others_share": machine.others_share,
        },
        "arithmetic_of_limit": report.arithmetic.to_string(),
        "prefill": report.prefill.iter().map(|p| prefill(report, p)).collect::<Vec<_>>(),
        "decode": report.decode.iter().map(|d| decode(report, d)).collect::<Vec<_>>(),
        "batch": report.batch.iter().map(|b| batch(report, b)).collect::<Vec<_>>(),
        "memory": {
            "rss_bytes": usage.map(|usage| usage.resident),
            "anonymous_bytes": usage.map(|usage| usage.anonymous),
            "kv_bytes_per_token": report.memory.kv_bytes_per_token,
            "weights_bytes": report.memory.weights_bytes,
        },
    })
}

fn prefill(report: &Report, prefill: &Prefill) -> Value {
    json!({
        "from": prefill.from,
        "tokens": prefill.tokens,
        "tokens_per_s": prefill.rates.median(),
        "tokens_per_s_spread": prefill.rates.spread(),
        "operations_per_token": prefill.operations_per_token,
        "limit_tokens_per_s": report.prefill_limit(prefill),
        "share_of_limit": report.prefill_share(prefill),
    })
}

fn decode(report: &Report, decode: &Decode) -> Value {
    let share = decode.share_of_limit();
    json!({
        "depth": decode.depth,
        "start": decode.start,
        "tokens": decode.tokens,
        "tokens_per_s": decode.rates.median(),
        "tokens_per_s_spread": decode.rates.spread(),
        "bytes_per_token": decode.work.bytes() as u64,
        "weight_bytes_per_token": decode.work.weight_bytes as u64,
        "cache_bytes_per_token": decode.work.cache_bytes as u64,
        "operations_per_token": decode.work.operations,
        "bound": report.bound(decode).to_string(),
        "limit_tokens_per_s": decode.limits.median(),
        "share_of_limit": share.median(),
        "share_of_limit_spread": share.spread(),
        "kv_bytes": decode.kv_bytes,
        "rss_bytes": decode.memory.map(|usage| usage.resident),
        "anonymous_bytes": decode.memory.map(|usage| usage.anonymous),
    })
}

fn batch(report: &Report, batch: &Batch) -> Value {
    json!({
        "sessions": batch.sessions,
        "start": batch.start,
        "tokens": batch.tokens,
        "tokens_per_s": batch.rates.median(),
        "tokens_per_s_spread": batch.rates.spread(),
        "times_one_session": report.times_one(batch),
    })
}
