//! What the server says on standard error.

use fathom_cache::Cache;
use fathom_cache::disk::Disk;
use fathom_serve::Completed;

/// A line.
#[expect(clippy::print_stderr, reason = "this is the server's log")]
pub(crate) fn line(text: &str) {
    eprintln!("{text}");
}

/// What a cache has to say of its directory, unless it was `said` already.
pub(crate) fn note(cache: &Cache, said: Option<&str>) -> Option<String> {
    let notice = cache.disk().and_then(Disk::notice)?;
    if said != Some(notice.as_str()) {
        line(&format!("note: {notice}"));
    }
    Some(notice)
}

/// One line per answer.
pub(crate) fn answered(completed: &Completed) {
    let Completed {
        outcome,
        usage,
        miss,
        timings,
        ..
    } = completed;
    line(&format!(
        "answered: {outcome}, prompt {} ({} cached; {miss}), generated {}, {:.2} s + {:.2} s",
        usage.prompt,
        usage.cached,
        usage.generated,
        timings.prefill.as_secs_f64(),
        timings.decode.as_secs_f64(),
    ));
}
