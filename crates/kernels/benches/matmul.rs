//! Products at Flash widths: streamed weights against the memory's rate, tiles against the arithmetic peak.
//!
//! Weights are larger than the last-level cache in the streamed cases, so each pass reads memory. Arguments: a number of
//! threads (else one and then two), and a part of the names of the cases to run, such as `fp8 x8 bf16`.

#![allow(clippy::print_stdout, missing_docs, reason = "a report on the terminal")]

use std::time::{Duration, Instant};

use fathom_kernels::inputs::Inputs;
use fathom_kernels::machine::{self, ReadBuffer};
use fathom_kernels::matmul::{Product, multiply};
use fathom_kernels::matrix::{Elements, Fp8Scales, Matrix};
use fathom_kernels::team::Team;

/// As in the program: large buffers begin with a page.
#[global_allocator]
static ALLOCATOR: fathom_kernels::allocator::PageAllocator = fathom_kernels::allocator::PageAllocator;

/// How long a product is repeated after each measurement of the limit.
const ROUND: Duration = Duration::from_millis(100);

/// Columns of every matrix.
const COLS: usize = 4096;

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Fp4,
    Fp8,
    Bf16,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Fp4 => "fp4",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16",
        }
    }

    /// Rows of 100 MB.
    fn many_rows(self) -> usize {
        match self {
            Self::Fp4 => 49_152,
            Self::Fp8 => 24_576,
            Self::Bf16 => 12_288,
        }
    }

    fn matrix<'a>(self, rows: usize, codes: &'a [u8], scales: &'a [u8]) -> Matrix<'a> {
        let weights = rows * COLS;
        let elements = match self {
            Self::Fp4 => Elements::Fp4 {
                codes: &codes[..weights / 2],
                scales: &scales[..weights / 32],
            },
            Self::Fp8 => Elements::Fp8 {
                codes: &codes[..weights],
                scales: Fp8Scales::Ue8m0(&scales[..rows.div_ceil(128) * COLS / 128]),
            },
            Self::Bf16 => Elements::Bf16(&codes[..2 * weights]),
        };
        Matrix {
            rows,
            cols: COLS,
            elements,
        }
    }

    /// Bytes of so many rows, scales included.
    fn bytes(self, rows: usize) -> usize {
        match self {
            Self::Fp4 => rows * COLS / 2 + rows * COLS / 32,
            Self::Fp8 => rows * COLS + rows * COLS / 128 / 128,
            Self::Bf16 => rows * COLS * 2,
        }
    }
}

/// The inputs of a product.
#[derive(Clone, Copy, PartialEq)]
enum Arithmetic {
    Int8,
    Bf16,
    Float32,
}

impl Arithmetic {
    /// Those that a format is multiplied in.
    fn of(format: Format) -> &'static [Self] {
        match format {
            Format::Fp4 | Format::Fp8 => &[Self::Int8, Self::Bf16],
            Format::Bf16 => &[Self::Float32],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
            Self::Float32 => "f32",
        }
    }

    fn peak(self, team: &mut Team) -> f64 {
        match self {
            Self::Int8 => machine::int8_ops_per_s(team),
            Self::Bf16 => machine::bf16_flops_per_s(team),
            Self::Float32 => machine::f32_flops_per_s(team),
        }
    }
}

struct Case {
    format: Format,
    arithmetic: Arithmetic,
    rows: usize,
    inputs: usize,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let cases = |format: Format, rows: usize, inputs: &'static [usize]| {
            inputs.iter().flat_map(move |&inputs| {
                Arithmetic::of(format).iter().map(move |&arithmetic| Self {
                    format,
                    arithmetic,
                    rows,
                    inputs,
                })
            })
        };
        let formats = [Format::Fp4, Format::Fp8, Format::Bf16].into_iter();
        let streams = formats
            .clone()
            .flat_map(move |format| cases(format, format.many_rows(), &[1, 2, 3, 4, 6, 8]));
        let tiles = formats.flat_map(move |format| cases(format, 2048, &[12, 48, 512]));
        streams.chain(tiles)
    }

    /// Whether the way from memory decides.
    fn streams(&self) -> bool {
        self.inputs <= 8
    }

    fn name(&self) -> String {
        format!(
            "{} x{} {}",
            self.format.name(),
            self.inputs,
            self.arithmetic.name()
        )
    }

    fn run(&self, team: &mut Team, memory: &ReadBuffer, noise: &[u8]) {
        let codes: Vec<u8> = noise
            .iter()
            .copied()
            .cycle()
            .take(self.format.bytes(self.rows))
            .collect();
        let scales = vec![120; self.rows * COLS / 32];
        let matrix = self.format.matrix(self.rows, &codes, &scales);
        let x: Vec<f32> = (0..self.inputs * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut inputs = match self.arithmetic {
            Arithmetic::Int8 => Some(Inputs::int8(self.inputs, COLS)),
            Arithmetic::Bf16 => Some(Inputs::bf16(self.inputs, COLS)),
            Arithmetic::Float32 => None,
        };
        if let Some(inputs) = &mut inputs {
            inputs.quantise(team, &x, COLS);
        }
        let mut y = vec![0.0; self.inputs * self.rows];
        let (mut times, mut limits) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            limits.push(if self.streams() {
                memory.bytes_per_s(team, Duration::from_millis(20))
            } else {
                self.arithmetic.peak(team)
            });
            let round = Instant::now();
            while round.elapsed() < ROUND {
                let start = Instant::now();
                let product = match &inputs {
                    Some(inputs) => Product::quantised(matrix, inputs.all(), &mut y),
                    None => Product::new(matrix, &x, &mut y),
                };
                multiply(team, &[product]);
                times.push(start.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        limits.sort_by(f64::total_cmp);
        let (time, limit) = (times[times.len() / 2], limits[1]);
        let work = if self.streams() {
            self.format.bytes(self.rows) as f64
        } else {
            2.0 * (self.rows * COLS * self.inputs) as f64
        };
        println!(
            "{} threads  {:14} {:6} rows  {:9.1} us  {:7.1} G/s  {:5.1} % of {:.1}  best {:5.1} %",
            team.threads(),
            self.name(),
            self.rows,
            time * 1e6,
            work / time * 1e-9,
            100.0 * work / time / limit,
            limit * 1e-9,
            100.0 * work / times[0] / limits[2],
        );
    }
}

fn main() {
    // `cargo test` runs benches with no arguments to see that they work; the numbers need `--bench`.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| byte() & 0xBF).collect();
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let only: Option<usize> = args.iter().find_map(|arg| arg.parse().ok());
    let part = args.iter().find(|arg| arg.parse::<usize>().is_err());
    for threads in [1, 2].into_iter().filter(|&n| only.is_none_or(|only| only == n)) {
        let mut team = Team::new(threads);
        let memory = ReadBuffer::new(512 << 20);
        for case in Case::all().filter(|case| part.is_none_or(|part| case.name().contains(part.as_str()))) {
            case.run(&mut team, &memory, &noise);
        }
    }
}
