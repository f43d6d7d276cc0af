//! Random values for every part of a model, stored as the official releases store them (spec §10).

use fathom_checkpoint::{Config, FP4_BLOCK, FP8_BLOCK, Group, Kind, Part, announced_draft, parts};
use fathom_kernels::formats::{bf16, e2m1, e4m3, ue8m0};

use super::shard::Shard;
use crate::random::Random;

/// Standard deviation of E4M3 codes before their scale: far from the largest value, 448, and from the subnormals.
const E4M3_DEVIATION: f32 = 64.0;

/// Experts multiply two projections, which makes their output smaller than their input; this makes up for some of it.
const EXPERT_GAIN: f32 = 1.5;

/// Standard deviation of logits.
const LOGITS_DEVIATION: f32 = 2.0;

/// Every tensor of a model.
pub(super) fn shard(config: &Config, seed: u64) -> Vec<u8> {
    let mut maker = Maker {
        config,
        seed,
        shard: Shard::new(),
    };
    for part in parts(config, announced_draft(config)) {
        maker.add(part);
    }
    maker.shard.finish()
}

struct Maker<'a> {
    config: &'a Config,
    seed: u64,
    shard: Shard,
}

impl Maker<'_> {
    fn add(&mut self, part: Part) {
        let name = part.name;
        match part.kind {
            Kind::Projection { rows, cols } => {
                let gain = if name.contains(".shared_experts.") {
                    EXPERT_GAIN
                } else {
                    1.0
                };
                self.fp8(&name, rows, cols, gain);
            }
            Kind::Expert { rows, cols } => self.fp4(&name, rows, cols),
            Kind::Dense { rows, cols } => {
                let gain = match part.group {
                    Group::Embedding => (cols as f32).sqrt(),
                    Group::Head => LOGITS_DEVIATION,
                    _ => 1.0,
                };
                self.bf16(&format!("{name}.weight"), &[rows, cols], 0.0, gain * unit(cols));
            }
            Kind::Norm { len } => self.bf16(&name, &[len], 1.0, 0.1),
            Kind::Float { shape } => {
                let (mean, deviation) = float_spread(&name, &shape);
                self.f32(&name, &shape, mean, deviation);
            }
            Kind::Table { rows, cols } => self.expert_table(&name, rows, cols),
        }
    }

    fn random(&self, tensor: &str) -> Random {
        Random::named(self.seed, tensor)
    }

    fn fp8(&mut self, module: &str, rows: usize, cols: usize, gain: f32) {
        let name = format!("{module}.weight");
        let mut random = self.random(&name);
        self.shard.add(name, "F8_E4M3", &[rows, cols], |data| {
            data.extend((0..rows * cols).map(|_| e4m3::encode(E4M3_DEVIATION * random.normal())));
        });
        let shape = [rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)];
        self.scales(module, shape, gain * unit(cols) / E4M3_DEVIATION);
    }

    /// Uniformly drawn codes: all sixteen occur.
    fn fp4(&mut self, module: &str, rows: usize, cols: usize) {
        let name = format!("{module}.weight");
        let bytes = cols.div_ceil(2);
        let mut random = self.random(&name);
        self.shard.add(name, "I8", &[rows, bytes], |data| {
            let end = data.len() + rows * bytes;
            while data.len() < end {
                let eight = random.next_u64().to_le_bytes();
                data.extend_from_slice(&eight[..(end - data.len()).min(8)]);
            }
        });
        let squares: f32 = e2m1::VALUES.iter().map(|value| value * value).sum();
        let deviation = (squares / e2m1::VALUES.len() as f32).sqrt();
        let shape = [rows, cols.div_ceil(FP4_BLOCK)];
        self.scales(module, shape, EXPERT_GAIN * unit(cols) / deviation);
    }

    /// UE8M0 scales: the power of two nearest to `scale`, its half or its double.
    fn scales(&mut self, module: &str, shape: [usize; 2], scale: f32) {
        let name = format!("{module}.scale");
        let nearest = ue8m0::ceil(scale * std::f32::consts::FRAC_1_SQRT_2);
        let mut random = self.random(&name);
        self.shard.add(name, "F8_E8M0", &shape, |data| {
            data.extend((0..shape[0] * shape[1]).map(|_| nearest - 1 + random.below(3) as u8));
        });
    }

    fn bf16(&mut self, name: &str, shape: &[usize], mean: f32, deviation: f32) {
        let mut random = self.random(name);
        self.shard.add(name.to_owned(), "BF16", shape, |data| {
            for _ in 0..shape.iter().product() {
                let value = mean + deviation * random.normal();
                data.extend_from_slice(&bf16::to_bits(value).to_le_bytes());
            }
        });
    }

    fn f32(&mut self, name: &str, shape: &[usize], mean: f32, deviation: f32) {
        let mut random = self.random(name);
        self.shard.add(name.to_owned(), "F32", shape, |data| {
            for _ in 0..shape.iter().product() {
                data.extend_from_slice(&(mean + deviation * random.normal()).to_le_bytes());
            }
        });
    }

    /// `cols` different experts for every token.
    fn expert_table(&mut self, name: &str, rows: usize, cols: usize) {
        let all = self.config.n_routed_experts;
        let mut experts: Vec<i64> = (0..all as i64).collect();
        let mut random = self.random(name);
        self.shard.add(name.to_owned(), "I64", &[rows, cols], |data| {
            for _ in 0..rows {
                // The first steps of a shuffle: the order that earlier rows left behind does not matter.
                for i in 0..cols {
                    experts.swap(i, random.between(i, all - 1));
                    data.extend_from_slice(&experts[i].to_le_bytes());
                }
            }
        });
    }
}

/// The deviation of weights that give an output as large as the input.
fn unit(cols: usize) -> f32 {
    1.0 / (cols as f32).sqrt()
}

/// Mean and standard deviation of a float32 tensor.
fn float_spread(name: &str, shape: &[usize]) -> (f32, f32) {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    match leaf {
        "attn_sink" => (0.0, 1.0),
        "ape" => (0.0, 0.5),
        // Router bias: enough to change choices, not enough to make them.
        "bias" => (0.0, 0.1),
        _ if leaf.ends_with("_fn") => (0.0, unit(shape.last().copied().unwrap_or(1))),
        _ if leaf.ends_with("_scale") => (1.0, 0.1),
        // Hyper-connections' bases.
        _ => (0.0, 0.5),
    }
}
