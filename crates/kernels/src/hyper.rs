//! Manifold-constrained hyper-connections (spec §5.2, §5.3, §5.7): how a sublayer reads from the residual streams and
//! writes back to them. All float32.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::formats::bf16;
use crate::isa::{self, multiversion};
use crate::lanes::{self, sigmoid};
use crate::team::{Disjoint, Team};

/// Sizes and constants shared by every site.
#[derive(Clone, Copy, Debug)]
pub struct HyperShape {
    /// Residual streams, `n`.
    pub streams: usize,
    /// Width of a stream, `d`.
    pub width: usize,
    /// Column passes of the Sinkhorn iteration.
    pub sinkhorn_iters: usize,
    /// Epsilon of offsets and denominators (`hc_eps`).
    pub eps: f32,
    /// Epsilon of the root mean square (`rms_norm_eps`).
    pub norm_eps: f32,
    /// Whether results are rounded to BF16.
    pub round: bool,
}

impl HyperShape {
    /// Outputs of a site's projection: pre, post and comb.
    pub fn mix_width(&self) -> usize {
        (2 + self.streams) * self.streams
    }
}

/// Learned constants of one site; the projection `fn` is applied by the caller.
#[derive(Clone, Debug)]
pub struct HyperSite {
    /// `[(2 + n) · n]`.
    pub base: Vec<f32>,
    /// For pre, post and comb.
    pub scale: [f32; 3],
}

/// Reads a sublayer's input from the streams and works out how its output will be written.
///
/// `x` is `[t, n · d]`; `mix` is `[t, (2 + n) · n]` and holds `fn · x` on entry, and on return pre, post and the
/// doubly-stochastic comb; `u` is `[t, d]`.
pub fn read(team: &mut Team, shape: HyperShape, site: &HyperSite, x: &[f32], mix: &mut [f32], u: &mut [f32]) {
    let isa = isa::detected();
    let (full, width, mixes) = (shape.streams * shape.width, shape.width, shape.mix_width());
    let rows = x.len() / full;
    assert_eq!((mix.len(), u.len()), (rows * mixes, rows * width));
    let (mix, u) = (Disjoint::new(mix), Disjoint::new(u));
    team.run(rows, |row, _| {
        // SAFETY: each item owns its row of both outputs.
        let (mix, u) = unsafe { (mix.part(row * mixes, mixes), u.part(row * width, width)) };
        let x = &x[row * full..][..full];
        scale_by_rms(isa, mix, x, shape.norm_eps);
        weights(isa, mix, shape, site);
        blend(isa, u, &mix[..shape.streams], x, shape.round);
    });
}

/// Writes a sublayer's output `y` `[t, d]` back: stream j becomes `post_j · y + Σ_i comb_ij · x_i`, `x` being the
/// streams before the sublayer. Returns whether everything written is finite.
pub fn write(team: &mut Team, shape: HyperShape, mix: &[f32], y: &[f32], x: &mut [f32]) -> bool {
    let isa = isa::detected();
    let (n, width, mixes) = (shape.streams, shape.width, shape.mix_width());
    let rows = y.len() / width;
    assert_eq!((mix.len(), x.len()), (rows * mixes, rows * n * width));
    let streams = Disjoint::new(x);
    let finite = AtomicBool::new(true);
    team.run(rows, |row, scratch| {
        // SAFETY: each item owns its row.
        let x = unsafe { streams.part(row * n * width, n * width) };
        let [before] = scratch.floats([n * BLOCK]);
        let mix = &mix[row * mixes + n..][..n + n * n];
        if !write_row(isa, x, &y[row * width..][..width], mix, before, shape.round) {
            finite.store(false, Ordering::Relaxed);
        }
    });
    finite.into_inner()
}

/// Blends the streams into one for the output head (spec §5.7): weights `sigmoid(z · scale + base) + eps`, no Sinkhorn.
/// `z` is `[t, n]` and holds `hc_head_fn · x` on entry; `out` is `[t, d]`.
pub fn read_head(
    team: &mut Team,
    shape: HyperShape,
    base: &[f32],
    scale: f32,
    x: &[f32],
    z: &mut [f32],
    out: &mut [f32],
) {
    let isa = isa::detected();
    let (n, width) = (shape.streams, shape.width);
    let rows = x.len() / (n * width);
    assert_eq!((z.len(), out.len(), base.len()), (rows * n, rows * width, n));
    let (z, out) = (Disjoint::new(z), Disjoint::new(out));
    team.run(rows, |row, _| {
        // SAFETY: each item owns its row of both outputs.
        let (z, out) = unsafe { (z.part(row * n, n), out.part(row * width, width)) };
        let x = &x[row * n * width..][..n * width];
        scale_by_rms(isa, z, x, shape.norm_eps);
        for (z, &base) in z.iter_mut().zip(base) {
            *z = sigmoid(*z * scale + base) + shape.eps;
        }
        blend(isa, out, z, x, shape.round);
    });
}

multiversion! {
    fn scale_by_rms = scale_by_rms_body(z: &mut [f32], x: &[f32], eps: f32)
}

#[inline(always)]
fn scale_by_rms_body(z: &mut [f32], x: &[f32], eps: f32) {
    let scale = 1.0 / (lanes::sum_squares(x) / x.len() as f32 + eps).sqrt();
    z.iter_mut().for_each(|z| *z *= scale);
}

multiversion! {
    fn blend = blend_body(out: &mut [f32], weights: &[f32], x: &[f32], round: bool)
}

#[inline(always)]
fn blend_body(out: &mut [f32], weights: &[f32], x: &[f32], round: bool) {
    let width = out.len();
    if let [w0, w1, w2, w3] = *weights {
        // The usual number, in one pass.
        let [x0, x1, x2, x3] = [0, 1, 2, 3].map(|i| &x[i * width..][..width]);
        for c in 0..width {
            let sum = w1.mul_add(x1[c], w0.mul_add(x0[c], 0.0));
            out[c] = w3.mul_add(x3[c], w2.mul_add(x2[c], sum));
        }
    } else {
        out.fill(0.0);
        for (&weight, x) in weights.iter().zip(x.chunks_exact(width)) {
            add_scaled(out, weight, x);
        }
    }
    if round {
        bf16::round_all(out);
    }
}

/// Columns of all streams that [`write`] sets aside at a time: they stay in the first-level cache.
const BLOCK: usize = 1024;

multiversion! {
    /// [`write`] for one row: `mix` is post and comb, `before` memory for [`BLOCK`] columns of every stream.
    fn write_row =
        write_row_body(x: &mut [f32], y: &[f32], mix: &[f32], before: &mut [f32], round: bool) -> bool
}

#[inline(always)]
fn write_row_body(x: &mut [f32], y: &[f32], mix: &[f32], before: &mut [f32], round: bool) -> bool {
    let width = y.len();
    let n = x.len() / width;
    let (post, comb) = mix.split_at(n);
    let mut finite = Finite::default();
    if n == 4 {
        let (a, b) = x.split_at_mut(2 * width);
        let ((x0, x1), (x2, x3)) = (a.split_at_mut(width), b.split_at_mut(width));
        write_four(x0, x1, x2, x3, y, post, comb, round, &mut finite);
        return finite.all();
    }
    for from in (0..width).step_by(BLOCK) {
        let columns = BLOCK.min(width - from);
        for (before, x) in before.chunks_exact_mut(BLOCK).zip(x.chunks_exact(width)) {
            before[..columns].copy_from_slice(&x[from..][..columns]);
        }
        let y = &y[from..][..columns];
        for (j, x) in x.chunks_exact_mut(width).enumerate() {
            let out = &mut x[from..][..columns];
            for (out, &y) in out.iter_mut().zip(y) {
                *out = post[j] * y;
            }
            for (i, before) in before.chunks_exact(BLOCK).enumerate() {
                // Transposed: the sum runs over the first index (spec §5.3).
                add_scaled(out, comb[i * n + j], before);
            }
            out.iter_mut().for_each(|out| *out = finite.checked(*out, round));
        }
    }
    finite.all()
}

/// The usual number of streams, in one pass. The streams are separate arguments: the compiler then knows that they do
/// not overlap.
#[inline(always)]
fn write_four(
    x0: &mut [f32],
    x1: &mut [f32],
    x2: &mut [f32],
    x3: &mut [f32],
    y: &[f32],
    post: &[f32],
    comb: &[f32],
    round: bool,
    finite: &mut Finite,
) {
    let mut seen = *finite;
    let width = y.len();
    let (x0, x1, x2, x3) = (
        &mut x0[..width],
        &mut x1[..width],
        &mut x2[..width],
        &mut x3[..width],
    );
    let (post, comb) = (&post[..4], &comb[..16]);
    for c in 0..width {
        let before = [x0[c], x1[c], x2[c], x3[c]];
        let stream = |j: usize| {
            // Transposed: the sum runs over the first index (spec §5.3).
            (0..4).fold(post[j] * y[c], |sum, i| comb[i * 4 + j].mul_add(before[i], sum))
        };
        x0[c] = seen.checked(stream(0), round);
        x1[c] = seen.checked(stream(1), round);
        x2[c] = seen.checked(stream(2), round);
        x3[c] = seen.checked(stream(3), round);
    }
    *finite = seen;
}

/// Whether everything seen was finite.
#[derive(Clone, Copy, Default)]
struct Finite {
    worst: u32,
}

impl Finite {
    /// `x`, rounded if asked for, and looked at.
    #[inline(always)]
    fn checked(&mut self, x: f32, round: bool) -> f32 {
        let x = if round { bf16::round(x) } else { x };
        // All exponent bits set means infinite or NaN.
        self.worst = self.worst.max(x.to_bits() & 0x7F80_0000);
        x
    }

    fn all(self) -> bool {
        self.worst != 0x7F80_0000
    }
}

#[inline(always)]
fn add_scaled(out: &mut [f32], weight: f32, x: &[f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = weight.mul_add(x, *out);
    }
}

multiversion! {
    /// Turns scaled projections into pre, post and comb, in place (spec §5.2, steps 4 to 8).
    fn weights = weights_body(z: &mut [f32], shape: HyperShape, site: &HyperSite)
}

#[inline(always)]
fn weights_body(z: &mut [f32], shape: HyperShape, site: &HyperSite) {
    // With the usual number known to the compiler, the matrix stays in registers.
    match shape.streams {
        4 => weights_of(4, z, shape, site),
        n => weights_of(n, z, shape, site),
    }
}

#[inline(always)]
fn weights_of(n: usize, z: &mut [f32], shape: HyperShape, site: &HyperSite) {
    let eps = shape.eps;
    let [pre_scale, post_scale, comb_scale] = site.scale;
    let (pre, rest) = z.split_at_mut(n);
    let (post, comb) = rest.split_at_mut(n);
    for (i, z) in pre.iter_mut().enumerate() {
        *z = sigmoid(*z * pre_scale + site.base[i]) + eps;
    }
    for (i, z) in post.iter_mut().enumerate() {
        *z = 2.0 * sigmoid(*z * post_scale + site.base[n + i]);
    }
    for (i, z) in comb.iter_mut().enumerate() {
        *z = *z * comb_scale + site.base[2 * n + i];
    }
    for row in comb.chunks_exact_mut(n) {
        let max = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        row.iter_mut().for_each(|x| *x = lanes::exp(*x - max));
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x = *x / sum + eps);
    }
    normalise_columns(comb, n, eps);
    for _ in 1..shape.sinkhorn_iters {
        for row in comb.chunks_exact_mut(n) {
            let sum = row.iter().sum::<f32>() + eps;
            row.iter_mut().for_each(|x| *x /= sum);
        }
        normalise_columns(comb, n, eps);
    }
}

#[inline(always)]
fn normalise_columns(comb: &mut [f32], n: usize, eps: f32) {
    for j in 0..n {
        let sum = (0..n).map(|i| comb[i * n + j]).sum::<f32>() + eps;
        for i in 0..n {
            comb[i * n + j] /= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(round: bool) -> HyperShape {
        HyperShape {
            streams: 4,
            width: 3,
            sinkhorn_iters: 20,
            eps: 1e-6,
            norm_eps: 1e-6,
            round,
        }
    }

    /// Spec §18.1.
    #[test]
    fn the_sinkhorn_vector_of_the_specification() {
        let mut z: Vec<f32> = (0..24)
            .map(|i| if i % 2 == 0 { 0.1 } else { -0.1 } * (i + 1) as f32)
            .collect();
        let site = HyperSite {
            base: (0..24).map(|i| 0.01 * i as f32).collect(),
            scale: [0.5, 1.0, 2.0],
        };
        weights(isa::detected(), &mut z, shape(false), &site);
        let expected = [
            0.512_498_4,
            0.477_516_2,
            0.542_399,
            0.457_603_1, // pre
            1.263_624_9,
            0.731_728_9,
            1.362_707_5,
            0.650_389_4, // post
            0.041_722_1,
            0.458_395_5,
            0.041_722_1,
            0.458_159_4, // comb
            0.155_335,
            0.344_718_1,
            0.155_335,
            0.344_611,
            0.345_022,
            0.154_923_7,
            0.345_021_9,
            0.155_031_4,
            0.457_920,
            0.041_961_6,
            0.457_920,
            0.042_197_3,
        ];
        for (found, expected) in z.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
        for j in 0..4 {
            let sum: f32 = (0..4).map(|i| z[8 + 4 * i + j]).sum();
            assert!((sum - 0.999_999).abs() < 1e-6);
        }
    }

    /// Trap 7 of spec §15: post has the factor 2 and no epsilon, pre the epsilon and no factor; columns come last.
    #[test]
    fn trap_07_post_is_doubled_and_sinkhorn_ends_on_columns() {
        let mut z = vec![0.0; 24];
        z[8..]
            .iter_mut()
            .enumerate()
            .for_each(|(i, z)| *z = (i * i % 7) as f32);
        let site = HyperSite {
            base: vec![0.0; 24],
            scale: [1.0; 3],
        };
        let shape = HyperShape {
            sinkhorn_iters: 1,
            ..shape(false)
        };
        weights(isa::detected(), &mut z, shape, &site);
        assert_eq!(z[..4], [0.5 + 1e-6; 4]);
        assert_eq!(z[4..8], [1.0; 4]);
        let column = |j: usize| (0..4).map(|i| z[8 + 4 * i + j]).sum::<f32>();
        let row = |i: usize| z[8 + 4 * i..12 + 4 * i].iter().sum::<f32>();
        assert!((0..4).all(|j| (column(j) - 1.0).abs() < 1e-5));
        assert!((0..4).any(|i| (row(i) - 1.0).abs() > 1e-2));
    }

    /// Trap 6 of spec §15: the mixing matrix is applied transposed.
    #[test]
    fn trap_06_comb_is_transposed() {
        let mut mix = vec![0.0; 24];
        mix[8 + 4 + 2] = 1.0; // comb[1][2]: stream 1 flows into stream 2.
        mix[4] = 2.0; // post of stream 0.
        let mut x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert!(write(
            &mut Team::new(1),
            shape(false),
            &mix,
            &[10.0, 20.0, 30.0],
            &mut x
        ));
        assert_eq!(x, [20.0, 40.0, 60.0, 0.0, 0.0, 0.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    }

    /// Every number of streams and width against the definition, on every instruction set.
    #[test]
    fn reading_and_writing_are_the_weighted_sums() {
        for (n, width) in [(1, 5), (2, 1030), (3, 100), (4, 7), (4, 2064), (6, 40)] {
            let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 16.0;
            let x: Vec<f32> = (0..n * width).map(value).collect();
            let y: Vec<f32> = (0..width).map(|i| value(i + 3)).collect();
            let mix: Vec<f32> = (0..n + n * n).map(|i| value(i + 7) / 8.0).collect();
            let mut written = isa::available().map(|isa| {
                let (mut x, mut u, mut before) = (x.clone(), vec![0.0; width], vec![0.0; n * BLOCK]);
                assert!(write_row(isa, &mut x, &y, &mix, &mut before, false));
                blend(isa, &mut u, &mix[..n], &x, true);
                (x, u)
            });
            let first = written.next().expect("scalar is always available");
            assert!(written.all(|other| other == first));
            for j in 0..n {
                for c in 0..width {
                    let expected = mix[j] as f64 * y[c] as f64
                        + (0..n)
                            .map(|i| mix[n + i * n + j] as f64 * x[i * width + c] as f64)
                            .sum::<f64>();
                    assert!((first.0[j * width + c] as f64 - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_result_that_is_not_finite_is_reported() {
        let mut mix = vec![0.0; 24];
        mix[4] = 1.0;
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![0.0; 12];
            assert!(!write(
                &mut Team::new(1),
                shape(true),
                &mix,
                &[0.0, bad, 0.0],
                &mut x
            ));
        }
    }
}
