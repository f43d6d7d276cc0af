use super::*;

/// Logits of the probabilities `weights`, up to scale.
fn logits_of(weights: &[f32]) -> Vec<f32> {
    weights.iter().map(|weight| weight.ln()).collect()
}

fn sampler(params: Params) -> Sampler {
    Sampler::new(params).unwrap()
}

/// How often each of `logits.len()` tokens is chosen at 20,000 positions.
fn counts(params: Params, logits: &[f32]) -> Vec<u32> {
    let mut sampler = sampler(params);
    let mut counts = vec![0; logits.len()];
    for position in 0..20_000 {
        counts[sampler.sample(logits, position).unwrap() as usize] += 1;
    }
    counts
}

/// Chi-squared statistic of `counts` against probabilities proportional to `weights`; a weight of 0 must have no count.
fn chi_squared(counts: &[u32], weights: &[f64]) -> f64 {
    let (n, total) = (f64::from(counts.iter().sum::<u32>()), weights.iter().sum::<f64>());
    let term = |(&count, &weight): (&u32, &f64)| {
        let expected = n * weight / total;
        if expected == 0.0 {
            assert_eq!(count, 0, "a token that was filtered out was chosen: {counts:?}");
            return 0.0;
        }
        (f64::from(count) - expected).powi(2) / expected
    };
    counts.iter().zip(weights).map(term).sum()
}

/// 99.99 % of chi-squared values with up to 5 degrees of freedom are below this.
const CHI_SQUARED_MAX: f64 = 25.7;

#[test]
fn each_filter_gives_its_distribution() {
    let logits = logits_of(&[0.05, 0.4, 0.1, 0.25, 0.15, 0.05]);
    let plain = Params {
        seed: 11,
        ..Params::default()
    };
    let cases: [(Params, [f64; 6]); 9] = [
        (plain, [0.05, 0.4, 0.1, 0.25, 0.15, 0.05]),
        (
            Params {
                temperature: 0.5,
                ..plain
            },
            [0.0025, 0.16, 0.01, 0.0625, 0.0225, 0.0025],
        ),
        (
            Params {
                temperature: 1e9,
                ..plain
            },
            [1.0; 6],
        ),
        (Params { top_k: 2, ..plain }, [0.0, 0.4, 0.0, 0.25, 0.0, 0.0]),
        (Params { top_k: 100, ..plain }, [0.05, 0.4, 0.1, 0.25, 0.15, 0.05]),
        // 0.4 + 0.25 is short of 0.7; the next reaches it and stays.
        (Params { top_p: 0.7, ..plain }, [0.0, 0.4, 0.0, 0.25, 0.15, 0.0]),
        (Params { min_p: 0.3, ..plain }, [0.0, 0.4, 0.0, 0.25, 0.15, 0.0]),
        // Of the two best, the first alone has 0.615 of the probability.
        (
            Params {
                top_k: 2,
                top_p: 0.6,
                ..plain
            },
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        ),
        // The two of 0.05 tie: the smaller index is the fifth.
        (Params { top_k: 5, ..plain }, [0.05, 0.4, 0.1, 0.25, 0.15, 0.0]),
    ];
    for (params, weights) in cases {
        let statistic = chi_squared(&counts(params, &logits), &weights);
        assert!(statistic < CHI_SQUARED_MAX, "{params:?}: {statistic}");
    }
}

#[test]
fn filters_keep_at_least_the_best() {
    let logits = logits_of(&[0.2, 0.5, 0.3]);
    for params in [
        Params {
            top_p: f32::MIN_POSITIVE,
            ..Params::default()
        },
        Params {
            top_k: 1,
            ..Params::default()
        },
        Params {
            min_p: 1.0,
            ..Params::default()
        },
        Params {
            temperature: f32::MIN_POSITIVE,
            ..Params::default()
        },
        Params {
            temperature: 1e-5,
            top_k: 3,
            top_p: 0.9,
            min_p: 0.5,
            seed: 3,
        },
        Params::greedy(),
    ] {
        assert_eq!(counts(params, &logits), [0, 20_000, 0], "{params:?}");
    }
}

#[test]
fn greedy_ties_go_to_the_smaller_index() {
    let mut greedy = sampler(Params::greedy());
    assert_eq!(greedy.sample(&[1.0, 3.0, 3.0, 2.0], 0), Ok(1));
    assert_eq!(greedy.sample(&[-0.0, 0.0], 0), Ok(0));
    assert_eq!(greedy.sample(&[f32::NEG_INFINITY, -1e30], 0), Ok(1));
}

#[test]
fn a_choice_depends_on_seed_and_position_only() {
    let logits: Vec<f32> = (0..500_u32).map(|n| ((n * 7919) % 97) as f32 / 30.0).collect();
    let params = Params {
        top_p: 0.95,
        seed: 5,
        ..Params::default()
    };
    let mut forwards = sampler(params);
    let text: Vec<u32> = (0..200)
        .map(|position| forwards.sample(&logits, position).unwrap())
        .collect();
    // In another order, with other work between the choices.
    let mut backwards = sampler(params);
    for position in (0..200).rev() {
        backwards.sample(&[0.5, 0.1], 7).unwrap();
        assert_eq!(backwards.sample(&logits, position).unwrap(), text[position]);
    }
    let mut other_seed = sampler(Params { seed: 6, ..params });
    let other: Vec<u32> = (0..200)
        .map(|position| other_seed.sample(&logits, position).unwrap())
        .collect();
    assert_ne!(other, text);
}

#[test]
fn filters_that_keep_everything_do_not_change_the_distribution_of_large_vocabularies() {
    // A flat distribution makes top_p look at nearly every candidate.
    let logits = vec![0.0; 6];
    let params = Params {
        top_p: 0.999_999,
        ..Params::default()
    };
    assert!(chi_squared(&counts(params, &logits), &[1.0; 6]) < CHI_SQUARED_MAX);
}

#[test]
fn what_is_no_number_is_never_chosen() {
    for params in [Params::greedy(), Params::default()] {
        let mut sampler = sampler(params);
        let error = sampler.sample(&[0.0, f32::NAN, 1.0], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the logit of token 1 is NaN; expected a number. The weights are damaged, or this is a bug"
        );
        assert!(matches!(
            sampler.sample(&[0.0, f32::INFINITY], 0),
            Err(SamplingError::NotFinite { token: 1, .. })
        ));
        assert_eq!(
            sampler.sample(&[f32::NEG_INFINITY; 3], 0),
            Err(SamplingError::NoCandidate)
        );
        assert_eq!(sampler.sample(&[], 0), Err(SamplingError::NoCandidate));
    }
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let plain = Params::default();
    for (params, text) in [
        (
            Params {
                temperature: -0.1,
                ..plain
            },
            "temperature is -0.1; expected a number from 0",
        ),
        (
            Params {
                temperature: f32::NAN,
                ..plain
            },
            "temperature is NaN; expected a number from 0",
        ),
        (
            Params {
                temperature: f32::INFINITY,
                ..plain
            },
            "temperature is inf; expected a number from 0",
        ),
        (
            Params { top_p: 0.0, ..plain },
            "top_p is 0; expected a number above 0 and at most 1",
        ),
        (
            Params { top_p: 1.5, ..plain },
            "top_p is 1.5; expected a number above 0 and at most 1",
        ),
        (
            Params { min_p: -1.0, ..plain },
            "min_p is -1; expected a number from 0 to 1",
        ),
    ] {
        assert_eq!(params.validate().unwrap_err().to_string(), text);
    }
}

#[test]
fn what_is_not_allowed_might_as_well_not_exist() {
    use llguidance::toktrie::SimpleVob;
    let logits: Vec<f32> = (0..40_u32).map(|n| ((n * 17) % 13) as f32 * 0.4).collect();
    let kept: Vec<u32> = (0..40).filter(|n| n % 3 != 1).collect();
    let fewer: Vec<f32> = kept.iter().map(|&n| logits[n as usize]).collect();
    let mut mask = SimpleVob::alloc(40);
    kept.iter().for_each(|&token| mask.allow_token(token));
    let others: Vec<u32> = (0..40).filter(|n| n % 3 == 1).collect();
    for (temperature, top_p, top_k, min_p) in [
        (0.0, 1.0, 0, 0.0),
        (1.0, 1.0, 0, 0.0),
        (0.7, 0.8, 0, 0.0),
        (1.3, 1.0, 5, 0.0),
        (2.0, 1.0, 0, 0.2),
    ] {
        let params = Params {
            temperature,
            top_p,
            top_k,
            min_p,
            seed: 5,
        };
        let mut sampler = sampler(params);
        for position in 0..300 {
            let alone = kept[sampler.sample(&fewer, position).unwrap() as usize];
            for allowed in [Allowed::Only(&mask), Allowed::AllBut(&others)] {
                let found = sampler.sample_from(&logits, position, allowed).unwrap();
                assert_eq!(found, alone, "{params:?} at {position}");
            }
            let all = sampler.sample_from(&logits, position, Allowed::ALL).unwrap();
            assert_eq!(all, sampler.sample(&logits, position).unwrap());
        }
    }
}

#[test]
fn a_logit_that_is_no_number_is_an_error_even_where_it_is_not_allowed() {
    let mut sampler = sampler(Params::default());
    let found = sampler.sample_from(&[0.0, f32::NAN], 0, Allowed::AllBut(&[1]));
    assert!(
        matches!(found, Err(SamplingError::NotFinite { token: 1, .. })),
        "{found:?}"
    );
    let found = sampler.sample_from(&[0.0, 1.0], 0, Allowed::AllBut(&[0, 1]));
    assert_eq!(found, Err(SamplingError::NoCandidate));
}
