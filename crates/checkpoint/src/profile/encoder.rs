//! Which encoder was shipped beside the weights.
//!
//! -DSpark and 0731 / 0813 have the same tensors and the same configuration keys; what tells them apart is the Python
//! encoder in the checkpoint directory (spec §12.4). Only its top-level assignments are looked at; nothing is run.

/// Path of the encoder inside a checkpoint directory.
pub(crate) const ENCODER_FILE: &str = "encoding/encoding_dsv4.py";

/// A generation of `encoding_dsv4.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// April and -DSpark: a single constant for the effort "max".
    Preview,
    /// 0731 and 0813: a table of low, high and max, with low as the default.
    Official,
}

impl Encoder {
    /// Tells the generation by the names of its effort constants; `None` if they are neither's.
    pub fn of(source: &str) -> Option<Self> {
        let assigned = |name: &str| source.lines().find_map(|line| assigned_value(line, name));
        let table = assigned("REASONING_EFFORT_PROMPTS").is_some();
        let default_low = assigned("DEFAULT_REASONING_EFFORT")
            .is_some_and(|value| value.trim_matches(['"', '\'']) == "low");
        let single = assigned("REASONING_EFFORT_MAX").is_some();
        match (table, default_low, single) {
            (true, true, _) => Some(Self::Official),
            (false, false, true) => Some(Self::Preview),
            _ => None,
        }
    }
}

/// The right-hand side of `name = …` or `name: Type = …` at the start of a line, without a trailing comment.
fn assigned_value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(name)?;
    let (annotation, value) = rest.split_once('=')?;
    let annotation = annotation.trim();
    if !(annotation.is_empty() || annotation.starts_with(':')) || value.starts_with('=') {
        return None;
    }
    Some(value.split('#').next().unwrap_or(value).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_by_their_constants() {
        let cases = [
            ("REASONING_EFFORT_MAX = (\n  \"…\"\n)\n", Some(Encoder::Preview)),
            ("REASONING_EFFORT_MAX: str = \"…\"", Some(Encoder::Preview)),
            (
                "REASONING_EFFORT_PROMPTS: Dict[str, str] = {\n \"low\": \"\",\n}\nDEFAULT_REASONING_EFFORT = \"low\"  # x\n",
                Some(Encoder::Official),
            ),
            (
                "REASONING_EFFORT_PROMPTS = {}\nDEFAULT_REASONING_EFFORT = 'low'\nREASONING_EFFORT_MAX = ''",
                Some(Encoder::Official),
            ),
            (
                "REASONING_EFFORT_PROMPTS = {}\nDEFAULT_REASONING_EFFORT = 'high'",
                None,
            ),
            ("REASONING_EFFORT_PROMPTS = {}\nREASONING_EFFORT_MAX = ''", None),
            ("    REASONING_EFFORT_MAX = 'a local'", None),
            ("# REASONING_EFFORT_MAX = 'a comment'", None),
            ("REASONING_EFFORT_MAX == 1", None),
            ("REASONING_EFFORT_MAXIMUM = 1", None),
            ("", None),
        ];
        for (source, expected) in cases {
            assert_eq!(Encoder::of(source), expected, "{source:?}");
        }
    }
}
