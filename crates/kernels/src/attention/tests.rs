use super::*;
use crate::formats::bf16;
use crate::pages::tests::Rows;
use crate::quant::kv_round_trip;
use crate::rows::RowFormat;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(99);
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect()
}

/// Spec §18.3.
#[test]
fn visible_entries_of_the_specification() {
    for (t, entries) in [(2, 0), (3, 1), (6, 1), (7, 2)] {
        assert_eq!(visible(t, 4), entries);
    }
    assert_eq!((visible(126, 128), visible(127, 128)), (0, 1));
}

/// A sequence's rows and queries, from which calls of any chunk are cut.
struct Case {
    heads: usize,
    width: usize,
    window: usize,
    ratio: usize,
    /// Choices of a sparse layer's query.
    k: Option<usize>,
    arithmetic: Arithmetic,
    q: Vec<f32>,
    window_rows: Vec<f32>,
    entries: Vec<f32>,
    store: Rows,
    sinks: Vec<f32>,
    chosen: Vec<u32>,
}

impl Case {
    /// `positions` tokens, of which the last have queries; rows of `format`.
    fn new(
        heads: usize,
        format: RowFormat,
        (positions, window, ratio, k): (usize, usize, usize, Option<usize>),
        arithmetic: Arithmetic,
    ) -> Self {
        let width = format.width();
        let mut window_rows = noise(positions * width, 1);
        let mut entries = noise(positions / ratio * width, 4);
        if let RowFormat::Kv { nope, .. } = format {
            for rows in [&mut window_rows, &mut entries] {
                bf16::round_all(rows);
                kv_round_trip(&mut Team::new(1), rows, width, nope);
            }
        }
        // One row in a page, as a heavy layer of a release has it, or eight.
        let mut store = Rows::new(format, 1 + heads % 3 * 7);
        entries.chunks(width).for_each(|row| store.push(row));
        let chosen = (0..positions)
            .flat_map(|position| {
                // Evenly spread over what is visible, the last entry included.
                let (visible, k) = (visible(position, ratio), k.unwrap_or(0));
                (0..k).map(move |i| ((i + 1) * visible / k).max(1) as u32 - 1)
            })
            .collect();
        Self {
            heads,
            width,
            window,
            ratio,
            k,
            arithmetic,
            q: noise(positions * heads * width, 2),
            window_rows,
            entries,
            store,
            sinks: noise(heads, 3),
            chosen,
        }
    }

    /// Attends for positions `start .. end`; window rows reach back `spare` positions further than they must.
    fn attend(&self, isa: Isa, team: &mut Team, start: usize, end: usize, spare: usize) -> Vec<f32> {
        let row = self.heads * self.width;
        let window_start = (start + 1).saturating_sub(self.window + spare);
        let k = self.k.unwrap_or(0);
        let attention = Attention {
            q: &self.q[start * row..end * row],
            heads: self.heads,
            head_dim: self.width,
            start,
            window_rows: &self.window_rows[window_start * self.width..],
            window_start,
            window: self.window,
            compressed: Some(Compressed {
                rows: self.store.view(),
                ratio: self.ratio,
                chosen: self.k.map(|k| (&self.chosen[start * k..end * k], k)),
            }),
            sinks: &self.sinks,
            arithmetic: self.arithmetic,
        };
        assert_eq!(attention.compressed.unwrap().chosen.map_or(0, |(_, k)| k), k);
        let mut out = vec![0.0; (end - start) * row];
        attention.attend_with(isa, team, &mut Workspace::default(), &mut out);
        out
    }

    /// One result in float64, with the roundings of queries and numerators that the arithmetic has.
    fn expected<'a>(&'a self, position: usize, head: usize) -> Vec<f64> {
        let bf16 = self.arithmetic != Arithmetic::Float32;
        let rounded = |x: f64| if bf16 { f64::from(bf16::round(x as f32)) } else { x };
        let row = |rows: &'a Vec<f32>, i: usize| &rows[i * self.width..][..self.width];
        let mut union: Vec<&'a [f32]> = ((position + 1).saturating_sub(self.window)..=position)
            .map(|p| row(&self.window_rows, p))
            .collect();
        let visible = visible(position, self.ratio);
        match self.k {
            None => union.extend((0..visible).map(|i| row(&self.entries, i))),
            Some(k) => {
                let chosen = &self.chosen[position * k..][..k.min(visible)];
                union.extend(chosen.iter().map(|&i| row(&self.entries, i as usize)));
            }
        }
        let q = &self.q[(position * self.heads + head) * self.width..][..self.width];
        let logit = |row: &&[f32]| {
            let dot: f64 = row
                .iter()
                .zip(q)
                .map(|(&a, &b)| f64::from(a) * rounded(f64::from(b)))
                .sum();
            dot / (self.width as f64).sqrt()
        };
        let logits: Vec<f64> = union.iter().map(logit).collect();
        let max = logits.iter().fold(f64::MIN, |max, &x| max.max(x));
        let numerators: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
        let total = numerators.iter().sum::<f64>() + (f64::from(self.sinks[head]) - max).exp();
        (0..self.width)
            .map(|d| {
                let sum: f64 = union
                    .iter()
                    .zip(&numerators)
                    .map(|(row, &p)| rounded(p) * f64::from(row[d]))
                    .sum();
                sum / total
            })
            .collect()
    }

    /// Results of every query from `start` on agree with float64, and have the same bits for every team, chunk and
    /// instruction set. A numerator beside a tie may round to the other BF16 neighbour than in float64: of one head in fifty.
    fn check(&self, start: usize) {
        let (row, end) = (self.heads * self.width, self.window_rows.len() / self.width);
        let isa = isa::detected();
        let all = self.attend(isa, &mut Team::new(1), start, end, 0);
        let mut apart = 0;
        for (position, out) in (start..end).zip(all.chunks(row)) {
            for (head, out) in out.chunks(self.width).enumerate() {
                let expected = self.expected(position, head);
                let errors = out
                    .iter()
                    .zip(expected)
                    .map(|(&found, expected)| (f64::from(found) - expected).abs());
                let worst = errors.fold(0.0, f64::max);
                assert!(worst < 4e-3, "position {position}, head {head}: {worst}");
                apart += usize::from(worst > 1e-5);
            }
        }
        let allowed = match self.arithmetic {
            Arithmetic::Float32 => 0,
            Arithmetic::Bf16 { .. } => (end - start) * self.heads / 50,
        };
        assert!(
            apart <= allowed,
            "{apart} of {} heads",
            (end - start) * self.heads
        );
        for threads in [1, 2, 4, 16] {
            let mut team = Team::new(threads);
            for isa in isa::available() {
                assert!(
                    self.attend(isa, &mut team, start, end, 3) == all,
                    "{threads} threads, {isa:?}"
                );
            }
            for chunk in [1, 3, 8] {
                for first in (start..end).step_by(chunk) {
                    let last = end.min(first + chunk);
                    let part = self.attend(isa, &mut team, first, last, chunk % 2);
                    assert!(
                        part == all[(first - start) * row..(last - start) * row],
                        "chunks of {chunk}"
                    );
                }
            }
        }
    }
}

#[test]
fn attention_is_a_softmax_over_the_union_with_a_sink() {
    for k in [None, Some(3)] {
        let format = RowFormat::F32 { width: 40 };
        Case::new(6, format, (20, 5, 4, k), Arithmetic::Float32).check(11);
    }
}

/// The same in BF16: for whole and broken tiles, from the first position on, with odd and even windows.
#[test]
fn bf16_attention_is_a_softmax_over_the_union_with_a_sink() {
    let arithmetic = Arithmetic::Bf16 { round: false };
    for (heads, nope, rope) in [(6, 30, 10), (16, 64, 32), (33, 7, 2)] {
        for (window, k) in [(5, None), (8, Some(3)), (1, Some(4)), (40, None)] {
            let format = RowFormat::Kv { nope, rope };
            Case::new(heads, format, (21, window, 4, k), arithmetic).check(0);
        }
    }
}

/// The shapes of Flash, with more rows than are weighted at a time.
#[test]
fn bf16_attention_at_full_width() {
    let format = RowFormat::Kv { nope: 448, rope: 64 };
    for k in [None, Some(61)] {
        let case = Case::new(64, format, (305, 128, 4, k), Arithmetic::Bf16 { round: false });
        case.check(296);
        let rounded = Case {
            arithmetic: Arithmetic::Bf16 { round: true },
            ..case
        };
        let out = rounded.attend(isa::detected(), &mut Team::new(2), 300, 303, 0);
        assert!(out.iter().all(|&x| bf16::round(x) == x));
    }
}

/// Trap 26 of spec §15: heads are 512 wide, values too.
#[test]
fn trap_26_heads_of_512() {
    let width = 512;
    let (q, rows) = (noise(width, 1), noise(3 * width, 2));
    let attention = Attention {
        q: &q,
        heads: 1,
        head_dim: width,
        start: 2,
        window_rows: &rows,
        window_start: 0,
        window: 128,
        compressed: None,
        sinks: &[0.0],
        arithmetic: Arithmetic::Float32,
    };
    let mut out = vec![0.0; width];
    attention.attend(&mut Team::new(2), &mut Workspace::default(), &mut out);
    let dot = |r: usize| {
        (0..width)
            .map(|d| q[d] as f64 * rows[r * width + d] as f64)
            .sum::<f64>()
    };
    let weights: Vec<f64> = (0..3).map(|r| (dot(r) / (width as f64).sqrt()).exp()).collect();
    let total = weights.iter().sum::<f64>() + 1.0;
    for d in [0, 447, 448, 511] {
        let expected = (0..3)
            .map(|r| weights[r] * rows[r * width + d] as f64)
            .sum::<f64>()
            / total;
        assert!((out[d] as f64 - expected).abs() < 1e-5);
    }
}
