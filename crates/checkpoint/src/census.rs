//! How many tensors, parameters and bytes a model has, by its configuration alone.

use std::collections::BTreeMap;

use fathom_kernels::formats::grouped;

use crate::config::Config;
use crate::parts::{Group, Kind, Part, parts};
use crate::profile::{Draft, ExpertStorage};
use crate::quantization::{Quantization, WeightFormat};
use crate::tensor::{FP4_BLOCK, FP8_BLOCK};

/// How the weights of a model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Whether projections are FP8 with UE8M0 scales; otherwise BF16.
    pub quantized: bool,
    /// How routed experts are stored. FP8 experts carry F32 scales, as in -Base (spec §10.5).
    pub experts: ExpertStorage,
    /// What was re-quantised after that.
    pub requantized: Quantization,
}

impl Storage {
    /// The official instruct checkpoints: FP8 projections, FP4 experts.
    pub const OFFICIAL: Self = Self {
        quantized: true,
        experts: ExpertStorage::Fp4,
        requantized: Quantization::NONE,
    };

    /// Tensors and bytes one part takes.
    fn size_of(self, part: &Part) -> (u64, u64) {
        let elements = part.kind.elements();
        let blocks =
            |rows: &usize, cols: &usize| rows.div_ceil(FP8_BLOCK) as u64 * cols.div_ceil(FP8_BLOCK) as u64;
        if let Kind::Projection { rows, cols } | Kind::Expert { rows, cols } | Kind::Dense { rows, cols } =
            &part.kind
        {
            match self.requantized.format_of(part) {
                WeightFormat::Keep => {}
                WeightFormat::Fp8 => return (2, elements + blocks(rows, cols)),
                WeightFormat::Grouped(bits) => {
                    let row = bits.row_bytes(*cols) + cols / grouped::GROUP + size_of::<f32>();
                    return (3, *rows as u64 * row as u64);
                }
            }
        }
        match &part.kind {
            Kind::Projection { rows, cols } if self.quantized => (2, elements + blocks(rows, cols)),
            Kind::Expert { rows, cols } => match self.experts {
                ExpertStorage::Fp4 => (
                    2,
                    *rows as u64 * (cols.div_ceil(2) as u64 + cols.div_ceil(FP4_BLOCK) as u64),
                ),
                ExpertStorage::Fp8 => (2, elements + 4 * blocks(rows, cols)),
                ExpertStorage::Unquantized => (1, 2 * elements),
            },
            Kind::Projection { .. } | Kind::Dense { .. } | Kind::Norm { .. } => (1, 2 * elements),
            Kind::Float { .. } => (1, 4 * elements),
            Kind::Table { .. } => (1, 8 * elements),
        }
    }
}

/// Sizes of one group, or of a whole model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tensors in the files, scales included.
    pub tensors: u64,
    /// Parameters: elements of weights, without scales and without routing tables.
    pub parameters: u64,
    /// Bytes in the files, scales included.
    pub bytes: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.tensors += other.tensors;
        self.parameters += other.parameters;
        self.bytes += other.bytes;
    }
}

/// Sizes of a model by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Groups that have at least one tensor.
    pub groups: BTreeMap<Group, Tally>,
    /// Share of the routed experts that one token touches, as selected / all.
    routed: (u64, u64),
}

impl Census {
    /// Counts a model that is stored in a given way, without looking at any file.
    pub fn of(config: &Config, draft: Draft, storage: Storage) -> Self {
        let mut census = Self::empty(config);
        for part in parts(config, draft) {
            let (tensors, bytes) = storage.size_of(&part);
            census.add(&part, tensors, bytes);
        }
        census
    }

    pub(crate) fn empty(config: &Config) -> Self {
        let routed = (config.num_experts_per_tok as u64, config.n_routed_experts as u64);
        Self {
            groups: BTreeMap::new(),
            routed,
        }
    }

    pub(crate) fn add(&mut self, part: &Part, tensors: u64, bytes: u64) {
        let parameters = if matches!(part.kind, Kind::Table { .. }) {
            0
        } else {
            part.kind.elements()
        };
        *self.groups.entry(part.group).or_default() += Tally {
            tensors,
            parameters,
            bytes,
        };
    }

    /// Sizes of one group.
    pub fn group(&self, group: Group) -> Tally {
        self.groups.get(&group).copied().unwrap_or_default()
    }

    /// Everything, the draft module included.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.groups.values() {
            total += *tally;
        }
        total
    }

    /// Everything but the draft module.
    pub fn backbone(&self) -> Tally {
        let (total, draft) = (self.total(), self.group(Group::Draft));
        Tally {
            tensors: total.tensors - draft.tensors,
            parameters: total.parameters - draft.parameters,
            bytes: total.bytes - draft.bytes,
        }
    }

    /// Backbone parameters one token is multiplied with, the embedding table counted in full as is usual.
    pub fn active_parameters(&self) -> u64 {
        let experts = self.group(Group::RoutedExperts).parameters;
        self.backbone().parameters - experts + self.routed_share(experts)
    }

    /// [`active_parameters`](Self::active_parameters) without the embedding table.
    pub fn active_parameters_without_embedding(&self) -> u64 {
        self.active_parameters() - self.group(Group::Embedding).parameters
    }

    fn routed_share(&self, amount: u64) -> u64 {
        let (selected, all) = self.routed;
        (u128::from(amount) * u128::from(selected) / u128::from(all.max(1))) as u64
    }

    /// Bytes of weights one decoded token reads: everything but the experts it does not select, the draft module and
    /// the rows of the embedding table and of the routing tables it does not look up.
    pub fn decode_weight_bytes(&self, config: &Config) -> u64 {
        let bytes = |group| self.group(group).bytes;
        let experts = bytes(Group::RoutedExperts);
        let looked_up = bytes(Group::Embedding) + bytes(Group::RoutingTables);
        let always = self.backbone().bytes - experts - looked_up;
        // A tied head reads the whole embedding table.
        let head = if config.tie_word_embeddings {
            bytes(Group::Embedding)
        } else {
            0
        };
        always + head + self.routed_share(experts) + looked_up / config.vocab_size.max(1) as u64
    }
}
