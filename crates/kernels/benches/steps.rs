//! `cargo bench -p fathom-kernels --bench steps`: the small steps between the matrix products at Flash's sizes, one
//! token and a chunk of 512, with their share of the rate at which bytes can be read. `-- NAME` runs those with NAME in
//! their name.
#![allow(clippy::print_stdout)]

mod common;

use common::{Limits, noise, time};
use fathom_kernels::bf16::Bf16Inputs;
use fathom_kernels::experts::{Router, Selection, combine, swiglu};
use fathom_kernels::hyper::{self, HyperShape, HyperSite};
use fathom_kernels::norm::{rms_norm, rms_norm_into};
use fathom_kernels::quant::{hadamard_e2m1_round_trip, kv_round_trip};
use fathom_kernels::rope::{RotationTable, Turn, frequencies, rotate};
use fathom_kernels::team::Team;

const D: usize = 4096;
const STREAMS: usize = 4;
const HEADS: usize = 64;
const HEAD_DIM: usize = 512;
const LATENT: usize = 1024;
const ROPE: usize = 64;
const EXPERTS: usize = 256;
const TOP: usize = 6;
const INNER: usize = 2048;
const GROUPED: usize = 8192;
const INDEX_DIM: usize = 128;

fn main() {
    let mut team = Team::with_all_cores();
    let limits = Limits::measure(&mut team);
    println!(
        "{} threads; second-level caches {:.0} GB/s, memory {:.1} GB/s",
        team.threads(),
        limits.cache / 1e9,
        limits.memory / 1e9
    );
    for rows in [1, 512] {
        Steps {
            team: &mut team,
            limits: &limits,
            rows,
            total: 0.0,
        }
        .all();
    }
}

struct Steps<'a> {
    team: &'a mut Team,
    limits: &'a Limits,
    rows: usize,
    /// Seconds of everything so far in four layers.
    total: f64,
}

impl Steps<'_> {
    /// Times one step that reads and writes `floats` values a row, `times` times in four layers.
    fn step(&mut self, name: &str, times: usize, floats: usize, mut work: impl FnMut(&mut Team)) {
        if !common::chosen(name) {
            return;
        }
        let time = time(|| work(self.team));
        let bytes = 4.0 * (floats * self.rows) as f64;
        // What four megabytes hold came from a cache, as it does in a step of the model.
        let (limit, of) = if bytes < 4e6 {
            (self.limits.cache, "cache")
        } else {
            (self.limits.memory, "memory")
        };
        self.total += times as f64 * time.best;
        println!(
            "  {name:<28} {:>10.2} us (median {:>10.2}), {:>6.3} a row, {:>5.1} GB/s, {:>3.0} % of {of}",
            time.best * 1e6,
            time.median * 1e6,
            time.best * 1e6 / self.rows as f64,
            bytes / time.best / 1e9,
            100.0 * bytes / time.best / limit,
        );
    }

    fn all(mut self) {
        let rows = self.rows;
        println!("{rows} row(s)");
        let x = noise(rows * HEADS * HEAD_DIM);
        let ones = |n| vec![1.0_f32; n];

        let shape = HyperShape {
            streams: STREAMS,
            width: D,
            sinkhorn_iters: 20,
            eps: 1e-6,
            norm_eps: 1e-6,
            round: true,
        };
        let site = HyperSite {
            base: noise(shape.mix_width()),
            scale: [0.1; 3],
        };
        let (mut streams, mut mix) = (noise(rows * STREAMS * D), noise(rows * shape.mix_width()));
        let (mut u, y) = (ones(rows * D), noise(rows * D));
        self.step("hyper::read", 8, STREAMS * D + D, |team| {
            hyper::read(team, shape, &site, &streams, &mut mix, &mut u);
        });
        self.step("hyper::write", 8, 2 * STREAMS * D + D, |team| {
            assert!(hyper::write(team, shape, &mix, &y, &mut streams));
        });
        let mut z = noise(rows * STREAMS);
        self.step("hyper::read_head", 1, STREAMS * D + D, |team| {
            hyper::read_head(team, shape, &[0.1; STREAMS], 0.1, &streams, &mut z, &mut u);
        });

        let weight = ones(HEADS * HEAD_DIM);
        let mut out = ones(rows * HEADS * HEAD_DIM);
        let mut inputs = Bf16Inputs::with_capacity(rows * TOP, D);
        self.step("norm into, hidden", 8, 2 * D, |team| {
            rms_norm_into(
                team,
                &x[..rows * D],
                D,
                Some(&weight[..D]),
                1e-6,
                true,
                &mut out[..rows * D],
            );
        });
        self.step("through E4M3, hidden", 8, 2 * D, |team| {
            inputs.quantise(team, &x[..rows * D], D);
        });
        self.step("norm, latent", 4, 2 * LATENT, |team| {
            rms_norm(
                team,
                &mut out[..rows * LATENT],
                LATENT,
                Some(&weight[..LATENT]),
                1e-6,
                true,
            );
        });
        self.step("through E4M3, latent", 4, 2 * LATENT, |team| {
            inputs.quantise(team, &x[..rows * LATENT], LATENT);
        });
        self.step("norm, query heads", 4, 2 * HEADS * HEAD_DIM, |team| {
            rms_norm(team, &mut out, HEAD_DIM, None, 1e-6, true);
        });
        let mut table = RotationTable::new(frequencies(ROPE, 10000.0, None), rows);
        table.set(1000..1000 + rows);
        self.step("rotation table", 4, 2 * ROPE, |_| table.set(1000..1000 + rows));
        self.step("rotate, query heads", 8, 2 * HEADS * ROPE, |team| {
            rotate(
                team,
                &mut out,
                HEADS * HEAD_DIM,
                HEAD_DIM,
                &table,
                Turn::Forward,
                true,
            );
        });
        self.step("norm, KV row", 4, 2 * HEAD_DIM, |team| {
            rms_norm(
                team,
                &mut out[..rows * HEAD_DIM],
                HEAD_DIM,
                Some(&weight[..HEAD_DIM]),
                1e-6,
                true,
            );
        });
        self.step("rotate, KV row", 4, 2 * ROPE, |team| {
            rotate(
                team,
                &mut out[..rows * HEAD_DIM],
                HEAD_DIM,
                HEAD_DIM,
                &table,
                Turn::Forward,
                true,
            );
        });
        self.step("KV round trip", 4, 2 * HEAD_DIM, |team| {
            kv_round_trip(team, &mut out[..rows * HEAD_DIM], HEAD_DIM, HEAD_DIM - ROPE);
        });
        self.step("Hadamard, index queries", 2, 2 * HEADS * INDEX_DIM, |team| {
            hadamard_e2m1_round_trip(team, &mut out[..rows * HEADS * INDEX_DIM], INDEX_DIM);
        });
        self.step("through E4M3, grouped", 4, 2 * GROUPED, |team| {
            inputs.quantise(team, &x[..rows * GROUPED], GROUPED);
        });

        let bias = noise(EXPERTS);
        let logits = noise(rows * EXPERTS);
        let mut scores = logits.clone();
        let (mut ids, mut weights) = (vec![0; rows * TOP], ones(rows * TOP));
        let router = Router {
            selection: Selection::Biased(&bias),
            experts_per_token: TOP,
            normalise: true,
            scale: 1.5,
        };
        self.step("route", 4, 2 * EXPERTS, |team| {
            scores.copy_from_slice(&logits);
            router.route(team, EXPERTS, &mut scores, &mut ids, &mut weights);
        });
        let mut gate = x[..rows * TOP * INNER].to_vec();
        self.step("SwiGLU, routed", 4, 3 * TOP * INNER, |team| {
            swiglu(
                team,
                &mut gate,
                &x[..rows * TOP * INNER],
                INNER,
                Some(&weights),
                10.0,
                true,
            );
        });
        self.step("SwiGLU, shared", 4, 3 * INNER, |team| {
            swiglu(
                team,
                &mut gate[..rows * INNER],
                &x[..rows * INNER],
                INNER,
                None,
                10.0,
                true,
            );
        });
        self.step("through E4M3, inner", 4, 2 * TOP * INNER, |team| {
            inputs.quantise(team, &x[..rows * TOP * INNER], INNER);
        });
        let places: Vec<u32> = (0..(rows * TOP) as u32).collect();
        self.step("combine", 4, (TOP + 2) * D, |team| {
            combine(
                team,
                &x[..rows * TOP * D],
                &places,
                &y,
                D,
                true,
                &mut out[..rows * D],
            );
        });
        println!(
            "  a token through four layers: {:.1} us",
            self.total * 1e6 / rows as f64
        );
    }
}
