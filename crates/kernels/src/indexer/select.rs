//! The largest scores: a bound first, then one pass that keeps what reaches it.

use crate::isa::multiversion;
use crate::scratch::Scratch;

/// Scores looked at together: a run below the bound is passed over with vector comparisons.
const RUN: usize = 32;

/// Maxima for the bound. With four for each choice, some 15 % more scores reach the bound than are chosen.
const MAXIMA_PER_CHOICE: usize = 4;

/// Scores kept before the lesser ones are dropped: few times, whatever the order they come in.
const CANDIDATES_PER_CHOICE: usize = 4;

/// Writes the indices of the `chosen.len()` largest of `scores` to `chosen`, ascending, in linear time. Equal scores (−0
/// equals +0) go to the smaller index; NaN is the smallest. Of `scratch` it takes a small multiple of `chosen.len()`.
///
/// # Panics
/// When `chosen` is longer than `scores`, or `scores` than 2³² − 1.
pub fn select(scores: &[f32], scratch: &mut Scratch, chosen: &mut [u32]) {
    assert!(
        chosen.len() <= scores.len() && u32::try_from(scores.len()).is_ok(),
        "{} of {} scores",
        chosen.len(),
        scores.len()
    );
    select_with(crate::isa::detected(), scores, scratch, chosen);
}

multiversion! {
    pub(super) fn select_with = select_body(scores: &[f32], scratch: &mut Scratch, chosen: &mut [u32])
}

#[inline(always)]
fn select_body(scores: &[f32], scratch: &mut Scratch, chosen: &mut [u32]) {
    let k = chosen.len();
    if k == 0 {
        return;
    }
    let maxima = scores.len().min(MAXIMA_PER_CHOICE * k);
    let capacity = CANDIDATES_PER_CHOICE * k + RUN;
    let [maxima, ranks, indices] = scratch.aligned([maxima, capacity, capacity]);

    // The k-th largest maximum has k scores at or above it, so the k-th largest score is not below it.
    maxima.fill(0);
    for scores in scores.chunks(maxima.len()) {
        for (max, &score) in maxima.iter_mut().zip(scores) {
            *max = rank(score).max(*max);
        }
    }
    let mut floor = kth_largest(maxima, k);

    let mut kept = 0;
    for (run, scores) in scores.chunks(RUN).enumerate() {
        let mut left = above(scores, floor);
        if left == 0 {
            continue;
        }
        if kept + RUN > capacity {
            // Those kept come first, so what equals the last of them loses the tie.
            floor = keep_largest(&mut ranks[..kept], &mut indices[..kept], k) + 1;
            kept = k;
        }
        while left != 0 {
            let i = left.trailing_zeros() as usize;
            left &= left - 1;
            ranks[kept] = rank(scores[i]);
            indices[kept] = (run * RUN + i) as u32;
            kept += 1;
        }
    }
    keep_largest(&mut ranks[..kept], &mut indices[..kept], k);
    chosen.copy_from_slice(&indices[..k]);
}

/// A bit for each score of a run whose rank is not below `floor`.
#[inline(always)]
fn above(scores: &[f32], floor: u32) -> u32 {
    let bit = |(i, &score): (usize, &f32)| ((rank(score) >= floor) as u32) << i;
    // No early way out: that would keep this from being vectorised.
    scores.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
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
