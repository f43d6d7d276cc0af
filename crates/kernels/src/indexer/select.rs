//! The largest scores: a bound first, then one pass that keeps what reaches it.

use crate::isa::multiversion;

/// Scores looked at together: a run with nothing above the bound costs one comparison a lane.
const RUN: usize = 64;

/// Lanes of the bound's maxima.
const LANES: usize = 16;

/// Writes the indices of the `chosen.len()` largest of `scores` to `chosen`, ascending, in linear time. Equal scores (−0
/// equals +0) go to the smaller index; NaN is the smallest. `memory` is reused from call to call and holds a small
/// multiple of `chosen.len()`.
///
/// # Panics
/// When `chosen` is longer than `scores`, or `scores` than 2³² − 1.
pub fn select(scores: &[f32], memory: &mut Vec<u32>, chosen: &mut [u32]) {
    assert!(
        chosen.len() <= scores.len() && u32::try_from(scores.len()).is_ok(),
        "{} of {} scores",
        chosen.len(),
        scores.len()
    );
    if chosen.is_empty() {
        return;
    }
    select_with(crate::isa::detected(), scores, memory, chosen);
}

multiversion! {
    pub(super) fn select_with = select_body(scores: &[f32], memory: &mut Vec<u32>, chosen: &mut [u32])
}

#[inline(always)]
fn select_body(scores: &[f32], memory: &mut Vec<u32>, chosen: &mut [u32]) {
    let k = chosen.len();
    // Each maximum is of `fold` scores, and there are 4 k to 8 k of them.
    let fold = (scores.len() / (4 * k)).max(1);
    let maxima = scores.len().div_ceil(LANES * fold) * LANES;
    let capacity = 4 * k + 4 * RUN;
    let needed = maxima.max(2 * capacity);
    if memory.len() < needed {
        memory.resize(needed.next_power_of_two(), 0);
    }

    // The k-th largest maximum has k scores at or above it, so the k-th largest score is not below it.
    let maxima = &mut memory[..maxima];
    for (scores, maxima) in scores.chunks(LANES * fold).zip(maxima.as_chunks_mut::<LANES>().0) {
        *maxima = lane_maxima(scores);
    }
    let mut floor = kth_largest(maxima, k);

    let (ranks, indices) = memory[..2 * capacity].split_at_mut(capacity);
    let mut kept = 0;
    for (run, scores) in scores.chunks(RUN).enumerate() {
        if lane_maxima(scores).into_iter().fold(0, u32::max) < floor {
            continue;
        }
        if kept + RUN > capacity {
            // Those kept come first, so what equals the last of them loses the tie.
            floor = keep_largest(&mut ranks[..kept], &mut indices[..kept], k) + 1;
            kept = k;
        }
        for (i, &score) in scores.iter().enumerate() {
            ranks[kept] = rank(score);
            indices[kept] = (run * RUN + i) as u32;
            kept += (rank(score) >= floor) as usize;
        }
    }
    keep_largest(&mut ranks[..kept], &mut indices[..kept], k);
    chosen.copy_from_slice(&indices[..k]);
}

/// An integer that orders as the score does: 0 for NaN, the same for both zeros.
#[inline(always)]
fn rank(score: f32) -> u32 {
    // −0 + 0 is +0.
    let bits = (score + 0.0).to_bits();
    let sign = ((bits as i32) >> 31) as u32;
    if score.is_nan() {
        0
    } else {
        bits ^ (sign | 1 << 31)
    }
}

/// The largest rank of each lane.
#[inline(always)]
fn lane_maxima(scores: &[f32]) -> [u32; LANES] {
    let mut maxima = [0; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for scores in whole {
        for (max, &score) in maxima.iter_mut().zip(scores) {
            *max = rank(score).max(*max);
        }
    }
    for (max, &score) in maxima.iter_mut().zip(rest) {
        *max = rank(score).max(*max);
    }
    maxima
}

/// The `k`-th largest of `ranks`, bit by bit from the top: 32 counts, which need no order and no branches.
#[inline(always)]
fn kth_largest(ranks: &[u32], k: usize) -> u32 {
    (0..32).rev().fold(0, |kth, bit| {
        let higher = kth | 1 << bit;
        if count(ranks, higher) >= k { higher } else { kth }
    })
}

/// How many of `ranks` are not below `floor`.
#[inline(always)]
fn count(ranks: &[u32], floor: u32) -> usize {
    ranks.iter().map(|&rank| (rank >= floor) as u32).sum::<u32>() as usize
}

/// Moves the `k` largest ranks and their indices to the front, in the order they have; of equal ranks the first ones.
/// Returns the smallest rank kept.
#[inline(always)]
fn keep_largest(ranks: &mut [u32], indices: &mut [u32], k: usize) -> u32 {
    let kth = kth_largest(ranks, k);
    // A rank is never the largest integer, which would be a NaN.
    let mut equal = k - count(ranks, kth + 1);
    let mut kept = 0;
    for i in 0..ranks.len() {
        let keep = ranks[i] > kth || (ranks[i] == kth && equal > 0);
        equal -= (keep && ranks[i] == kth) as usize;
        (ranks[kept], indices[kept]) = (ranks[i], indices[i]);
        kept += keep as usize;
    }
    kth
}
