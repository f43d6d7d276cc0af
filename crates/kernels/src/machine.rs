//! What this machine can do, measured: bytes read from memory and the peaks of the arithmetic that kernels are made of.
//!
//! A kernel's share of these figures says how much is left to gain. The fastest of many short passes counts, since
//! whatever else a machine does only slows a pass down.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::isa::{self, multiversion};
use crate::lanes::LANES;
use crate::team::Team;

/// What [`read_bytes_per_s`] reads: far more than any last-level cache, so that every pass comes from memory. A debug
/// build cannot keep up with memory whatever the size, and would take minutes.
pub const READ_BUFFER_BYTES: usize = if cfg!(debug_assertions) { 16 << 20 } else { 1 << 30 };

/// How long passes over memory are repeated.
pub const READ_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 0 } else { 1500 });

/// How long passes of arithmetic are repeated.
const ARITHMETIC_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 0 } else { 150 });
const PASSES_MIN: usize = 5;

/// Bytes that a thread reads in one go.
const READ_ITEM_BYTES: usize = 1 << 17;

/// Memory to measure reading with.
pub struct ReadBuffer {
    words: Vec<u64>,
}

impl ReadBuffer {
    /// About `bytes` (at least one word), written once: untouched pages would all be the same page of zeros.
    pub fn new(bytes: usize) -> Self {
        Self {
            words: (0..(bytes / size_of::<u64>()).max(1) as u64).collect(),
        }
    }

    /// Bytes that a pass reads.
    pub fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice())
    }

    /// Bytes per second of the fastest pass of the whole team, over at least five passes and at least `time`. A buffer
    /// the size of a cache measures that cache.
    pub fn bytes_per_s(&self, team: &mut Team, time: Duration) -> f64 {
        let isa = isa::detected();
        let words = READ_ITEM_BYTES / size_of::<u64>();
        let fastest = fastest(time, || {
            team.run(self.words.len().div_ceil(words), |item, _| {
                let rest = &self.words[item * words..];
                black_box(sum(isa, &rest[..words.min(rest.len())]));
            });
        });
        self.bytes() as f64 / fastest.as_secs_f64()
    }
}

/// Bytes per second that the whole team reads from memory. Takes two seconds and [`READ_BUFFER_BYTES`].
pub fn read_bytes_per_s(team: &mut Team) -> f64 {
    ReadBuffer::new(READ_BUFFER_BYTES).bytes_per_s(team, READ_TIME)
}

/// Peak int8 operations per second of the whole team, a multiply-add counting as two: dot products of four into 32-bit
/// sums where the machine has them (VNNI), of two pairs through 16 bits where not.
pub fn int8_ops_per_s(team: &mut Team) -> f64 {
    peak(team, ARITHMETIC_TIME, int8_chains)
}

/// Peak operations per second on BF16 inputs of the whole team: dot products of two where the machine has them,
/// float32 multiply-adds where not.
pub fn bf16_flops_per_s(team: &mut Team) -> f64 {
    peak(team, ARITHMETIC_TIME, bf16_chains)
}

/// Peak float32 operations per second of the whole team, a fused multiply-add counting as two.
pub fn f32_flops_per_s(team: &mut Team) -> f64 {
    peak(team, ARITHMETIC_TIME, f32_chains)
}

fn fastest(time: Duration, mut pass: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut fastest = Duration::MAX;
    let mut passes = 0;
    while passes < PASSES_MIN || start.elapsed() < time {
        let start = Instant::now();
        pass();
        fastest = fastest.min(start.elapsed());
        passes += 1;
    }
    // A clock that did not move must not divide by zero.
    fastest.max(Duration::from_nanos(1))
}

multiversion! {
    fn sum = sum_body(words: &[u64]) -> u64
}

/// Several sums side by side, so that additions do not wait for each other.
#[inline(always)]
fn sum_body(words: &[u64]) -> u64 {
    let (blocks, rest) = words.as_chunks::<64>();
    let mut sums = [0_u64; 64];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter()
        .chain(rest)
        .fold(0, |total, word| total.wrapping_add(*word))
}

/// Independent sums in flight: enough to cover the latency of a multiply-add on every unit, and they fit registers.
const CHAINS: usize = 12;

/// Rounds of all chains in an item, well under a millisecond.
const ROUNDS: usize = 50_000;

/// Items for each thread: a pass of some milliseconds.
const ITEMS_PER_THREAD: usize = 8;

/// The rate of `chains`, which runs [`ROUNDS`] rounds of [`CHAINS`] instructions and returns the operations of one.
fn peak(team: &mut Team, time: Duration, chains: fn() -> usize) -> f64 {
    let items = team.threads() * ITEMS_PER_THREAD;
    let operations = items * CHAINS * ROUNDS * chains();
    let fastest = fastest(time, || {
        team.run(items, |_, _| {
            black_box(chains());
        });
    });
    operations as f64 / fastest.as_secs_f64()
}

fn f32_chains() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just found.
        unsafe { x86::f32_avx512() };
        return 2 * 16;
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features were just found.
        unsafe { x86::f32_avx2() };
        return 2 * 8;
    }
    let (x, y) = (black_box([1e-9f32; LANES]), black_box([0.5f32; LANES]));
    let mut sums = [x; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for j in 0..LANES {
                sum[j] = sum[j].mul_add(y[j], x[j]);
            }
        }
    }
    black_box(sums);
    2 * LANES
}

fn bf16_chains() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the features were just found.
        unsafe { x86::bf16_avx512() };
        return 2 * 32;
    }
    f32_chains()
}

fn int8_chains() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the features were just found.
        unsafe { x86::int8_avx512() };
        return 2 * 64;
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") {
        // SAFETY: the features were just found.
        unsafe { x86::int8_avx_vnni() };
        return 2 * 32;
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just found.
        unsafe { x86::int8_avx2() };
        return 2 * 32;
    }
    let (x, y) = (black_box([1i8; LANES]), black_box([1i8; LANES]));
    let mut sums = [[0i32; LANES]; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for j in 0..LANES {
                sum[j] = sum[j].wrapping_add(x[j] as i32 * y[j] as i32);
            }
        }
        black_box(&mut sums);
    }
    2 * LANES
}

/// Chains of one instruction each.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
        _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_set1_epi8, _mm512_set1_epi16,
        _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    };
    use std::hint::black_box;

    use super::{CHAINS, ROUNDS};

    macro_rules! chains {
        ($name:ident, $features:literal, $operand:expr, $sum:expr, |$s:ident, $x:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name() {
                // The compiler must not know the operand, nor that the sums start alike: it would keep one of them.
                let $x = black_box($operand);
                let mut sums = black_box([$sum; CHAINS]);
                for _ in 0..ROUNDS {
                    // A loop rather than `map`, whose code is compiled without the features.
                    for i in 0..CHAINS {
                        let $s = sums[i];
                        sums[i] = $step;
                    }
                }
                black_box(sums);
            }
        };
    }

    chains!(
        f32_avx512,
        "avx512f",
        _mm512_set1_ps(1e-9),
        _mm512_setzero_ps(),
        |sum, x| _mm512_fmadd_ps(x, x, sum)
    );
    chains!(
        f32_avx2,
        "avx2,fma",
        _mm256_set1_ps(1e-9),
        _mm256_setzero_ps(),
        |sum, x| _mm256_fmadd_ps(x, x, sum)
    );
    chains!(
        bf16_avx512,
        "avx512f,avx512bf16",
        bf16(_mm512_set1_epi16(0x3C00)),
        _mm512_setzero_ps(),
        |sum, x| _mm512_dpbf16_ps(sum, x, x)
    );
    chains!(
        int8_avx512,
        "avx512f,avx512vnni",
        _mm512_set1_epi8(1),
        _mm512_setzero_si512(),
        |sum, x| _mm512_dpbusd_epi32(sum, x, x)
    );
    chains!(
        int8_avx_vnni,
        "avx2,avxvnni",
        _mm256_set1_epi8(1),
        _mm256_setzero_si256(),
        |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x)
    );
    // Products of pairs in 16 bits, their sums in 32.
    chains!(
        int8_avx2,
        "avx2",
        _mm256_set1_epi8(1),
        _mm256_setzero_si256(),
        |sum, x| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, sum), x))
    );

    fn bf16(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes without invalid values.
        unsafe { std::mem::transmute(bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_on_every_instruction_set() {
        let words: Vec<u64> = (0..1000).collect();
        for isa in isa::available() {
            assert_eq!(sum(isa, &words), 999 * 1000 / 2);
        }
    }

    #[test]
    fn a_buffer_of_any_size_is_read() {
        let mut team = Team::new(2);
        for bytes in [0, 8, 1000, READ_ITEM_BYTES + 8] {
            let buffer = ReadBuffer::new(bytes);
            assert_eq!(buffer.bytes(), (bytes / 8).max(1) * 8);
            assert!(buffer.bytes_per_s(&mut team, Duration::ZERO) > 0.0);
        }
    }

    #[test]
    fn peaks_are_ordered_as_widths_are() {
        let mut team = Team::new(1);
        let mut rate = |chains: fn() -> usize| peak(&mut team, Duration::ZERO, chains);
        let (f32, bf16, int8) = (rate(f32_chains), rate(bf16_chains), rate(int8_chains));
        assert!(f32 > 0.0 && bf16 > 0.0 && int8 > 0.0);
    }
}
