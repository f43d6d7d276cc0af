//! `--model NAME=DIR`: a model named on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use super::name::parse_name;

/// Stands for the built-in model where a directory is expected. A directory of this name is `./builtin`.
pub(crate) const BUILT_IN: &str = "builtin";

/// What to serve, and perhaps as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelSpec {
    pub(crate) name: Option<String>,
    /// `None` for the built-in model.
    pub(crate) dir: Option<PathBuf>,
}

impl FromStr for ModelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `./a=b` is a directory.
        let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
        let (name, dir) = match named {
            Some((name, dir)) => (Some(parse_name(name)?), dir),
            None => (None, text),
        };
        if dir.is_empty() {
            return Err("expected a directory, NAME=DIR or builtin".to_owned());
        }
        Ok(Self {
            name,
            dir: (dir != BUILT_IN).then(|| dir.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_may_have_a_name_before_it() {
        let spec = |text: &str| text.parse::<ModelSpec>().map(|spec| (spec.name, spec.dir));
        let named = |name: &str| Some(name.to_owned());
        for (text, name, dir) in [
            ("/models/flash", None, Some("/models/flash")),
            ("quick=/models/a=b", named("quick"), Some("/models/a=b")),
            ("./a=b", None, Some("./a=b")),
            ("builtin", None, None),
            ("small=builtin", named("small"), None),
            ("./builtin", None, Some("./builtin")),
        ] {
            assert_eq!(spec(text), Ok((name, dir.map(PathBuf::from))), "{text}");
        }
        for text in ["", "quick=", "=dir", "a b=dir"] {
            assert!(spec(text).is_err(), "{text}");
        }
    }
}
