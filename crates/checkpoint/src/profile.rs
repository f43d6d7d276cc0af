//! Which release a checkpoint is, and what follows from it.
//!
//! All releases of one size share an architecture (spec §1), so the configuration alone does not tell them apart:
//! expert storage separates -Base, the draft module separates April from the later uploads, and -DSpark differs from
//! 0731 and 0813 only in its weights and in the encoder file shipped beside them (spec §12.4). Where these facts leave
//! more than one release possible, the user is asked; nothing is guessed.
//!
//! A model whose sizes match no release is *own*: ours, or a synthetic test model. It uses the preview's effort table
//! and reports in which fields it differs from the nearest release.

mod architecture;
mod encoder;

use std::fmt;
use std::str::FromStr;

use crate::config::Config;
pub use architecture::{Difference, Size};
pub(crate) use encoder::ENCODER_FILE;
pub use encoder::Encoder;

/// A release of DeepSeek-V4 (spec §1), or a model of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProfileName {
    /// DeepSeek-V4-Flash, 2026-04-24, preview.
    FlashApril,
    /// DeepSeek-V4-Pro, 2026-04-24, preview.
    ProApril,
    /// DeepSeek-V4-Flash-Base: pretrained only, FP8 experts.
    FlashBase,
    /// DeepSeek-V4-Pro-Base: pretrained only, FP8 experts.
    ProBase,
    /// DeepSeek-V4-Flash-DSpark: the preview's weights with a DSpark drafter.
    FlashDspark,
    /// DeepSeek-V4-Pro-DSpark: the preview's weights with a DSpark drafter.
    ProDspark,
    /// DeepSeek-V4-Flash-0731: the official, re-post-trained Flash.
    Flash0731,
    /// DeepSeek-V4-Pro-0813: the official, re-post-trained Pro.
    Pro0813,
    /// Not a release: one of our own models, or a synthetic one.
    Own,
}

impl ProfileName {
    /// Every profile.
    pub const ALL: [Self; 9] = [
        Self::FlashApril,
        Self::ProApril,
        Self::FlashBase,
        Self::ProBase,
        Self::FlashDspark,
        Self::ProDspark,
        Self::Flash0731,
        Self::Pro0813,
        Self::Own,
    ];

    /// The name on the command line and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlashApril => "flash-april",
            Self::ProApril => "pro-april",
            Self::FlashBase => "flash-base",
            Self::ProBase => "pro-base",
            Self::FlashDspark => "flash-dspark",
            Self::ProDspark => "pro-dspark",
            Self::Flash0731 => "flash-0731",
            Self::Pro0813 => "pro-0813",
            Self::Own => "own",
        }
    }

    /// The size of this release; `None` for own models.
    pub const fn size(self) -> Option<Size> {
        match self {
            Self::FlashApril | Self::FlashBase | Self::FlashDspark | Self::Flash0731 => Some(Size::Flash),
            Self::ProApril | Self::ProBase | Self::ProDspark | Self::Pro0813 => Some(Size::Pro),
            Self::Own => None,
        }
    }

    const fn kind(self) -> Option<Kind> {
        match self {
            Self::FlashApril | Self::ProApril => Some(Kind::April),
            Self::FlashBase | Self::ProBase => Some(Kind::Base),
            Self::FlashDspark | Self::ProDspark => Some(Kind::Dspark),
            Self::Flash0731 | Self::Pro0813 => Some(Kind::Official),
            Self::Own => None,
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProfileName {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
            .ok_or_else(|| ProfileError::UnknownName {
                found: name.to_owned(),
            })
    }
}

/// What the releases of one size differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    April,
    Base,
    Dspark,
    Official,
}

/// How conversations become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptEncoding {
    /// The V4 conversation markup (spec §12).
    V4,
    /// Plain text to be continued: a pretrained model that was never taught the markup.
    Completion,
}

/// Which reasoning-effort prefixes the model was trained with (spec §12.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffortTable {
    /// April and -DSpark: high has no prefix, max has text A, low does not exist.
    Preview,
    /// 0731 and 0813: low has no prefix, high has text A, max has text B.
    Official,
}

/// The draft module found among the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    /// None.
    None,
    /// Multi-token prediction blocks (spec §5.8).
    Mtp {
        /// How many.
        blocks: usize,
    },
    /// A DSpark drafter (spec §5.9).
    Dspark {
        /// How many stages.
        stages: usize,
    },
}

/// How cached rows are to be stored without leaving what the model was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvPacking {
    /// Trained with FP8 rows and FP4 indexer keys: 584 and 68 bytes each at the releases' sizes (spec §7.1).
    Fp8,
    /// Not trained for low precision: two bytes per element.
    Bf16,
}

/// How routed experts are stored, by their tensors' types (spec §2.1: never by the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertStorage {
    /// Packed E2M1 with a UE8M0 scale per 32 elements.
    Fp4,
    /// E4M3 with a scale per 128 × 128 block.
    Fp8,
    /// BF16 or F32.
    Unquantized,
}

/// What a checkpoint is and what that implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The release.
    pub name: ProfileName,
    /// How conversations become text.
    pub encoding: PromptEncoding,
    /// The effort prefixes.
    pub effort: EffortTable,
    /// The draft module there is.
    pub draft: Draft,
    /// How cached rows are to be stored.
    pub kv_packing: KvPacking,
    /// For own models: the name from `"fathom_model"`, if any.
    pub own_name: Option<String>,
    /// For own models: where they differ from the nearest release.
    pub differences: Vec<Difference>,
    /// The facts the profile was told by, one sentence each.
    pub evidence: Vec<String>,
}

/// Why the profile could not be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileError {
    /// No such profile.
    #[error(
        "there is no profile {found:?}; expected one of flash-april, pro-april, flash-base, pro-base, flash-dspark, \
         pro-dspark, flash-0731, pro-0813, own"
    )]
    UnknownName {
        /// What was asked for.
        found: String,
    },
    /// The files leave more than one release possible.
    #[error(
        "this checkpoint may be {}: {found}. The releases differ in their prompt encoding, so Fathom does not guess: \
         restore encoding/encoding_dsv4.py from the original download, or name the profile (--profile {})",
        join(candidates), candidates.first().map_or("NAME", |name| name.as_str())
    )]
    Ambiguous {
        /// What it may be.
        candidates: Vec<ProfileName>,
        /// The facts, separated by semicolons.
        found: String,
    },
    /// No release has this combination of facts.
    #[error(
        "no release of DeepSeek-V4-{size} fits this checkpoint: {found}. If it was converted or modified, say which \
         release it comes from (--profile NAME)"
    )]
    NoneFits {
        /// The size its configuration gives it.
        size: Size,
        /// The facts, separated by semicolons.
        found: String,
    },
    /// The profile asked for is of another size.
    #[error(
        "profile {chosen} was asked for, but config.json is {found}. Choose a profile of that size, or own"
    )]
    WrongSize {
        /// What was asked for.
        chosen: ProfileName,
        /// What the configuration is.
        found: String,
    },
}

fn join(names: &[ProfileName]) -> String {
    names
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(" or ")
}

/// The facts a profile is told by.
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    /// `None` when there are no tensors to look at.
    pub(crate) experts: Option<ExpertStorage>,
    pub(crate) draft: Draft,
    /// The encoder shipped with the checkpoint, if it could be told.
    pub(crate) encoder: Option<Encoder>,
    /// The user's choice.
    pub(crate) chosen: Option<ProfileName>,
    /// What `fathom quantize` recorded.
    pub(crate) recorded: Option<ProfileName>,
}

impl Facts<'_> {
    /// Tells the profile, or says why it cannot.
    pub(crate) fn profile(&self) -> Result<Profile, ProfileError> {
        let size = if self.config.own_name().is_some() {
            None
        } else {
            Size::of(self.config)
        };
        let name = match (self.chosen.or(self.recorded), size) {
            (Some(chosen), _) if chosen.size().is_some() && chosen.size() != size => {
                return Err(ProfileError::WrongSize {
                    chosen,
                    found: size
                        .map_or_else(|| "of no release's size".to_owned(), |size| format!("V4-{size}")),
                });
            }
            (Some(chosen), _) => chosen,
            (None, None) => ProfileName::Own,
            (None, Some(size)) => self.only_candidate(size)?,
        };
        let kind = name.kind();
        Ok(Profile {
            name,
            encoding: if kind == Some(Kind::Base) {
                PromptEncoding::Completion
            } else {
                PromptEncoding::V4
            },
            effort: if kind == Some(Kind::Official) {
                EffortTable::Official
            } else {
                EffortTable::Preview
            },
            draft: self.draft,
            kv_packing: if self.config.quantized {
                KvPacking::Fp8
            } else {
                KvPacking::Bf16
            },
            own_name: self.config.own_name().map(str::to_owned),
            differences: if kind.is_none() {
                architecture::differences(self.config)
            } else {
                Vec::new()
            },
            evidence: self.sentences(size),
        })
    }

    fn only_candidate(&self, size: Size) -> Result<ProfileName, ProfileError> {
        let candidates: Vec<_> = ProfileName::ALL
            .into_iter()
            .filter(|name| name.size() == Some(size) && name.kind().is_some_and(|kind| self.allows(kind)))
            .collect();
        match candidates.as_slice() {
            [only] => Ok(*only),
            [] => Err(ProfileError::NoneFits {
                size,
                found: self.sentences(Some(size)).join("; "),
            }),
            _ => Err(ProfileError::Ambiguous {
                found: self.sentences(Some(size)).join("; "),
                candidates,
            }),
        }
    }

    fn allows(&self, kind: Kind) -> bool {
        let by_experts = match self.experts {
            Some(ExpertStorage::Fp4) => kind != Kind::Base,
            Some(ExpertStorage::Fp8) => kind == Kind::Base,
            Some(ExpertStorage::Unquantized) | None => true,
        };
        let drafter_is_dspark = match self.draft {
            Draft::Mtp { .. } => false,
            Draft::Dspark { .. } => true,
            // Stripped, as transformers does it: the configuration still says which one there was.
            Draft::None => self.config.dspark.is_some(),
        };
        let by_draft = drafter_is_dspark == matches!(kind, Kind::Dspark | Kind::Official);
        let by_encoder = match self.encoder {
            Some(Encoder::Preview) => kind != Kind::Official,
            Some(Encoder::Official) => kind == Kind::Official,
            None => true,
        };
        by_experts && by_draft && by_encoder
    }

    fn sentences(&self, size: Option<Size>) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(chosen) = self.chosen {
            sentences.push(format!("the profile {chosen} was chosen by hand"));
        } else if let Some(recorded) = self.recorded {
            sentences.push(format!(
                "it was quantised from a checkpoint of profile {recorded}"
            ));
        }
        sentences.push(match (self.config.own_name(), size) {
            (Some(name), _) => format!("config.json names it one of our own models, {name:?}"),
            (None, Some(size)) => format!("config.json is that of V4-{size}"),
            (None, None) => "config.json matches no release (unreleased)".to_owned(),
        });
        if let Some(experts) = self.experts {
            sentences.push(
                match experts {
                    ExpertStorage::Fp4 => "its routed experts are stored as FP4",
                    ExpertStorage::Fp8 => "its routed experts are stored as FP8",
                    ExpertStorage::Unquantized => "its routed experts are not quantised",
                }
                .to_owned(),
            );
        }
        sentences.push(match (self.draft, &self.config.dspark) {
            (Draft::Mtp { blocks }, _) => format!("its draft module is MTP, {blocks} block(s)"),
            (Draft::Dspark { stages }, _) => format!("its draft module is DSpark, {stages} stages"),
            (Draft::None, Some(_)) => "it has no draft module, but config.json describes DSpark".to_owned(),
            (Draft::None, None) => {
                "it has no draft module, and config.json does not mention DSpark".to_owned()
            }
        });
        sentences.push(
            match self.encoder {
                Some(Encoder::Preview) => "encoding/encoding_dsv4.py is the preview's",
                Some(Encoder::Official) => "encoding/encoding_dsv4.py is the official releases'",
                None => "there is no known encoding/encoding_dsv4.py beside it",
            }
            .to_owned(),
        );
        sentences
    }
}
