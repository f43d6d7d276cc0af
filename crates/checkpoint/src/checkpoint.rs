//! A checkpoint: configuration, profile and tensors, addressed by their official names.

mod experts;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fathom_kernels::formats::grouped::{self, Bits};

use crate::config::Config;
use crate::data::Data;
use crate::dtype::Dtype;
use crate::error::CheckpointError;
use crate::layout::{ExpertModule, Layout, row_scale_name};
use crate::parts::{Kind, Part};
use crate::profile::{Draft, Encoder, ExpertStorage, Facts, Profile, ProfileName};
use crate::shards::{self, SINGLE_FILE, read_side_file};
use crate::tensor::{Encoding, FP4_BLOCK, FP8_BLOCK, Matrix, Tensor};

const CONFIG_FILE: &str = "config.json";
const TOKENIZER_FILE: &str = "tokenizer.json";
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// How to open a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// The profile, where the user names it; otherwise it is told from the files.
    pub profile: Option<ProfileName>,
}

/// The files of a checkpoint compiled into the program.
#[derive(Clone, Copy)]
pub struct EmbeddedParts {
    /// `config.json`.
    pub config: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `tokenizer_config.json`.
    pub tokenizer_config: &'static [u8],
    /// A safetensors file with every tensor.
    pub weights: &'static [u8],
}

/// An open checkpoint. Weights stay where they are, mapped or compiled in: opening reads headers only.
pub struct Checkpoint {
    config: Config,
    profile: Profile,
    layout: Layout,
    tensors: BTreeMap<String, Tensor>,
    origin: Origin,
}

enum Origin {
    Directory(PathBuf),
    Embedded(EmbeddedParts),
}

impl Checkpoint {
    /// Opens a checkpoint directory: `config.json`, and shards with their index or a single `model.safetensors`.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(dir, OpenOptions::default())
    }

    /// As [`open`](Self::open), with choices of the user.
    pub fn open_with(dir: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let metadata = std::fs::metadata(dir).map_err(|source| CheckpointError::Io {
            path: dir.to_owned(),
            source,
        })?;
        if !metadata.is_dir() {
            return Err(CheckpointError::NotADirectory { path: dir.to_owned() });
        }
        let config = Config::from_json(&required_file(dir, CONFIG_FILE)?)?;
        let encoder = read_side_file(dir, crate::profile::ENCODER_FILE)?;
        let encoder = encoder.and_then(|source| Encoder::of(&String::from_utf8_lossy(&source)));
        let tensors = shards::open(dir)?;
        Self::assemble(
            config,
            tensors,
            encoder,
            options,
            Origin::Directory(dir.to_owned()),
        )
    }

    /// Opens a checkpoint that is part of the program.
    pub fn from_embedded(parts: EmbeddedParts) -> Result<Self, CheckpointError> {
        let config = Config::from_json(parts.config)?;
        let tensors = shards::tensors_of(SINGLE_FILE, &Data::from(parts.weights))?.collect();
        Self::assemble(
            config,
            tensors,
            None,
            OpenOptions::default(),
            Origin::Embedded(parts),
        )
    }

    fn assemble(
        config: Config,
        tensors: BTreeMap<String, Tensor>,
        encoder: Option<Encoder>,
        options: OpenOptions,
        origin: Origin,
    ) -> Result<Self, CheckpointError> {
        let layout = Layout::detect(&tensors).ok_or_else(|| CheckpointError::UnknownLayout {
            count: tensors.len(),
            example: tensors
                .keys()
                .next()
                .cloned()
                .unwrap_or_else(|| "none".to_owned()),
        })?;
        let experts = expert_storage(&tensors, layout);
        let draft = draft_module(&tensors);
        let profile = Facts {
            config: &config,
            experts,
            draft,
            encoder,
            chosen: options.profile,
            recorded: config.quantization.and_then(|quantization| quantization.profile),
        }
        .profile()?;
        Ok(Self {
            config,
            profile,
            layout,
            tensors,
            origin,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What this checkpoint is.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// How its tensors are named.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How its routed experts are stored in the originals; `None` if the first one is missing or re-quantised.
    pub fn expert_storage(&self) -> Option<ExpertStorage> {
        expert_storage(&self.tensors, self.layout)
    }

    /// The directory it was opened from; `None` for an embedded one.
    pub fn directory(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Directory(dir) => Some(dir),
            Origin::Embedded(_) => None,
        }
    }

    /// The bytes of `tokenizer.json`.
    pub fn tokenizer_json(&self) -> Result<Cow<'_, [u8]>, CheckpointError> {
        match &self.origin {
            Origin::Directory(dir) => required_file(dir, TOKENIZER_FILE).map(Cow::Owned),
            Origin::Embedded(parts) => Ok(Cow::Borrowed(parts.tokenizer)),
        }
    }

    /// The bytes of `tokenizer_config.json`.
    pub fn tokenizer_config_json(&self) -> Result<Cow<'_, [u8]>, CheckpointError> {
        match &self.origin {
            Origin::Directory(dir) => required_file(dir, TOKENIZER_CONFIG_FILE).map(Cow::Owned),
            Origin::Embedded(parts) => Ok(Cow::Borrowed(parts.tokenizer_config)),
        }
    }

    /// Every tensor under its name in the file, in the order of names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether there is a tensor with this official name. Routed experts of the transformers layout have none.
    pub fn contains(&self, official_name: &str) -> bool {
        self.tensors.contains_key(&self.layout.tensor_name(official_name))
    }

    /// The weight matrix `[rows, cols]` of a module, for example `layers.3.attn.wq_a`, `layers.3.ffn.experts.7.w1`,
    /// `embed` or `head`.
    ///
    /// The tensor's type decides the encoding, never the configuration. Shape, type, and presence, shape and type of
    /// the scales are checked; the values are not looked at.
    pub fn matrix(&self, official_module: &str, rows: usize, cols: usize) -> Result<Matrix, CheckpointError> {
        if self.layout == Layout::Transformers
            && let Some(module) = ExpertModule::parse(official_module)
        {
            return self.fused_expert(&module, rows, cols);
        }
        let tied =
            official_module == "head" && self.config.tie_word_embeddings && !self.contains("head.weight");
        let module = if tied { "embed" } else { official_module };
        let name = self.layout.tensor_name(&format!("{module}.weight"));
        let tensor = self.tensor(&name)?;
        if tensor.dtype == Dtype::U8 && self.config.quantization.is_none() {
            return Err(CheckpointError::NotQuantized { tensor: name });
        }
        let scale = self.scale_of(&name, tensor.dtype)?;
        let row_scale = self.row_scale_of(&name, tensor.dtype)?;
        matrix_from(
            &name,
            tensor.clone(),
            scale.map(|(name, scale)| (name, scale.clone())),
            row_scale.map(|(name, scale)| (name, scale.clone())),
            rows,
            cols,
        )
    }

    /// The stored tensors a part consists of, under their names in the file: the weight and its scales, or the fused
    /// tensor it is a slice of. Empty if the part is missing.
    pub fn stored_under(&self, part: &Part) -> impl Iterator<Item = (&str, &Tensor)> {
        let weight = match (self.layout, ExpertModule::parse(&part.name), &part.kind) {
            (Layout::Transformers, Some(module), _) => module.fused_name(),
            (_, _, Kind::Projection { .. } | Kind::Expert { .. } | Kind::Dense { .. }) => {
                self.layout.tensor_name(&format!("{}.weight", part.name))
            }
            (_, _, Kind::Norm { .. } | Kind::Float { .. } | Kind::Table { .. }) => {
                self.layout.tensor_name(&part.name)
            }
        };
        let weight = self.tensors.get_key_value(&weight);
        let scale = weight.and_then(|(name, tensor)| {
            let (name, _) = self.scale_of(name, tensor.dtype).ok()??;
            self.tensors.get_key_value(&name)
        });
        let row_scale = weight.and_then(|(name, tensor)| {
            let (name, _) = self.row_scale_of(name, tensor.dtype).ok()??;
            self.tensors.get_key_value(&name)
        });
        weight
            .into_iter()
            .chain(scale)
            .chain(row_scale)
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, CheckpointError> {
        self.tensors
            .get(name)
            .ok_or_else(|| CheckpointError::MissingTensor {
                tensor: name.to_owned(),
            })
    }

    /// The scale tensor of a quantised `weight`; `None` if its type needs none.
    fn scale_of(&self, weight: &str, dtype: Dtype) -> Result<Option<(String, &Tensor)>, CheckpointError> {
        if !matches!(dtype, Dtype::F8E4M3 | Dtype::I8 | Dtype::U8) {
            return Ok(None);
        }
        let names = self.layout.scale_names(weight);
        for name in &names {
            if let Some(scale) = self.tensors.get(name) {
                return Ok(Some((name.clone(), scale)));
            }
        }
        let [expected, _] = names;
        Err(CheckpointError::MissingScale {
            tensor: weight.to_owned(),
            dtype,
            expected,
        })
    }

    /// The row scales of a grouped `weight`; `None` if its type has none.
    fn row_scale_of(&self, weight: &str, dtype: Dtype) -> Result<Option<(String, &Tensor)>, CheckpointError> {
        if dtype != Dtype::U8 {
            return Ok(None);
        }
        let name = row_scale_name(weight);
        match self.tensors.get(&name) {
            Some(scale) => Ok(Some((name, scale))),
            None => Err(CheckpointError::MissingScale {
                tensor: weight.to_owned(),
                dtype,
                expected: name,
            }),
        }
    }
}

/// Checks a weight and its scales against the logical shape `[rows, cols]` and joins them.
fn matrix_from(
    name: &str,
    weight: Tensor,
    scale: Option<(String, Tensor)>,
    row_scale: Option<(String, Tensor)>,
    rows: usize,
    cols: usize,
) -> Result<Matrix, CheckpointError> {
    let missing_scale = |dtype| CheckpointError::MissingScale {
        tensor: name.to_owned(),
        dtype,
        expected: "its scale tensor".to_owned(),
    };
    let encoding = match weight.dtype {
        Dtype::F32 | Dtype::Bf16 => {
            values::expect_shape(name, &weight, &[rows, cols])?;
            if weight.dtype == Dtype::F32 {
                Encoding::F32
            } else {
                Encoding::Bf16
            }
        }
        Dtype::F8E4M3 => {
            values::expect_shape(name, &weight, &[rows, cols])?;
            let (scale_name, scale) = scale.ok_or_else(|| missing_scale(Dtype::F8E4M3))?;
            values::expect_shape(
                &scale_name,
                &scale,
                &[rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)],
            )?;
            expect_scale_dtype(
                &scale,
                &scale_name,
                &[Dtype::F8E8M0, Dtype::F32],
                "F8_E8M0 or F32 (FP8 scales)",
            )?;
            Encoding::Fp8 { scale }
        }
        Dtype::I8 => {
            if !cols.is_multiple_of(FP4_BLOCK) {
                return Err(CheckpointError::Dtype {
                    tensor: name.to_owned(),
                    expected: "BF16, F32 or F8_E4M3, since its rows are no multiple of 32 elements",
                    found: Dtype::I8,
                });
            }
            values::expect_shape(name, &weight, &[rows, cols / 2])?;
            let (scale_name, scale) = scale.ok_or_else(|| missing_scale(Dtype::I8))?;
            values::expect_shape(&scale_name, &scale, &[rows, cols / FP4_BLOCK])?;
            expect_scale_dtype(&scale, &scale_name, &[Dtype::F8E8M0], "F8_E8M0 (FP4 scales)")?;
            Encoding::Fp4 { scale }
        }
        Dtype::U8 => {
            let row_bytes = weight.shape.get(1).copied().unwrap_or(0);
            let bits = Bits::of_row(cols, row_bytes);
            let (Some(bits), [stored_rows, _]) = (bits, weight.shape.as_slice()) else {
                return Err(CheckpointError::Shape {
                    tensor: name.to_owned(),
                    expected: format!(
                        "[{rows}, {cols} · bits / 8] for grouped integers of 4, 5, 6 or 8 bits, and a multiple of 128 \
                         columns"
                    ),
                    found: weight.shape,
                });
            };
            if *stored_rows != rows {
                return Err(CheckpointError::Shape {
                    tensor: name.to_owned(),
                    expected: format!("[{rows}, {row_bytes}]"),
                    found: weight.shape,
                });
            }
            let (scale_name, scale) = scale.ok_or_else(|| missing_scale(Dtype::U8))?;
            values::expect_shape(&scale_name, &scale, &[rows, cols / grouped::GROUP])?;
            expect_scale_dtype(
                &scale,
                &scale_name,
                &[Dtype::U8],
                "U8 (scales of grouped integers)",
            )?;
            let (row_scale_name, row_scale) = row_scale.ok_or_else(|| missing_scale(Dtype::U8))?;
            values::expect_shape(&row_scale_name, &row_scale, &[rows])?;
            expect_scale_dtype(
                &row_scale,
                &row_scale_name,
                &[Dtype::F32],
                "F32 (row scales of grouped integers)",
            )?;
            Encoding::Grouped {
                bits,
                scale,
                row_scale,
            }
        }
        found @ (Dtype::F8E8M0 | Dtype::I32 | Dtype::I64) => {
            return Err(CheckpointError::Dtype {
                tensor: name.to_owned(),
                expected: "BF16, F32, F8_E4M3, I8 (packed FP4) or U8 (grouped integers)",
                found,
            });
        }
    };
    Ok(Matrix {
        rows,
        cols,
        data: weight.data,
        encoding,
    })
}

fn expect_scale_dtype(
    scale: &Tensor,
    name: &str,
    accepted: &[Dtype],
    expected: &'static str,
) -> Result<(), CheckpointError> {
    if accepted.contains(&scale.dtype) {
        return Ok(());
    }
    Err(CheckpointError::Dtype {
        tensor: name.to_owned(),
        expected,
        found: scale.dtype,
    })
}

fn required_file(dir: &Path, name: &'static str) -> Result<Vec<u8>, CheckpointError> {
    read_side_file(dir, name)?.ok_or_else(|| CheckpointError::MissingFile {
        file: name,
        dir: dir.to_owned(),
    })
}

fn expert_storage(tensors: &BTreeMap<String, Tensor>, layout: Layout) -> Option<ExpertStorage> {
    let first = match layout {
        Layout::Official => "layers.0.ffn.experts.0.w1.weight",
        Layout::Transformers => "model.layers.0.mlp.experts.gate_up_proj",
        Layout::Saved => "model.layers.0.ffn.experts.0.w1.weight",
    };
    match tensors.get(first)?.dtype {
        Dtype::I8 => Some(ExpertStorage::Fp4),
        Dtype::F8E4M3 => Some(ExpertStorage::Fp8),
        Dtype::F32 | Dtype::Bf16 => Some(ExpertStorage::Unquantized),
        Dtype::F8E8M0 | Dtype::U8 | Dtype::I32 | Dtype::I64 => None,
    }
}

/// Tells the draft module by the tensors only it has: `enorm` is MTP's, `main_norm` DSpark's (spec §15.20).
fn draft_module(tensors: &BTreeMap<String, Tensor>) -> Draft {
    let blocks = (0..tensors.len())
        .take_while(|block| tensors.contains_key(&format!("mtp.{block}.attn_norm.weight")))
        .count();
    if tensors.contains_key("mtp.0.main_norm.weight") {
        Draft::Dspark { stages: blocks }
    } else if tensors.contains_key("mtp.0.enorm.weight") {
        Draft::Mtp { blocks }
    } else {
        Draft::None
    }
}
