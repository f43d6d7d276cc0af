//! What the server says on standard error.

use fathom_cache::Cache;
use fathom_cache::disk::Disk;

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
