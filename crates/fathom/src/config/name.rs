//! One name, three spellings: `--cache-ram`, `cache-ram = …` in the file, `FATHOM_CACHE_RAM` in the environment.

use clap::{Arg, ArgAction, Command};

/// What every variable begins with.
pub(super) const PREFIX: &str = "FATHOM_";

/// The variable for a key: `cache-ram` → `FATHOM_CACHE_RAM`.
pub(super) fn variable(key: &str) -> String {
    PREFIX.to_owned() + &key.to_ascii_uppercase().replace('-', "_")
}

/// The key of an argument: its long flag.
pub(super) fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_default()
}

/// The arguments of `command` that are settings: those with a long flag, but for `not` and the library's own.
pub(super) fn settings<'a>(command: &'a Command, not: &'a [&'a str]) -> impl Iterator<Item = &'a Arg> {
    command.get_arguments().filter(move |arg| {
        let own = !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        own && arg.get_long().is_some_and(|long| !not.contains(&long))
    })
}

/// The name that was probably meant, if one is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // As near as suggestions for misspelt flags have to be.
    const NEAR: f64 = 0.7;
    let name = name.to_ascii_lowercase().replace('_', "-");
    known
        .map(|known| (strsim::jaro(&name, known), known))
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_follow_from_keys() {
        assert_eq!(variable("cache-ram"), "FATHOM_CACHE_RAM");
        assert_eq!(variable("port"), "FATHOM_PORT");
    }

    #[test]
    fn what_was_meant_is_found() {
        let known = || ["port", "host", "cache-ram", "cache-dir"].into_iter();
        for (name, meant) in [
            ("prot", Some("port")),
            ("cache_ram", Some("cache-ram")),
            ("CacheDir", Some("cache-dir")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known()), meant, "{name}");
        }
    }
}
