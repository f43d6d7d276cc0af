//! What the benchmarks share: repeats, and the machine's limits measured in the same run.
#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use fathom_kernels::machine::ReadBuffer;
use fathom_kernels::team::Team;

/// Seconds of one call: the median, and the fastest.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) median: f64,
    pub(crate) best: f64,
}

/// Calls `work` for about 40 ms, at least nine times.
pub(crate) fn time(mut work: impl FnMut()) -> Time {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 9 || start.elapsed() < Duration::from_millis(40) {
        let start = Instant::now();
        work();
        times.push(start.elapsed().as_secs_f64());
    }
    Time {
        median: median(&mut times),
        best: times[0],
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Whether the command line asks for `name`: it does if it names nothing, or a part of it.
pub(crate) fn chosen(name: &str) -> bool {
    let mut parts = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

/// Bytes per second that a team reads.
pub(crate) struct Limits {
    /// From a second-level cache, all threads together.
    pub(crate) cache: f64,
    /// From memory.
    pub(crate) memory: f64,
}

impl Limits {
    pub(crate) fn measure(team: &mut Team) -> Self {
        let time = Duration::from_millis(200);
        Self {
            cache: ReadBuffer::new(256 << 10).bytes_per_s(&mut Team::new(1), time) * team.threads() as f64,
            memory: ReadBuffer::new(256 << 20).bytes_per_s(team, time),
        }
    }
}

/// Deterministic numbers of every sign and of sizes as activations have them.
pub(crate) fn noise(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 3.0
        })
        .collect()
}
