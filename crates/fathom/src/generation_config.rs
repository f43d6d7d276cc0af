//! `generation_config.json`: how a checkpoint's authors want it sampled.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use fathom_engine::sampling::Params;
use serde::Deserialize;

const FILE: &str = "generation_config.json";

/// The fields that concern sampling; others are left alone.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
}

impl GenerationConfig {
    /// Reads the file of a checkpoint directory; a checkpoint without one has no wishes.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(json) => Self::parse(&json).with_context(|| format!("cannot use {}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Parses the file.
    pub(crate) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(json).with_context(|| format!("{FILE} is not valid JSON of the expected form"))
    }

    /// What it says, with temperature 1 and no filters where it says nothing (spec §14).
    pub(crate) fn sampling(&self) -> anyhow::Result<Params> {
        let default = Params::default();
        let params = Params {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k: self.top_k.unwrap_or(default.top_k),
            min_p: self.min_p.unwrap_or(default.min_p),
            seed: default.seed,
        };
        params
            .validate()
            .with_context(|| format!("{FILE} asks for the impossible"))?;
        Ok(if self.do_sample == Some(false) {
            Params {
                temperature: 0.0,
                ..params
            }
        } else {
            params
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(json: &str) -> Result<Params, String> {
        let config = GenerationConfig::parse(json.as_bytes()).map_err(|error| format!("{error:#}"))?;
        config.sampling().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn wishes_are_followed_and_gaps_filled() {
        assert_eq!(sampling("{}"), Ok(Params::default()));
        let official = r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.95, "eos_token_id": 1}"#;
        assert_eq!(
            sampling(official),
            Ok(Params {
                temperature: 0.6,
                top_p: 0.95,
                ..Params::default()
            })
        );
        assert_eq!(sampling(r#"{"do_sample": false}"#), Ok(Params::greedy()));
    }

    #[test]
    fn nonsense_is_refused() {
        let error = sampling(r#"{"top_p": 2.0}"#).unwrap_err();
        assert_eq!(
            error,
            "generation_config.json asks for the impossible: top_p is 2; expected a number above 0 and at most 1"
        );
        assert!(
            sampling(r#"{"temperature": "warm"}"#)
                .unwrap_err()
                .starts_with("generation_config.json is not valid")
        );
    }
}
