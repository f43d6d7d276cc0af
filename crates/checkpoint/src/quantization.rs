//! What `fathom quantize` did to a checkpoint, as its `config.json` records it.

use std::fmt;
use std::str::FromStr;

use fathom_kernels::formats::grouped::{BLOCK, Bits};
use serde_json::{Value, json};

use crate::config::ConfigError;
use crate::parts::{Group, Kind, Part};
use crate::profile::ProfileName;

/// The only version there is of the stored formats.
const VERSION: u64 = 1;

/// How a re-quantised matrix is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As it was.
    #[default]
    Keep,
    /// E4M3 with a UE8M0 scale per 128 × 128 block, as the official projections are (spec §10.4).
    Fp8,
    /// Grouped integers of so many bits.
    Grouped(Bits),
}

impl WeightFormat {
    /// Every format, in the order messages list them.
    pub const ALL: [Self; 6] = [
        Self::Grouped(Bits::Eight),
        Self::Grouped(Bits::Six),
        Self::Grouped(Bits::Five),
        Self::Grouped(Bits::Four),
        Self::Fp8,
        Self::Keep,
    ];

    /// The name on the command line and in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Fp8 => "fp8",
            Self::Grouped(Bits::Four) => "q4",
            Self::Grouped(Bits::Five) => "q5",
            Self::Grouped(Bits::Six) => "q6",
            Self::Grouped(Bits::Eight) => "q8",
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`WeightFormat`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no weight format {0:?}; expected q8, q6, q5, q4, fp8 or keep")]
pub struct UnknownWeightFormat(pub String);

impl FromStr for WeightFormat {
    type Err = UnknownWeightFormat;

    fn from_str(name: &str) -> Result<Self, UnknownWeightFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownWeightFormat(name.to_owned()))
    }
}

/// Which matrices were re-quantised to what. The tensors decide how each is read; this says how they came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantization {
    /// The projections without a format of their own: attention's output, `wo_a` and `wo_b`.
    pub dense: WeightFormat,
    /// The projections to latents, `wq_a` and `wkv`: small, and every query, key and value passes through them.
    pub latents: WeightFormat,
    /// The projections from latents to queries, attention's and the indexer's `wq_b`.
    pub queries: WeightFormat,
    /// The shared experts.
    pub shared: WeightFormat,
    /// The output head.
    pub head: WeightFormat,
    /// The routed experts.
    pub experts: WeightFormat,
    /// The release it was made from: re-quantised experts no longer tell.
    pub profile: Option<ProfileName>,
}

impl Quantization {
    /// The key in `config.json`.
    pub const KEY: &str = "fathom_quantization";

    /// Nothing was changed.
    pub const NONE: Self = Self::new(WeightFormat::Keep, WeightFormat::Keep, WeightFormat::Keep);

    /// One format for all projections.
    pub const fn new(dense: WeightFormat, head: WeightFormat, experts: WeightFormat) -> Self {
        Self {
            dense,
            latents: dense,
            queries: dense,
            shared: dense,
            head,
            experts,
            profile: None,
        }
    }

    /// What was asked for a part. Compressors, indexer weights, routers, hyper-connections, norms and draft modules are
    /// always kept: together they are a few per cent of a token's bytes, and what they compute (which experts, which
    /// entries) is sensitive.
    pub fn asked_for(&self, part: &Part) -> WeightFormat {
        match (part.group, &part.kind) {
            (Group::SharedExpert, Kind::Projection { .. }) => self.shared,
            (Group::Attention | Group::Indexer, Kind::Projection { .. }) => {
                match part.name.rsplit('.').next() {
                    Some("wq_a" | "wkv") => self.latents,
                    Some("wq_b") => self.queries,
                    _ => self.dense,
                }
            }
            (Group::Head, Kind::Dense { .. }) => self.head,
            (Group::RoutedExperts, Kind::Expert { .. }) => self.experts,
            _ => WeightFormat::Keep,
        }
    }

    /// What a part becomes: what was asked for, but grouped integers need rows of a multiple of 128 columns, and
    /// narrower matrices stay as they are.
    pub fn format_of(&self, part: &Part) -> WeightFormat {
        match (self.asked_for(part), &part.kind) {
            (
                WeightFormat::Grouped(_),
                Kind::Projection { cols, .. } | Kind::Expert { cols, .. } | Kind::Dense { cols, .. },
            ) if !cols.is_multiple_of(BLOCK) => WeightFormat::Keep,
            (format, _) => format,
        }
    }

    /// The value of [`KEY`](Self::KEY).
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "version": VERSION,
            "dense": self.dense.name(),
            "latents": self.latents.name(),
            "queries": self.queries.name(),
            "shared": self.shared.name(),
            "head": self.head.name(),
            "experts": self.experts.name(),
        });
        if let Some(profile) = self.profile {
            value["profile"] = profile.as_str().into();
        }
        value
    }

    /// Reads it from a configuration.
    pub(crate) fn read(config: &Value) -> Result<Option<Self>, ConfigError> {
        let Some(value) = config.get(Self::KEY).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let version = value.get("version");
        if version.and_then(Value::as_u64) != Some(VERSION) {
            return Err(ConfigError::QuantizationVersion {
                found: version.map_or_else(|| "absent".to_owned(), Value::to_string),
                expected: VERSION,
            });
        }
        let format = |key: &str| named::<WeightFormat>(value, key, "one of q8, q6, q5, q4, fp8 and keep");
        let dense = format("dense")?;
        let format_or_dense = |key: &str| value.get(key).map_or(Ok(dense), |_| format(key));
        Ok(Some(Self {
            dense,
            latents: format_or_dense("latents")?,
            queries: format_or_dense("queries")?,
            shared: format_or_dense("shared")?,
            head: format("head")?,
            experts: format("experts")?,
            profile: match value.get("profile") {
                None => None,
                Some(_) => Some(named(value, "profile", "the name of a profile")?),
            },
        }))
    }
}

fn named<T: FromStr>(value: &Value, key: &str, expected: &str) -> Result<T, ConfigError> {
    let found = value.get(key);
    found
        .and_then(Value::as_str)
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| ConfigError::Value {
            key: format!("{}.{key}", Quantization::KEY),
            expected: expected.to_owned(),
            found: found.map_or_else(|| "nothing".to_owned(), crate::config::quote),
        })
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dense {}", self.dense)?;
        for (name, format) in [
            ("latents", self.latents),
            ("queries", self.queries),
            ("shared experts", self.shared),
        ] {
            if format != self.dense {
                write!(f, ", {name} {format}")?;
            }
        }
        write!(f, ", head {}, routed experts {}", self.head, self.experts)
    }
}
