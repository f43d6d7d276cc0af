//! Every parameter a model of a given configuration consists of (spec §10.2).

use crate::config::{Attention, Config, Dspark, Layer, Routing};
use crate::profile::Draft;

/// A parameter of the model: one tensor, or a weight with its scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Official name: of the module for matrices (`layers.0.attn.wq_a`), of the tensor for everything else.
    pub name: String,
    /// What it is part of.
    pub group: Group,
    /// Its kind and logical shape.
    pub kind: Kind,
}

/// The kind and logical shape of a [`Part`]; the kind says how the releases store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix stored as FP8 with UE8M0 scales.
    Projection {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// A matrix of a routed expert, stored as FP4 (FP8 in -Base).
    Expert {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// A matrix stored as BF16.
    Dense {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// A norm's weight, stored as BF16.
    Norm {
        /// Elements.
        len: usize,
    },
    /// A small tensor stored as F32.
    Float {
        /// Shape.
        shape: Vec<usize>,
    },
    /// The table from token id to expert ids, stored as I64; not a parameter in the usual count.
    Table {
        /// Token ids.
        rows: usize,
        /// Experts per token.
        cols: usize,
    },
}

impl Kind {
    /// Number of elements, whatever the storage.
    pub fn elements(&self) -> u64 {
        match self {
            Self::Projection { rows, cols }
            | Self::Expert { rows, cols }
            | Self::Dense { rows, cols }
            | Self::Table { rows, cols } => *rows as u64 * *cols as u64,
            Self::Norm { len } => *len as u64,
            Self::Float { shape } => shape.iter().map(|&size| size as u64).product(),
        }
    }
}

/// What a parameter is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The embedding table.
    Embedding,
    /// Attention projections, their norms and the sinks.
    Attention,
    /// Compressors of KV rows.
    Compressor,
    /// The indexer with its own compressor.
    Indexer,
    /// Router weights and biases.
    Router,
    /// Tables from token id to expert ids.
    RoutingTables,
    /// Shared experts.
    SharedExpert,
    /// Routed experts.
    RoutedExperts,
    /// Hyper-connections.
    HyperConnections,
    /// Norms before attention, before the experts and before the head.
    Norms,
    /// The output head.
    Head,
    /// MTP blocks or DSpark stages.
    Draft,
}

impl Group {
    /// Every group, in the order of the forward pass.
    pub const ALL: [Self; 12] = [
        Self::Embedding,
        Self::Attention,
        Self::Compressor,
        Self::Indexer,
        Self::Router,
        Self::RoutingTables,
        Self::SharedExpert,
        Self::RoutedExperts,
        Self::HyperConnections,
        Self::Norms,
        Self::Head,
        Self::Draft,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::Compressor => "compressors",
            Self::Indexer => "indexers",
            Self::Router => "routers",
            Self::RoutingTables => "routing tables",
            Self::SharedExpert => "shared experts",
            Self::RoutedExperts => "routed experts",
            Self::HyperConnections => "hyper-connections",
            Self::Norms => "norms",
            Self::Head => "head",
            Self::Draft => "draft module",
        }
    }
}

/// The draft module a configuration announces, whether or not its tensors are there.
pub fn announced_draft(config: &Config) -> Draft {
    match (&config.dspark, config.num_nextn_predict_layers) {
        (Some(dspark), _) => Draft::Dspark {
            stages: dspark.stages,
        },
        (None, 0) => Draft::None,
        (None, blocks) => Draft::Mtp { blocks },
    }
}

/// Every part of a model, made one block at a time.
pub fn parts(config: &Config, draft: Draft) -> impl Iterator<Item = Part> + '_ {
    let blocks = config.layers.iter().enumerate().flat_map(|(index, layer)| {
        let mut list = List {
            config,
            parts: Vec::new(),
            draft: false,
        };
        list.block(&format!("layers.{index}"), *layer);
        list.parts
    });
    global(config)
        .into_iter()
        .chain(blocks)
        .chain(draft_parts(config, draft))
}

fn global(config: &Config) -> Vec<Part> {
    let mut list = List {
        config,
        parts: Vec::new(),
        draft: false,
    };
    let (vocab, d) = (config.vocab_size, config.hidden_size);
    list.add("embed", Group::Embedding, Kind::Dense { rows: vocab, cols: d });
    list.add("norm.weight", Group::Norms, Kind::Norm { len: d });
    list.head_mix("");
    if !config.tie_word_embeddings {
        list.add("head", Group::Head, Kind::Dense { rows: vocab, cols: d });
    }
    list.parts
}

fn draft_parts(config: &Config, draft: Draft) -> Vec<Part> {
    let mut list = List {
        config,
        parts: Vec::new(),
        draft: true,
    };
    let d = config.hidden_size;
    let block = Layer {
        attention: Attention::Window,
        routing: Routing::Biased,
    };
    match (draft, &config.dspark) {
        (Draft::Mtp { blocks }, _) => {
            for index in 0..blocks {
                let prefix = format!("mtp.{index}");
                list.block(&prefix, block);
                for name in ["e_proj", "h_proj"] {
                    list.add(
                        &format!("{prefix}.{name}"),
                        Group::Draft,
                        Kind::Projection { rows: d, cols: d },
                    );
                }
                for name in ["enorm", "hnorm", "norm"] {
                    list.add(
                        &format!("{prefix}.{name}.weight"),
                        Group::Draft,
                        Kind::Norm { len: d },
                    );
                }
                list.head_mix(&format!("{prefix}."));
            }
        }
        (Draft::Dspark { stages }, Some(dspark)) => {
            for index in 0..stages {
                list.block(&format!("mtp.{index}"), block);
            }
            list.dspark_ends(dspark, stages);
        }
        // Without its settings the sizes of a DSpark head are unknown; nothing can be expected.
        (Draft::None | Draft::Dspark { .. }, _) => {}
    }
    list.parts
}

struct List<'a> {
    config: &'a Config,
    parts: Vec<Part>,
    /// Everything added belongs to the draft module.
    draft: bool,
}

impl List<'_> {
    fn add(&mut self, name: &str, group: Group, kind: Kind) {
        let group = if self.draft { Group::Draft } else { group };
        self.parts.push(Part {
            name: name.to_owned(),
            group,
            kind,
        });
    }

    /// The mixing of streams before a head (spec §5.7).
    fn head_mix(&mut self, prefix: &str) {
        let (m, d) = (self.config.hc_mult, self.config.hidden_size);
        for (name, shape) in [("fn", vec![m, m * d]), ("base", vec![m]), ("scale", vec![1])] {
            self.add(
                &format!("{prefix}hc_head_{name}"),
                Group::HyperConnections,
                Kind::Float { shape },
            );
        }
    }

    fn block(&mut self, prefix: &str, layer: Layer) {
        let c = self.config;
        let (d, m) = (c.hidden_size, c.hc_mult);
        for site in ["attn", "ffn"] {
            self.add(
                &format!("{prefix}.{site}_norm.weight"),
                Group::Norms,
                Kind::Norm { len: d },
            );
            let mixes = (2 + m) * m;
            for (name, shape) in [
                ("fn", vec![mixes, m * d]),
                ("base", vec![mixes]),
                ("scale", vec![3]),
            ] {
                self.add(
                    &format!("{prefix}.hc_{site}_{name}"),
                    Group::HyperConnections,
                    Kind::Float { shape },
                );
            }
        }
        self.attention(&format!("{prefix}.attn"), layer.attention);
        self.experts(&format!("{prefix}.ffn"), layer.routing);
    }

    fn attention(&mut self, prefix: &str, attention: Attention) {
        let c = self.config;
        let (d, heads, head_dim) = (c.hidden_size, c.num_attention_heads, c.head_dim);
        let group = Group::Attention;
        self.add(
            &format!("{prefix}.attn_sink"),
            group,
            Kind::Float { shape: vec![heads] },
        );
        for (name, len) in [("q_norm", c.q_lora_rank), ("kv_norm", head_dim)] {
            self.add(&format!("{prefix}.{name}.weight"), group, Kind::Norm { len });
        }
        let latent = c.o_groups * c.o_lora_rank;
        for (name, rows, cols) in [
            ("wq_a", c.q_lora_rank, d),
            ("wq_b", heads * head_dim, c.q_lora_rank),
            ("wkv", head_dim, d),
            ("wo_a", latent, heads * head_dim / c.o_groups),
            ("wo_b", d, latent),
        ] {
            self.add(
                &format!("{prefix}.{name}"),
                group,
                Kind::Projection { rows, cols },
            );
        }
        match attention {
            Attention::Window => {}
            Attention::Heavy { ratio } => {
                self.compressor(
                    &format!("{prefix}.compressor"),
                    Group::Compressor,
                    head_dim,
                    head_dim,
                    ratio,
                );
            }
            Attention::Sparse { ratio } => {
                // Overlapping windows keep two halves of every row.
                self.compressor(
                    &format!("{prefix}.compressor"),
                    Group::Compressor,
                    head_dim,
                    2 * head_dim,
                    ratio,
                );
                let indexer = format!("{prefix}.indexer");
                let (key, index_heads) = (c.index_head_dim, c.index_n_heads);
                let queries = Kind::Projection {
                    rows: index_heads * key,
                    cols: c.q_lora_rank,
                };
                self.add(&format!("{indexer}.wq_b"), Group::Indexer, queries);
                let weights = Kind::Dense {
                    rows: index_heads,
                    cols: d,
                };
                self.add(&format!("{indexer}.weights_proj"), Group::Indexer, weights);
                self.compressor(
                    &format!("{indexer}.compressor"),
                    Group::Indexer,
                    key,
                    2 * key,
                    ratio,
                );
            }
        }
    }

    fn compressor(&mut self, prefix: &str, group: Group, len: usize, width: usize, ratio: usize) {
        let cols = self.config.hidden_size;
        for name in ["wkv", "wgate"] {
            self.add(
                &format!("{prefix}.{name}"),
                group,
                Kind::Dense { rows: width, cols },
            );
        }
        self.add(
            &format!("{prefix}.ape"),
            group,
            Kind::Float {
                shape: vec![ratio, width],
            },
        );
        self.add(&format!("{prefix}.norm.weight"), group, Kind::Norm { len });
    }

    fn experts(&mut self, prefix: &str, routing: Routing) {
        let c = self.config;
        let (d, inter, experts) = (c.hidden_size, c.moe_intermediate_size, c.n_routed_experts);
        self.add(
            &format!("{prefix}.gate"),
            Group::Router,
            Kind::Dense {
                rows: experts,
                cols: d,
            },
        );
        match routing {
            Routing::Hash => {
                let table = Kind::Table {
                    rows: c.vocab_size,
                    cols: c.num_experts_per_tok,
                };
                self.add(&format!("{prefix}.gate.tid2eid"), Group::RoutingTables, table);
            }
            Routing::Biased => {
                self.add(
                    &format!("{prefix}.gate.bias"),
                    Group::Router,
                    Kind::Float { shape: vec![experts] },
                );
            }
        }
        // Several shared experts are stored as one that is as wide as all of them.
        let shared = inter * c.n_shared_experts;
        for (name, rows, cols) in [("w1", shared, d), ("w2", d, shared), ("w3", shared, d)] {
            let kind = Kind::Projection { rows, cols };
            self.add(
                &format!("{prefix}.shared_experts.{name}"),
                Group::SharedExpert,
                kind,
            );
        }
        for expert in 0..experts {
            for (name, rows, cols) in [("w1", inter, d), ("w2", d, inter), ("w3", inter, d)] {
                let kind = Kind::Expert { rows, cols };
                self.add(
                    &format!("{prefix}.experts.{expert}.{name}"),
                    Group::RoutedExperts,
                    kind,
                );
            }
        }
    }

    /// What the first and the last DSpark stage have beyond a block (spec §10.2).
    fn dspark_ends(&mut self, dspark: &Dspark, stages: usize) {
        let (d, vocab, rank) = (
            self.config.hidden_size,
            self.config.vocab_size,
            dspark.markov_rank,
        );
        let taps = dspark.target_layer_ids.len();
        self.add(
            "mtp.0.main_proj",
            Group::Draft,
            Kind::Projection {
                rows: d,
                cols: taps * d,
            },
        );
        self.add("mtp.0.main_norm.weight", Group::Draft, Kind::Norm { len: d });
        let last = format!("mtp.{}", stages.saturating_sub(1));
        self.add(
            &format!("{last}.norm.weight"),
            Group::Draft,
            Kind::Norm { len: d },
        );
        self.head_mix(&format!("{last}."));
        for name in ["markov_w1", "markov_w2"] {
            let kind = Kind::Dense {
                rows: vocab,
                cols: rank,
            };
            self.add(&format!("{last}.markov_head.{name}"), Group::Draft, kind);
        }
        self.add(
            &format!("{last}.confidence_head.proj"),
            Group::Draft,
            Kind::Dense {
                rows: 1,
                cols: d + rank,
            },
        );
    }
}
