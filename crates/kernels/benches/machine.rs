//! `cargo bench -p fathom-kernels --bench machine`: the limits that every other benchmark is held against.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use fathom_kernels::machine::{
    ReadBuffer, bf16_flops_per_s, f32_flops_per_s, int8_ops_per_s, read_bytes_per_s,
};
use fathom_kernels::team::Team;

fn main() {
    for threads in [1, Team::with_all_cores().threads()] {
        let mut team = Team::new(threads);
        let giga = |rate: f64| rate / 1e9;
        println!("{threads} thread(s)");
        for kib in [256, 4096] {
            let cached = ReadBuffer::new(kib << 10);
            let rate = cached.bytes_per_s(&mut team, Duration::from_millis(100));
            println!("  read {kib:>5} KiB  {:>8.1} GB/s", giga(rate));
        }
        println!(
            "  read memory     {:>8.1} GB/s",
            giga(read_bytes_per_s(&mut team))
        );
        println!(
            "  f32             {:>8.1} GFLOP/s",
            giga(f32_flops_per_s(&mut team))
        );
        println!(
            "  bf16            {:>8.1} GFLOP/s",
            giga(bf16_flops_per_s(&mut team))
        );
        println!("  int8            {:>8.1} GOP/s", giga(int8_ops_per_s(&mut team)));
    }
}
