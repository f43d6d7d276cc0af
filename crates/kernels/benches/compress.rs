//! `cargo bench -p fathom-kernels --bench compress`: pooling at the shapes of Flash, by the bytes of keys and gates it reads.
#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use fathom_kernels::compress::Compressor;
use fathom_kernels::team::Team;

const TOKENS: usize = 512;

fn fastest(mut work: impl FnMut()) -> f64 {
    let (mut best, begin) = (Duration::MAX, Instant::now());
    while begin.elapsed() < Duration::from_millis(300) {
        let pass = Instant::now();
        work();
        best = best.min(pass.elapsed());
    }
    best.as_secs_f64()
}

fn main() {
    for threads in [1, Team::with_all_cores().threads()] {
        let mut team = Team::new(threads);
        println!("{threads} thread(s), {TOKENS} tokens");
        for (name, ratio, width, overlap) in [
            ("sparse layer's entries", 4, 512, true),
            ("indexer's keys", 4, 128, true),
            ("heavy layer's entries", 128, 512, false),
        ] {
            let token = if overlap { 2 * width } else { width };
            let compressor = Compressor {
                ratio,
                width,
                overlap,
                ape: vec![0.5; ratio * token],
                norm: vec![1.0; width],
            };
            let keys: Vec<f32> = (0..TOKENS * token)
                .map(|i| (i % 97) as f32 * 0.02 - 1.0)
                .collect();
            let mut gates: Vec<f32> = (0..TOKENS * token)
                .map(|i| (i % 89) as f32 * 0.03 - 1.5)
                .collect();
            let mut entries = vec![0.0; TOKENS / ratio * width];
            let positions = fastest(|| compressor.add_positions(0, &mut gates));
            gates.iter_mut().for_each(|gate| *gate %= 3.0);
            let pool = fastest(|| {
                compressor.pool(&mut team, (&keys, &gates, 0), 0, 1e-6, true, &mut entries);
            });
            println!(
                "  {name:24} positions {:>6.3} us a token, pooling {:>6.3} us a token, {:>6.2} GB/s",
                positions * 1e6 / TOKENS as f64,
                pool * 1e6 / TOKENS as f64,
                (8 * TOKENS * token) as f64 / pool / 1e9
            );
        }
    }
}
