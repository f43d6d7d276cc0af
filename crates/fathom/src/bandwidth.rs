//! How fast this machine reads memory, measured.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

/// Far more than any last-level cache, so that every pass comes from memory. A debug build cannot keep up with memory
/// whatever the size, and would take minutes.
const BUFFER_BYTES: usize = if cfg!(debug_assertions) { 16 << 20 } else { 1 << 30 };
/// Passes are made for this long, and at least this many. The fastest counts: whatever else the machine does only
/// slows one down.
const MEASURING_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 0 } else { 1500 });
const PASSES_MIN: usize = 5;

/// The result of a measurement.
pub(crate) struct ReadBandwidth {
    /// Bytes per second, all threads together.
    pub(crate) bytes_per_second: f64,
    /// Threads that read.
    pub(crate) threads: usize,
    /// Size of what was read.
    pub(crate) buffer_bytes: usize,
}

/// Reads a large buffer several times with one thread per core. Takes about two seconds.
///
/// Uses at most a quarter of the memory that is free.
pub(crate) fn measure(available_bytes: Option<u64>) -> ReadBandwidth {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let buffer_bytes = available_bytes.map_or(BUFFER_BYTES, |free| BUFFER_BYTES.min((free / 4) as usize));
    let words = (buffer_bytes / size_of::<u64>()).max(threads);
    // Written, not just reserved: untouched pages would all be the same page of zeros.
    let buffer: Vec<u64> = (0..words as u64).collect();
    let share = words.div_ceil(threads);
    let start = Instant::now();
    let mut fastest = Duration::MAX;
    let mut passes = 0;
    while passes < PASSES_MIN || start.elapsed() < MEASURING_TIME {
        fastest = fastest.min(pass(&buffer, share));
        passes += 1;
    }
    let buffer_bytes = words * size_of::<u64>();
    ReadBandwidth {
        bytes_per_second: buffer_bytes as f64 / fastest.as_secs_f64(),
        threads,
        buffer_bytes,
    }
}

fn pass(buffer: &[u64], share: usize) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for part in buffer.chunks(share) {
            scope.spawn(move || black_box(sum(part)));
        }
    });
    start.elapsed()
}

/// Several sums side by side, so that additions do not wait for each other.
fn sum(words: &[u64]) -> u64 {
    const LANES: usize = 32;
    let (blocks, rest) = words.as_chunks::<LANES>();
    let mut sums = [0_u64; LANES];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter()
        .chain(rest)
        .fold(0, |total, word| total.wrapping_add(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        let words: Vec<u64> = (0..1000).collect();
        assert_eq!(sum(&words), 999 * 1000 / 2);
    }
}
