//! Scores against exact sums, and choices against sorted lists.

use super::*;
use crate::formats::e2m1;
use crate::pages::tests::Rows;
use crate::quant::hadamard_e2m1_round_trip;
use crate::rows::RowFormat;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * n as u64) >> 31) as usize
    }

    fn unit(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0
    }

    /// E2M1 values whose groups' scales are powers of two up to `spread` apart; now and then a group of zeros, or one
    /// of a single value.
    fn row(&mut self, width: usize, spread: usize) -> Vec<f32> {
        let mut row = Vec::new();
        for group in 0..width.div_ceil(e2m1::GROUP) {
            let exponent = self.below(spread + 1) as i32 - spread as i32 / 2;
            let kind = self.below(12);
            for i in 0..e2m1::GROUP.min(width - group * e2m1::GROUP) {
                let value = match kind {
                    0 => 0.0,
                    1 => e2m1::VALUES[self.below(16)] * (i == 3) as u32 as f32,
                    _ => e2m1::VALUES[self.below(16)],
                };
                row.push(value * (exponent as f32).exp2());
            }
        }
        row
    }
}

/// `q · key` as an integer times 2^−100, rounded once.
fn exact_dot(q: &[f32], key: &[f32]) -> f32 {
    let unit = 100f64.exp2();
    let sum: i128 = q
        .iter()
        .zip(key)
        .map(|(&q, &key)| {
            let scaled = q as f64 * key as f64 * unit;
            assert!(scaled.abs() < 126f64.exp2() && scaled.fract() == 0.0, "{q} {key}");
            scaled as i128
        })
        .sum();
    sum as f32 * (-100f32).exp2()
}

fn exact_score(q: &[f32], weights: &[f32], key: &[f32]) -> f32 {
    q.chunks_exact(key.len())
        .zip(weights)
        .fold(0.0, |score, (q, weight)| {
            weight.mul_add(exact_dot(q, key).max(0.0), score)
        })
}

/// What a test scores: queries, head weights and keys.
struct Case {
    width: usize,
    heads: usize,
    q: Vec<f32>,
    weights: Vec<f32>,
    keys: Vec<f32>,
}

impl Case {
    fn new(
        random: &mut Random,
        width: usize,
        heads: usize,
        queries: usize,
        keys: usize,
        spreads: [usize; 2],
    ) -> Self {
        let mut rows = |n: usize, spread: usize| -> Vec<f32> {
            (0..n)
                .flat_map(|row| {
                    // Most rows have an integer form, as in a model.
                    let spread = if row % 3 == 0 { spread } else { spread.min(3) };
                    random.row(width, spread)
                })
                .collect()
        };
        let (q, keys) = (rows(queries * heads, spreads[0]), rows(keys, spreads[1]));
        let weights = (0..queries * heads).map(|_| random.unit()).collect();
        Self {
            width,
            heads,
            q,
            weights,
            keys,
        }
    }

    /// As the layers of a model have it: normal numbers through the rounding.
    fn model_like(random: &mut Random, width: usize, heads: usize, queries: usize, keys: usize) -> Self {
        let mut rows = |n: usize| {
            let mut rows: Vec<f32> = (0..n * width)
                .map(|_| random.unit() + random.unit() + random.unit())
                .collect();
            hadamard_e2m1_round_trip(&mut Team::new(1), &mut rows, width);
            rows
        };
        let (q, keys) = (rows(queries * heads), rows(keys));
        let weights = (0..queries * heads).map(|_| random.unit()).collect();
        Self {
            width,
            heads,
            q,
            weights,
            keys,
        }
    }

    fn store(&self, format: RowFormat, rows_per_page: usize) -> Rows {
        let mut store = Rows::new(format, rows_per_page);
        self.keys.chunks_exact(self.width).for_each(|key| store.push(key));
        store
    }

    fn packed(&self, rows_per_page: usize) -> Rows {
        let store = self.store(RowFormat::IndexKey { width: self.width }, rows_per_page);
        let mut back = vec![0.0; self.width];
        for (i, key) in self.keys.chunks_exact(self.width).enumerate() {
            store.view().read(Isa::Scalar, i, &mut back);
            assert_eq!(back, key, "the format holds the key");
        }
        store
    }

    fn indexer<'a>(&'a self, keys: &'a Rows, start: usize, ratio: usize, top_k: usize) -> Indexer<'a> {
        Indexer {
            q: &self.q,
            head_weights: &self.weights,
            heads: self.heads,
            start,
            ratio,
            top_k,
            keys: keys.view(),
        }
    }

    /// Every query's score of every key, `[queries, keys]`.
    fn scores(&self, isa: Isa, keys: &Rows) -> Vec<f32> {
        let len = keys.view().len();
        let (mut workspace, stride) = (Workspace::default(), len.next_multiple_of(KEYS_PER_ITEM));
        let queries = self.weights.len() / self.heads;
        // All see all keys.
        self.indexer(keys, len * queries - 1, queries, 1).score(
            isa,
            &mut Team::new(1),
            &mut workspace,
            0..queries,
            stride,
        );
        let rows = workspace.scores.chunks(stride).take(queries);
        rows.flat_map(|row| &row[..len]).copied().collect()
    }

    fn exact_scores(&self) -> Vec<f32> {
        let queries = self
            .q
            .chunks_exact(self.heads * self.width)
            .zip(self.weights.chunks_exact(self.heads));
        queries
            .flat_map(|(q, weights)| {
                self.keys
                    .chunks_exact(self.width)
                    .map(move |key| exact_score(q, weights, key))
            })
            .collect()
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn scores_are_those_of_exact_dots_on_every_instruction_set() {
    let mut random = Random(1);
    for (round, &width) in [32, 64, 96, 128, 16, 48, 160].iter().cycle().take(70).enumerate() {
        let spreads = [[0, 0], [3, 3], [6, 0], [12, 2], [24, 9], [5, 20]][round % 6];
        let heads = [1, 3, 4, 5, 7, 64][round % 5 + round / 60];
        let keys = [1, 63, 64, 65, 300][round % 5];
        let case = Case::new(&mut random, width, heads, 1 + round % 9, keys, spreads);
        let expected = bits(&case.exact_scores());
        let rows_per_page = [32, 1, 8, 16, 300, 3, 48][round % 7];
        for isa in isa::available() {
            assert_eq!(
                bits(&case.scores(isa, &case.packed(rows_per_page))),
                expected,
                "{width} {spreads:?} {rows_per_page} {isa:?}"
            );
        }
    }
}

/// Model-like rows nearly all have an integer form, or scoring them would be slow; and the float32 sums of the profile
/// that keeps keys in float32 have the same bits, or nearly.
#[test]
fn rows_of_a_model_take_the_integer_path_and_agree_with_float32() {
    let mut random = Random(2);
    let case = Case::model_like(&mut random, 128, 64, 2, 1024);
    let store = case.packed(32);
    for (q, weights) in case.q.chunks_exact(64 * 128).zip(case.weights.chunks_exact(64)) {
        assert!(IntegerQuery::default().set(isa::detected(), q, weights, 128));
    }
    let mut block = KeyBlock::new();
    let irregular: u32 = (0..1024)
        .step_by(KEYS)
        .map(|first| {
            block.load(Kernel::of(isa::detected()), store.view(), first);
            block.irregular.count_ones()
        })
        .sum();
    assert_eq!(irregular, 0);

    let scores = case.scores(isa::detected(), &store);
    assert_eq!(bits(&scores), bits(&case.exact_scores()));
    let float = case.scores(isa::detected(), &case.store(RowFormat::F32 { width: 128 }, 32));
    let same = scores.iter().zip(&float).filter(|(a, b)| a == b).count();
    assert!(same > scores.len() * 99 / 100, "{same} of {}", scores.len());
}

#[test]
fn values_off_the_grid_and_extreme_scales_give_the_same_bits_everywhere() {
    let mut random = Random(3);
    let mut case = Case::model_like(&mut random, 64, 6, 4, 200);
    // One query each: a value E2M1 has not, a NaN, an infinite weight, and scales that reach subnormals.
    case.q[100] = 0.7;
    case.q[6 * 64 + 5] = f32::NAN;
    case.weights[13] = f32::INFINITY;
    case.q[18 * 64..].iter_mut().for_each(|x| *x *= (-70f32).exp2());
    for key in case.keys.chunks_exact_mut(64).skip(50).step_by(7) {
        key.iter_mut().for_each(|x| *x *= (-70f32).exp2());
    }
    let store = case.packed(32);
    let expected = bits(&case.scores(Isa::Scalar, &store));
    for isa in isa::available() {
        assert_eq!(bits(&case.scores(isa, &store)), expected, "{isa:?}");
    }
    let exact = case.exact_scores_of(0);
    assert_eq!(expected[..200], bits(&exact));
}

impl Case {
    fn exact_scores_of(&self, query: usize) -> Vec<f32> {
        let q = &self.q[query * self.heads * self.width..][..self.heads * self.width];
        let weights = &self.weights[query * self.heads..][..self.heads];
        let keys = self.keys.chunks_exact(self.width);
        keys.map(|key| general::score(Isa::Scalar, q, weights, key))
            .collect()
    }
}

/// Every kernel this machine can run, also those that a better one hides.
#[test]
fn every_kernel_gives_the_scalar_twins_bits() {
    let mut kernels = vec![Kernel::Scalar];
    #[cfg(target_arch = "x86_64")]
    if isa::available().any(|isa| isa == Isa::Avx2) {
        kernels.push(Kernel::Avx2);
        kernels.extend(isa::available().map(Kernel::of));
    }
    let mut random = Random(4);
    for round in 0..40 {
        let width = [32, 64, 96, 128][round % 4];
        let case = Case::new(&mut random, width, 1 + round, 1, KEYS, [round % 15, round % 5]);
        let store = case.packed(32);
        let mut query = IntegerQuery::default();
        if !query.set(Isa::Scalar, &case.q, &case.weights, width) {
            continue;
        }
        let mut outcomes = kernels.iter().map(|&kernel| {
            let mut block = KeyBlock::new();
            block.load(kernel, store.view(), 0);
            let mut scores = [0.0; KEYS];
            query.score(kernel, &block, width, &mut scores);
            for key in (0..KEYS).filter(|key| block.irregular >> key & 1 == 1) {
                scores[key] = 0.0;
            }
            (block.irregular, bits(&scores))
        });
        let first = outcomes.next();
        assert!(outcomes.all(|outcome| Some(outcome) == first), "round {round}");
    }
}

/// Threads, company and chunks change nothing; and the choice is the sorted list's.
#[test]
fn choices_are_the_best_of_the_visible_and_do_not_depend_on_company() {
    let mut random = Random(5);
    for format in [RowFormat::IndexKey { width: 32 }, RowFormat::F32 { width: 32 }] {
        let (heads, queries, top_k, ratio, start) = (5, 37, 40, 4, 2100);
        let mut case = Case::new(&mut random, 32, heads, queries, 600, [2, 6]);
        // Some keys twice: ties.
        case.keys.copy_within(0..32 * 100, 32 * 200);
        let store = case.store(format, 8);
        let mut expected = Vec::new();
        for query in 0..queries {
            let n = visible(start + query, ratio);
            let q = &case.q[query * heads * 32..][..heads * 32];
            let weights = &case.weights[query * heads..][..heads];
            let keys = case.keys.chunks_exact(32).take(n);
            let scores: Vec<f32> = keys.map(|key| exact_score(q, weights, key)).collect();
            expected.extend(sorted_choice(&scores, top_k));
        }
        for isa in isa::available() {
            for threads in [1, 2, 5] {
                for step in [queries, 1, 10] {
                    let mut workspace = Workspace::default();
                    let mut chosen = vec![0; queries * top_k];
                    for from in (0..queries).step_by(step) {
                        let to = queries.min(from + step);
                        let indexer = Indexer {
                            q: &case.q[from * heads * 32..to * heads * 32],
                            head_weights: &case.weights[from * heads..to * heads],
                            ..case.indexer(&store, start + from, ratio, top_k)
                        };
                        indexer.choose_with(
                            isa,
                            &mut Team::new(threads),
                            &mut workspace,
                            &mut chosen[from * top_k..to * top_k],
                            top_k,
                        );
                    }
                    assert_eq!(chosen, expected, "{format:?} {isa:?} {threads} {step}");
                }
            }
        }
    }
}

/// Long rows are searched in parts when there are threads for them.
#[test]
fn choices_from_long_rows_do_not_depend_on_threads() {
    let mut random = Random(7);
    let (n, top_k, queries) = (2 * SCORES_PER_PART + 77, 300, 2);
    let mut workspace = Workspace {
        scores: (0..queries * n).map(|_| random.below(1000) as f32).collect(),
        ..Workspace::default()
    };
    let expected: Vec<u32> = workspace
        .scores
        .chunks(n)
        .flat_map(|scores| sorted_choice(scores, top_k))
        .collect();
    let keys = Rows::new(RowFormat::F32 { width: 1 }, 1);
    let indexer = Indexer {
        q: &[],
        head_weights: &[],
        heads: 1,
        start: n * queries - 1,
        ratio: queries,
        top_k,
        keys: keys.view(),
    };
    for threads in [1, 3, 4, 9] {
        let mut chosen = vec![0; queries * top_k];
        let (places, team) = (Disjoint::new(&mut chosen), &mut Team::new(threads));
        indexer.select(Isa::Scalar, team, &mut workspace, 0..queries, n, places, top_k);
        assert!(chosen == expected, "{threads} threads");
    }
}

/// The `k` largest by a stable sort, ascending.
fn sorted_choice(scores: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (scores[a as usize], scores[b as usize]);
        b.partial_cmp(&a).unwrap_or(a.is_nan().cmp(&b.is_nan()))
    });
    order.truncate(k);
    order.sort_unstable();
    order
}

#[test]
fn selection_is_the_sorted_prefix_with_ties_to_the_smaller_index() {
    let mut random = Random(6);
    let special = [
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
    ];
    for n in [1, 2, 15, 16, 17, 63, 64, 65, 300, 1000, 5000, 40_000] {
        for kind in 0..7 {
            let mut scores: Vec<f32> = (0..n)
                .map(|i| match kind {
                    0 => random.unit(),
                    1 => random.below(9) as f32 - 4.0,
                    2 => special[random.below(special.len())],
                    3 => [0.0, -0.0][random.below(2)],
                    4 => i as f32,
                    5 => -(i as f32),
                    _ => random.unit() * (random.below(200) as f32 - 100.0).exp2(),
                })
                .collect();
            if n > 300 && kind == 0 {
                scores[n / 2] = f32::NAN;
            }
            for k in [1, 2, n / 50, n / 3, n - 1, n] {
                if !(1..=n).contains(&k) {
                    continue;
                }
                let expected = sorted_choice(&scores, k);
                for isa in isa::available() {
                    let mut chosen = vec![u32::MAX; k];
                    select::select_with(isa, &scores, &mut Scratch::default(), &mut chosen);
                    assert!(chosen == expected, "{k} of {n}, kind {kind}, {isa:?}");
                }
            }
        }
    }
    select(&[1.0], &mut Scratch::default(), &mut []);
}

proptest::proptest! {
    #[test]
    fn selection_of_any_bits(words: Vec<u32>, k in 1usize..40) {
        let scores: Vec<f32> = words.into_iter().map(f32::from_bits).collect();
        let mut chosen = vec![0; k.min(scores.len())];
        select(&scores, &mut Scratch::default(), &mut chosen);
        proptest::prop_assert_eq!(&chosen, &sorted_choice(&scores, chosen.len()));
    }
}

/// Trap 11 of spec §15: an entry of the future never takes a place, however high it scores.
#[test]
fn trap_11_the_causal_bound_comes_before_the_selection() {
    let (heads, ratio, top_k, queries) = (2, 4, 2, 40);
    for (width, format) in [
        (4, RowFormat::F32 { width: 4 }),
        (32, RowFormat::IndexKey { width: 32 }),
    ] {
        let mut keys = Rows::new(format, 2);
        for s in 0..10 {
            let value = e2m1::VALUES[1 + s % 7] * if s < 7 { 1.0 } else { 16.0 };
            keys.push(&vec![value; width]);
        }
        let indexer = Indexer {
            q: &vec![1.0; queries * heads * width],
            head_weights: &vec![0.5; queries * heads],
            heads,
            start: 0,
            ratio,
            top_k,
            keys: keys.view(),
        };
        for threads in [1, 2, 64] {
            let mut chosen = vec![u32::MAX; queries * top_k];
            indexer.choose(
                &mut Team::new(threads),
                &mut Workspace::default(),
                &mut chosen,
                top_k,
            );
            for (t, chosen) in chosen.chunks(top_k).enumerate() {
                let n = (t + 1) / ratio;
                let expected: Vec<u32> = (n.saturating_sub(top_k) as u32..n as u32).collect();
                assert_eq!(chosen[..expected.len()], expected, "query {t}");
            }
        }
    }
}
