//! `cargo bench -p fathom-kernels --bench indexer`: the indexer against the machine's int8 peak.
#![allow(clippy::print_stdout)]

#[path = "common/list.rs"]
mod list;

use std::hint::black_box;
use std::time::Instant;

use fathom_kernels::indexer::{Indexer, Workspace, select};
use fathom_kernels::isa;
use fathom_kernels::machine::int8_ops_per_s;
use fathom_kernels::quant::hadamard_e2m1_round_trip;
use fathom_kernels::rows::RowFormat;
use fathom_kernels::team::{Scratch, Team};
use list::List;

const HEADS: usize = 64;
const WIDTH: usize = 128;
const TOP_K: usize = 512;
const RATIO: usize = 4;

/// Passes of which the fastest counts, as for the peaks.
const PASSES: usize = 15;

/// Queries of a call, and keys that the last of them sees.
const SHAPES: [(usize, usize); 6] = [
    (1, 2048),
    (1, 32_768),
    (1, 262_144),
    (8, 32_768),
    (64, 2048),
    (32, 8192),
];

fn main() {
    println!("instruction set: {}", isa::detected().name());
    let keys = keys(262_144);
    let mut scores = noise(keys.rows().len(), 3);
    let mut places = [0; TOP_K];
    let mut scratch = Scratch::default();
    for order in ["in no order", "ascending"] {
        let time = fastest(|| select(black_box(&scores), &mut scratch, &mut places));
        println!(
            "top {TOP_K} of {} scores, {order}: {:.3} ms",
            scores.len(),
            time * 1e3
        );
        scores.sort_by(f32::total_cmp);
    }
    let all_cores = Team::with_all_cores().threads();
    for threads in 1..=all_cores.min(2) {
        let mut team = Team::new(if threads == 1 { 1 } else { all_cores });
        println!(
            "{} thread(s), {HEADS} heads of {WIDTH}, top {TOP_K}\n\
             {:>8} {:>8} {:>10} {:>10} {:>10} {:>14} {:>8}",
            team.threads(),
            "queries",
            "keys",
            "ms",
            "Mkeys/s",
            "GOP/s",
            "of int8 peak",
            "GB/s"
        );
        for (queries, seen) in SHAPES {
            measure(&mut team, &keys, queries, seen);
        }
    }
}

fn measure(team: &mut Team, keys: &List, queries: usize, seen: usize) {
    let mut q = noise(queries * HEADS * WIDTH, 1);
    hadamard_e2m1_round_trip(team, &mut q, WIDTH);
    let head_weights = noise(queries * HEADS, 2);
    let mut chosen = vec![0; queries * TOP_K];
    let mut workspace = Workspace::default();
    let indexer = Indexer {
        q: &q,
        head_weights: &head_weights,
        heads: HEADS,
        start: seen * RATIO - queries,
        ratio: RATIO,
        top_k: TOP_K,
        keys: keys.rows(),
    };
    let scored: usize = (0..queries)
        .map(|query| (indexer.start + query + 1) / RATIO)
        .sum();
    let operations = (2 * scored * HEADS * WIDTH) as f64;
    let peak = int8_ops_per_s(team);
    // Long enough to time, also where one call is short.
    let calls = (1e9 / operations).ceil() as usize;
    let time = fastest(|| {
        for _ in 0..calls {
            indexer.choose(team, &mut workspace, &mut chosen, TOP_K);
        }
    }) / calls as f64;
    let rate = operations / time;
    println!(
        "{queries:>8} {seen:>8} {:>10.3} {:>10.1} {:>10.1} {:>12.1} % {:>8.2}",
        time * 1e3,
        scored as f64 / time / 1e6,
        rate / 1e9,
        rate / peak * 100.0,
        // Keys are read once for every eight queries.
        (queries.div_ceil(8) * seen * keys.rows().format().bytes()) as f64 / time / 1e9
    );
}

/// Seconds of the fastest of several passes.
fn fastest(mut pass: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    };
    (0..PASSES).map(time).fold(f64::INFINITY, f64::min)
}

fn keys(n: usize) -> List {
    let mut rows = noise(n * WIDTH, 4);
    hadamard_e2m1_round_trip(&mut Team::with_all_cores(), &mut rows, WIDTH);
    let mut keys = List::new(RowFormat::IndexKey { width: WIDTH }, RATIO);
    rows.chunks_exact(WIDTH).for_each(|row| keys.push(row));
    keys
}

/// Roughly normal numbers.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| uniform() + uniform() + uniform()).collect()
}
