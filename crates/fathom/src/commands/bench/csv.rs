//! The report as comma-separated values: one line for each thing measured.

use std::fmt::Write as _;

use super::report::Report;

const HEADER: &str = "measurement,sessions,tokens_before,tokens,tokens_per_s,tokens_per_s_min,tokens_per_s_max,\
                      bytes_per_token,operations_per_token,limit_tokens_per_s,share_of_limit\n";

pub(super) fn of(report: &Report) -> String {
    let mut out = HEADER.to_owned();
    // Writing to a string cannot fail.
    for prefill in &report.prefill {
        let (rates, share) = (&prefill.rates, report.prefill_share(prefill));
        let _ = writeln!(
            out,
            "prefill,1,{},{},{:.3},{:.3},{:.3},,{:.0},{:.3},{share:.4}",
            prefill.from,
            prefill.tokens,
            rates.median(),
            rates.min(),
            rates.max(),
            prefill.operations_per_token,
            report.prefill_limit(prefill),
        );
    }
    for decode in &report.decode {
        let (rates, share) = (&decode.rates, decode.share_of_limit().median());
        let _ = writeln!(
            out,
            "decode,1,{},{},{:.3},{:.3},{:.3},{:.0},{:.0},{:.3},{share:.4}",
            decode.start,
            decode.tokens,
            rates.median(),
            rates.min(),
            rates.max(),
            decode.work.bytes(),
            decode.work.operations,
            decode.limits.median(),
        );
    }
    for batch in &report.batch {
        let rates = &batch.rates;
        let _ = writeln!(
            out,
            "batch,{},{},{},{:.3},{:.3},{:.3},,,,",
            batch.sessions,
            batch.start,
            batch.tokens,
            rates.median(),
            rates.min(),
            rates.max(),
        );
    }
    out
}
