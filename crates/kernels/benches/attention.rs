//! `cargo bench -p fathom-kernels --bench attention [-- PART-OF-A-NAME]`: core attention at the shapes of Flash, as a
//! share of the BF16 peak.
#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

#[path = "common/list.rs"]
mod list;

use std::time::{Duration, Instant};

use fathom_kernels::attention::{Arithmetic, Attention, Compressed, Workspace, visible};
use fathom_kernels::machine::bf16_flops_per_s;
use fathom_kernels::rows::RowFormat;
use fathom_kernels::team::Team;

use Queries::{Decode, Prefill};
use list::List;

const HEADS: usize = 64;
const WIDTH: usize = 512;
const WINDOW: usize = 128;
/// Queries of one call.
#[derive(Clone, Copy)]
enum Queries {
    Decode(usize),
    /// A slice of a chunk, so that a pass is short enough to be left alone by other processes now and then: some queries
    /// for each thread, which then works on whole queries.
    Prefill,
}

impl Queries {
    fn count(self, threads: usize) -> usize {
        match self {
            Decode(queries) => queries,
            Prefill => 8 * threads,
        }
    }
}

/// Choices of a sparse layer.
const CHOICES: usize = 512;

struct Case {
    name: &'static str,
    /// Position of the first query.
    start: usize,
    queries: Queries,
    /// Compression ratio; none for a layer with a window only.
    ratio: Option<usize>,
    sparse: bool,
}

const CASES: [Case; 8] = [
    Case::new("decode, window only", 4096, Decode(1), None, false),
    Case::new("decode, sparse at 32 K", 32_768, Decode(1), Some(4), true),
    Case::new("decode, heavy at 128 K", 131_072, Decode(1), Some(128), false),
    Case::new("decode, heavy at 1 M", 1 << 20, Decode(1), Some(128), false),
    Case::new("decode of 4, sparse at 32 K", 32_768, Decode(4), Some(4), true),
    Case::new("prefill, window only", 4096, Prefill, None, false),
    Case::new("prefill, sparse at 32 K", 32_768, Prefill, Some(4), true),
    Case::new("prefill, heavy at 128 K", 131_072, Prefill, Some(128), false),
];

impl Case {
    const fn new(
        name: &'static str,
        start: usize,
        queries: Queries,
        ratio: Option<usize>,
        sparse: bool,
    ) -> Self {
        Self {
            name,
            start,
            queries,
            ratio,
            sparse,
        }
    }

    /// Rows that the query at `position` attends to.
    fn rows(&self, position: usize) -> usize {
        let visible = self.ratio.map_or(0, |ratio| visible(position, ratio));
        WINDOW
            + if self.sparse {
                visible.min(CHOICES)
            } else {
                visible
            }
    }

    fn run(&self, team: &mut Team, q: &[f32], window_rows: &[f32], peak: f64) {
        let queries = self.queries.count(team.threads());
        let end = self.start + queries;
        let entries = self.ratio.map_or(0, |ratio| visible(end - 1, ratio));
        let (mut store, mut seed) = (
            List::new(RowFormat::Kv { nope: 448, rope: 64 }, self.ratio.unwrap_or(1)),
            1,
        );
        for _ in 0..entries {
            store.push(&noise(WIDTH, &mut seed));
        }
        let chosen: Vec<u32> = (0..queries)
            .flat_map(|query| (0..CHOICES).map(move |i| (i * entries / CHOICES + query % 7) as u32))
            .collect();
        let sinks = [0.5; HEADS];
        let attention = Attention {
            q: &q[..queries * HEADS * WIDTH],
            heads: HEADS,
            head_dim: WIDTH,
            start: self.start,
            window_rows,
            window_start: self.start + 1 - WINDOW,
            window: WINDOW,
            compressed: self.ratio.map(|ratio| Compressed {
                rows: store.rows(),
                ratio,
                chosen: self.sparse.then_some((&chosen[..], CHOICES)),
            }),
            sinks: &sinks,
            arithmetic: Arithmetic::Bf16 { round: true },
        };
        let (mut workspace, mut out) = (Workspace::default(), vec![0.0; attention.q.len()]);
        let (mut best, begin) = (Duration::MAX, Instant::now());
        while begin.elapsed() < Duration::from_millis(700) {
            let pass = Instant::now();
            attention.attend(team, &mut workspace, &mut out);
            best = best.min(pass.elapsed());
        }
        // A row's scores and its share of the results: each two operations a dimension and head.
        let rows: usize = (self.start..end).map(|position| self.rows(position)).sum();
        let flops = (4 * HEADS * WIDTH * rows) as f64 / best.as_secs_f64();
        println!(
            "  {:28} {:>10.1} us a query {:>8.1} GFLOP/s {:>5.1} % of the peak",
            self.name,
            best.as_secs_f64() * 1e6 / queries as f64,
            flops / 1e9,
            100.0 * flops / peak
        );
    }
}

fn noise(n: usize, seed: &mut u64) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn main() {
    let all = Team::with_all_cores().threads();
    let most = CASES
        .iter()
        .map(|case| case.queries.count(all))
        .max()
        .unwrap_or(1);
    let q = noise(most * HEADS * WIDTH, &mut 2);
    let window_rows = noise((most + WINDOW) * WIDTH, &mut 3);
    let only = std::env::args().nth(1).filter(|arg| arg != "--bench");
    for threads in [1, all] {
        let mut team = Team::new(threads);
        let peak = bf16_flops_per_s(&mut team);
        println!("{threads} thread(s), peak {:.1} GFLOP/s", peak / 1e9);
        for case in CASES
            .iter()
            .filter(|case| only.as_ref().is_none_or(|only| case.name.contains(&**only)))
        {
            case.run(&mut team, &q, &window_rows, peak);
        }
    }
}
