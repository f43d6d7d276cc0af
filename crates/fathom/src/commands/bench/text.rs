//! The report for the terminal.

use std::fmt::Write as _;

use super::report::Report;
use super::samples::Samples;
use crate::limits::Arithmetic;
use crate::table::{Align, Table};
use crate::terminal::figures::{plural, rate};
use crate::units::{bytes, count, si};

pub(super) fn of(report: &Report) -> String {
    let mut out = format!(
        "{}, {} numerics, {}\n\n",
        report.model, report.numerics, report.date
    );
    machine(&mut out, report);
    prefill(&mut out, report);
    decode(&mut out, report);
    batch(&mut out, report);
    memory(&mut out, report);
    notes(&mut out, report);
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  {name:<18} {value}");
}

fn machine(out: &mut String, report: &Report) {
    let machine = &report.machine;
    out.push_str("Machine\n");
    if let Some(cpu) = &machine.cpu {
        line(out, "processor", cpu);
    }
    let cores = format!(
        "{} used of {}, {}",
        plural(machine.threads, "thread"),
        plural(machine.cores, "core"),
        machine.isa
    );
    line(out, "threads", &cores);
    let read = &machine.read_bytes_per_s;
    let read = format!(
        "{}B/s ({:.1} to {:.1} while measuring)",
        si(read.median()),
        read.min() / 1e9,
        read.max() / 1e9
    );
    line(out, "memory read", &read);
    let peaks = machine.peaks;
    let peaks = format!(
        "int8 {}OP/s, bf16 {}FLOP/s, f32 {}FLOP/s",
        si(peaks.int8),
        si(peaks.bf16),
        si(peaks.f32)
    );
    line(out, "arithmetic peaks", &peaks);
    if let Some(share) = machine.others_share {
        line(
            out,
            "other programs",
            &format!("used {} of it meanwhile", percent(share)),
        );
    }
}

fn prefill(out: &mut String, report: &Report) {
    if report.prefill.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\nPrefill ({}, chunks of {})",
        times(report.repeats),
        report.chunk
    );
    let mut table = Table::new(&[
        ("tokens", Align::Right),
        ("after", Align::Right),
        ("tokens/s", Align::Right),
        ("slowest-fastest", Align::Right),
        ("FLOP/token", Align::Right),
        ("limit", Align::Right),
        ("share", Align::Right),
    ]);
    for prefill in &report.prefill {
        table.row([
            count(prefill.tokens as u64),
            count(prefill.from as u64),
            rate(prefill.rates.median()),
            spread(&prefill.rates),
            si(prefill.operations_per_token).trim_end().to_owned(),
            rate(report.prefill_limit(prefill)),
            percent(report.prefill_share(prefill)),
        ]);
    }
    out.push_str(&table.to_string());
}

fn decode(out: &mut String, report: &Report) {
    let Some(first) = report.decode.first() else {
        return;
    };
    let _ = writeln!(
        out,
        "\nDecode ({} of {})",
        times(report.repeats),
        plural(first.tokens, "token")
    );
    let mut table = Table::new(&[
        ("depth", Align::Right),
        ("tokens/s", Align::Right),
        ("slowest-fastest", Align::Right),
        ("B/token", Align::Right),
        ("FLOP/token", Align::Right),
        ("limit", Align::Right),
        ("share", Align::Right),
        ("bound by", Align::Left),
    ]);
    for decode in &report.decode {
        table.row([
            count(decode.depth as u64),
            rate(decode.rates.median()),
            spread(&decode.rates),
            si(decode.work.bytes()).trim_end().to_owned(),
            si(decode.work.operations).trim_end().to_owned(),
            rate(decode.limits.median()),
            percent(decode.share_of_limit().median()),
            report.bound(decode).to_string(),
        ]);
    }
    out.push_str(&table.to_string());
}

fn batch(out: &mut String, report: &Report) {
    let Some(first) = report.batch.first() else {
        return;
    };
    let _ = writeln!(
        out,
        "\nSessions decoding together at {} ({} of {} each)",
        count(first.start as u64),
        times(report.repeats),
        plural(first.tokens, "token")
    );
    let mut table = Table::new(&[
        ("sessions", Align::Right),
        ("tokens/s", Align::Right),
        ("slowest-fastest", Align::Right),
        ("times one", Align::Right),
    ]);
    for batch in &report.batch {
        table.row([
            count(batch.sessions as u64),
            rate(batch.rates.median()),
            spread(&batch.rates),
            report
                .times_one(batch)
                .map_or_else(String::new, |times| format!("{times:.2}")),
        ]);
    }
    out.push_str(&table.to_string());
}

fn memory(out: &mut String, report: &Report) {
    let memory = &report.memory;
    out.push_str("\nMemory\n");
    line(
        out,
        "weights",
        &format!("{} (mapped)", bytes(memory.weights_bytes)),
    );
    if let Some(usage) = memory.usage {
        line(out, "resident", &bytes(usage.resident));
        let deepest = report.decode.last().map_or_else(String::new, |decode| {
            format!(", with states up to {}", plural(decode.start, "token"))
        });
        line(out, "anonymous", &format!("{}{deepest}", bytes(usage.anonymous)));
    }
    line(
        out,
        "cache",
        &format!("{:.2} bytes per token", memory.kv_bytes_per_token),
    );
}

fn notes(out: &mut String, report: &Report) {
    let arithmetic = match report.arithmetic {
        Arithmetic::Int8 => "the int8 peak (fast numerics multiply eight-bit integers)",
        Arithmetic::Bf16 => "the bf16 peak (reference numerics round activations to bf16)",
        Arithmetic::F32 => "the f32 peak (exact numerics compute in float32)",
    };
    out.push('\n');
    let mut note = |text: &str| {
        let _ = writeln!(out, "{text}");
    };
    note(&format!(
        "Limits: {arithmetic}; in decode also the bytes of a token"
    ));
    note("at the memory speed measured right before and after it.");
    if report.interval.is_none() && report.decode.iter().any(|decode| decode.start > 0) {
        note("Depths were reached by grafting: states of true length and layout, made up in content.");
    }
    for decode in report.decode.iter().filter(|decode| decode.start < decode.depth) {
        note(&format!(
            "Decode at {} began at {}, for the context ends there.",
            count(decode.depth as u64),
            count(decode.start as u64)
        ));
    }
    if report
        .decode
        .iter()
        .any(|decode| decode.share_of_limit().median() > 1.0)
    {
        note(
            "More than 100 %: what a token reads stays in the processor's cache, which is faster than memory.",
        );
    }
    if cfg!(debug_assertions) {
        note("This is a debug build, which is far slower: use a release build.");
    }
}

fn times(repeats: usize) -> String {
    if repeats == 1 {
        "measured once".to_owned()
    } else {
        format!("median of {repeats} runs")
    }
}

fn spread(samples: &Samples) -> String {
    format!("{}-{}", rate(samples.min()), rate(samples.max()))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
