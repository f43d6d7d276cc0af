//! Where this program keeps things for the person who runs it, as the XDG base directory specification lays it out.
//!
//! Each is overridden by its variable, if that holds an absolute path. All are `None` for somebody without a home.

use std::path::PathBuf;

/// What the person decides: `$XDG_CONFIG_HOME/fathom`, usually `~/.config/fathom`.
pub(crate) fn config() -> Option<PathBuf> {
    ours("XDG_CONFIG_HOME", &[".config"])
}

/// What can be computed again: `$XDG_CACHE_HOME/fathom`, usually `~/.cache/fathom`.
pub(crate) fn cache() -> Option<PathBuf> {
    ours("XDG_CACHE_HOME", &[".cache"])
}

/// What is remembered of earlier runs: `$XDG_STATE_HOME/fathom`, usually `~/.local/state/fathom`.
pub(crate) fn state() -> Option<PathBuf> {
    ours("XDG_STATE_HOME", &[".local", "state"])
}

/// What people would miss: `$XDG_DATA_HOME/fathom`, usually `~/.local/share/fathom`.
pub(crate) fn data() -> Option<PathBuf> {
    ours("XDG_DATA_HOME", &[".local", "share"])
}

fn ours(variable: &str, below_home: &[&str]) -> Option<PathBuf> {
    let base = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(below_home.iter().collect::<PathBuf>())));
    Some(base?.join("fathom"))
}
