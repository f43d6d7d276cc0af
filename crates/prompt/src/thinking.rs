//! How hard the model thinks, as a user asks for it.

use std::fmt;
use std::str::FromStr;

use fathom_checkpoint::EffortTable;
use serde::{Deserialize, Serialize};

/// A thinking mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// Answer at once ("Non-think").
    Off,
    /// Think briefly; only 0731 and 0813 know it.
    Low,
    /// Think ("Think High").
    #[default]
    High,
    /// Think at length ("Think Max"); wants a context of 384 Ki tokens or more on the official checkpoints (spec §14).
    Max,
}

impl Thinking {
    /// The modes of checkpoints with effort table `table`, from none to most (spec §12.4).
    pub fn available(table: EffortTable) -> &'static [Self] {
        match table {
            EffortTable::Preview => &[Self::Off, Self::High, Self::Max],
            EffortTable::Official => &[Self::Off, Self::Low, Self::High, Self::Max],
        }
    }

    /// Refuse a mode that `table` does not have.
    ///
    /// # Errors
    ///
    /// [`ThinkingUnavailable`], naming the modes there are.
    pub fn check(self, table: EffortTable) -> Result<(), ThinkingUnavailable> {
        let available = Self::available(table);
        if available.contains(&self) {
            Ok(())
        } else {
            Err(ThinkingUnavailable {
                asked: self,
                available,
            })
        }
    }

    /// Whether the answer starts with reasoning.
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

impl fmt::Display for Thinking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Low => "low",
            Self::High => "high",
            Self::Max => "max",
        })
    }
}

impl FromStr for Thinking {
    type Err = ParseThinkingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "low" => Ok(Self::Low),
            "high" => Ok(Self::High),
            "max" => Ok(Self::Max),
            _ => Err(ParseThinkingError {
                found: text.to_owned(),
            }),
        }
    }
}

/// A word that names no thinking mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a thinking mode (off, low, high or max), found {found:?}")]
pub struct ParseThinkingError {
    found: String,
}

/// A mode the loaded checkpoint was not trained with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this checkpoint has no thinking mode \"{asked}\"; choose one of: {}", names(.available))]
pub struct ThinkingUnavailable {
    /// The mode asked for.
    pub asked: Thinking,
    /// The modes there are.
    pub available: &'static [Thinking],
}

fn names(modes: &[Thinking]) -> String {
    modes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_is_refused_by_preview_checkpoints_with_the_alternatives() {
        let error = Thinking::Low.check(EffortTable::Preview).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this checkpoint has no thinking mode \"low\"; choose one of: off, high, max"
        );
        assert_eq!(Thinking::Low.check(EffortTable::Official), Ok(()));
    }

    #[test]
    fn modes_parse_as_they_display() {
        for &mode in Thinking::available(EffortTable::Official) {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "xhigh".parse::<Thinking>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a thinking mode (off, low, high or max), found \"xhigh\""
        );
    }
}
