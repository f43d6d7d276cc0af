//! Products at Flash widths: streamed weights against the memory's rate, tiles against the arithmetic peak.
//!
//! Weights are larger than the last-level cache in the streamed cases, so each pass reads memory.

#![allow(clippy::print_stdout, missing_docs, reason = "a report on the terminal")]

use std::time::{Duration, Instant};

use fathom_kernels::inputs::Inputs;
use fathom_kernels::machine;
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::matrix::{Elements, Fp8Scales, Matrix};
use fathom_kernels::team::Team;

/// How long a product is repeated after each measurement of the limit.
const ROUND: Duration = Duration::from_millis(100);

struct Case {
    name: &'static str,
    fp8: bool,
    rows: usize,
    cols: usize,
    inputs: usize,
}

fn main() {
    // `cargo test` runs benches with no arguments to see that they work; the numbers need `--bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let cases = [
        Case {
            name: "stream fp4",
            fp8: false,
            rows: 49_152,
            cols: 4096,
            inputs: 1,
        },
        Case {
            name: "stream fp8",
            fp8: true,
            rows: 24_576,
            cols: 4096,
            inputs: 1,
        },
        Case {
            name: "stream fp4",
            fp8: false,
            rows: 49_152,
            cols: 4096,
            inputs: 2,
        },
        Case {
            name: "stream fp8",
            fp8: true,
            rows: 24_576,
            cols: 4096,
            inputs: 2,
        },
        Case {
            name: "stream fp4",
            fp8: false,
            rows: 49_152,
            cols: 4096,
            inputs: 3,
        },
        Case {
            name: "stream fp8",
            fp8: true,
            rows: 24_576,
            cols: 4096,
            inputs: 3,
        },
        Case {
            name: "stream fp4",
            fp8: false,
            rows: 49_152,
            cols: 4096,
            inputs: 8,
        },
        Case {
            name: "stream fp8",
            fp8: true,
            rows: 24_576,
            cols: 4096,
            inputs: 8,
        },
        Case {
            name: "tiles fp4",
            fp8: false,
            rows: 2048,
            cols: 4096,
            inputs: 12,
        },
        Case {
            name: "tiles fp4",
            fp8: false,
            rows: 2048,
            cols: 4096,
            inputs: 48,
        },
        Case {
            name: "tiles fp4",
            fp8: false,
            rows: 2048,
            cols: 4096,
            inputs: 512,
        },
        Case {
            name: "tiles fp8",
            fp8: true,
            rows: 2048,
            cols: 4096,
            inputs: 512,
        },
    ];
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| byte() & 0xBF).collect();
    let only = std::env::args().find_map(|arg| arg.parse().ok());
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filter = args
        .iter()
        .map(String::as_str)
        .find(|arg| !arg.starts_with('-') && arg.parse::<usize>().is_err());
    for threads in [1, 2]
        .into_iter()
        .filter(|n| only.is_none_or(|only: usize| only == *n))
    {
        let mut team = Team::new(threads);
        let memory = machine::ReadBuffer::new(512 << 20);
        for case in cases
            .iter()
            .filter(|case| filter.is_none_or(|f| format!("{} x{}", case.name, case.inputs).contains(f)))
        {
            let bytes = case.rows * case.cols / if case.fp8 { 1 } else { 2 };
            let codes: Vec<u8> = noise.iter().copied().cycle().take(bytes).collect();
            let scale_count = if case.fp8 {
                case.rows.div_ceil(128) * case.cols.div_ceil(128)
            } else {
                case.rows * case.cols / 32
            };
            let scales = vec![120u8; scale_count];
            let elements = if case.fp8 {
                Elements::Fp8 {
                    codes: &codes,
                    scales: Fp8Scales::Ue8m0(&scales),
                }
            } else {
                Elements::Fp4 {
                    codes: &codes,
                    scales: &scales,
                }
            };
            let matrix = Matrix {
                rows: case.rows,
                cols: case.cols,
                elements,
            };
            let x: Vec<f32> = (0..case.inputs * case.cols)
                .map(|i| (i as f32 * 0.37).sin())
                .collect();
            let streamed = case.name.starts_with("stream");
            let arithmetics = [
                ("int8", Inputs::int8(case.inputs, case.cols)),
                ("bf16", Inputs::bf16(case.inputs, case.cols)),
            ];
            for (arithmetic, mut inputs) in arithmetics {
                inputs.quantise(&mut team, &x, case.cols);
                let mut y = vec![0.0; case.inputs * case.rows];
                let (mut times, mut limits) = (Vec::new(), Vec::new());
                for _ in 0..3 {
                    limits.push(if streamed {
                        memory.bytes_per_s(&mut team, Duration::from_millis(20))
                    } else if arithmetic == "int8" {
                        machine::int8_ops_per_s(&mut team)
                    } else {
                        machine::bf16_flops_per_s(&mut team)
                    });
                    let round = Instant::now();
                    while round.elapsed() < ROUND {
                        let start = Instant::now();
                        multiply(&mut team, &[Product::quantised(matrix, inputs.all(), &mut y)]);
                        times.push(start.elapsed().as_secs_f64());
                    }
                }
                times.sort_by(f64::total_cmp);
                limits.sort_by(f64::total_cmp);
                let (time, limit) = (times[times.len() / 2], limits[1]);
                let work = if streamed {
                    (bytes + scale_count) as f64
                } else {
                    2.0 * (case.rows * case.cols * case.inputs) as f64
                };
                println!(
                    "{threads} threads  {arithmetic}  {:10} {:6} x {} x {:4}  {:9.1} us  {:7.1} G/s  {:5.1} % of {:.1}  best {:5.1} %",
                    case.name,
                    case.rows,
                    case.cols,
                    case.inputs,
                    time * 1e6,
                    work / time * 1e-9,
                    100.0 * work / time / limit,
                    limit * 1e-9,
                    100.0 * work / times[0] / limits[2],
                );
            }
        }
    }
}
