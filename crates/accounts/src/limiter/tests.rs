use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

const KEY: KeyId = KeyId(1);

/// A limiter and the hands of its clock, in milliseconds.
fn limiter(defaults: Limits) -> (Limiter, Arc<AtomicU64>) {
    let hands = Arc::new(AtomicU64::new(0));
    let clock = hands.clone();
    let limiter = Limiter::with_clock(
        defaults,
        Arc::new(move || 2 * DAY + Duration::from_millis(clock.load(Ordering::Relaxed))),
    );
    (limiter, hands)
}

#[test]
fn requests_in_progress_are_counted_by_key_and_by_model() {
    let (limiter, _) = limiter(Limits::default());
    let limits = Limits {
        concurrent: Some(3),
        concurrent_per_model: Some(2),
        ..Limits::default()
    };
    let admit = |key, model| limiter.admit(key, &limits, model);
    let a = admit(KEY, "flash").unwrap();
    let b = admit(KEY, "flash").unwrap();
    assert_eq!(
        admit(KEY, "flash").unwrap_err(),
        Refusal::ConcurrentOfModel { limit: 2 }
    );
    let c = admit(KEY, "pro").unwrap();
    assert_eq!(admit(KEY, "pro").unwrap_err(), Refusal::Concurrent { limit: 3 });
    let other = admit(KeyId(2), "flash").unwrap();
    drop(a);
    let d = admit(KEY, "pro").unwrap();
    drop((b, c, d, other));
    assert_eq!(limiter.in_use(KEY), InUse::default());
    assert!(limiter.keys.lock()[&KEY].running_by_model.is_empty());
}

#[test]
fn a_keys_own_limits_come_before_the_servers() {
    let (limiter, _) = limiter(Limits {
        concurrent: Some(1),
        ..Limits::default()
    });
    let own = Limits {
        concurrent: Some(2),
        ..Limits::default()
    };
    let _first = limiter.admit(KEY, &own, "flash").unwrap();
    let _second = limiter.admit(KEY, &own, "flash").unwrap();
    assert!(limiter.admit(KEY, &Limits::default(), "flash").is_err());
}

#[test]
fn tokens_run_out_and_come_back() {
    let (limiter, hands) = limiter(Limits::default());
    let limits = Limits {
        tokens_per_minute: Some(100),
        tokens_per_day: Some(250),
        ..Limits::default()
    };
    let admit = || limiter.admit(KEY, &limits, "flash");
    drop(admit().unwrap());
    limiter.charge(KEY, 99);
    drop(admit().unwrap());
    hands.store(500, Ordering::Relaxed);
    limiter.charge(KEY, 20);
    let refusal = admit().unwrap_err();
    assert_eq!(limiter.in_use(KEY).running, 0);
    assert_eq!(
        refusal.to_string(),
        "this key has used 119 tokens in the last minute, its limit is 100; try again in 61 s"
    );
    // The second in which they were used ends at 1 s.
    assert_eq!(refusal.retry_after(), Some(Duration::from_millis(60_500)));
    hands.store(60_999, Ordering::Relaxed);
    assert!(admit().is_err());
    hands.store(61_000, Ordering::Relaxed);
    drop(admit().unwrap());
    limiter.charge(KEY, 131);
    let refusal = admit().unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::Tokens {
                per: Per::Day,
                used: 250,
                ..
            }
        ),
        "{refusal}"
    );
    hands.store(15 * 60_000 + 24 * 3_600_000, Ordering::Relaxed);
    drop(admit().unwrap());
}

#[test]
fn a_restart_does_not_forget_the_day() {
    let (limiter, hands) = limiter(Limits::default());
    let limits = Limits {
        tokens_per_day: Some(100),
        ..Limits::default()
    };
    limiter.seed(KEY, Duration::from_hours(23), 60);
    limiter.seed(KEY, Duration::from_mins(1), 60);
    limiter.seed(KEY, Duration::from_hours(48), 1_000);
    let wait = limiter.admit(KEY, &limits, "flash").unwrap_err().retry_after();
    assert_eq!(wait, Some(Duration::from_mins(75)));
    hands.store(1_000 * (3_600 + 900), Ordering::Relaxed);
    drop(limiter.admit(KEY, &limits, "flash").unwrap());
}

#[test]
fn keys_with_nothing_to_remember_are_forgotten() {
    let (limiter, hands) = limiter(Limits::default());
    let held = limiter.admit(KeyId(-1), &Limits::default(), "flash").unwrap();
    for round in 0..3_u64 {
        hands.store(round * 2 * 24 * 3_600_000, Ordering::Relaxed);
        for key in 0..1_000 {
            let key = KeyId((round * 1_000 + key) as i64);
            drop(limiter.admit(key, &Limits::default(), "flash").unwrap());
            limiter.charge(key, 5);
        }
    }
    let keys = limiter.keys.lock().len();
    assert!(keys <= 2 * KEYS_BEFORE_CLEANING, "{keys}");
    assert_eq!(limiter.in_use(KeyId(-1)).running, 1);
    drop(held);
}

/// What happens to one key.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Ask,
    /// Ends the oldest request in progress, with so many tokens.
    End(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..40_000_u64).prop_map(Step::Wait),
        (0..40_000_000_u64).prop_map(Step::Wait),
        Just(Step::Ask),
        Just(Step::Ask),
        (0..200_u64).prop_map(Step::End),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Against a list of everything that was ever used: a request is let in only if less than the limit was used in the stretch that
    /// ends now, and refused only if the limit was used in a stretch longer by one step. `retry_after` is exact.
    #[test]
    fn limits_hold_and_are_no_stricter_than_said(steps in steps(), concurrent in 1..5_u32, per_minute in 1..400_u64, per_day in 1..2_000_u64) {
        let limits = Limits {
            concurrent: Some(concurrent),
            concurrent_per_model: None,
            tokens_per_minute: Some(per_minute),
            tokens_per_day: Some(per_day),
        };
        let (limiter, hands) = limiter(Limits::default());
        let mut running = VecDeque::new();
        let mut used: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        let sum = |used: &[(u64, u64)], now: u64, length: u64| -> u64 {
            used.iter().filter(|(at, _)| at + length > now).map(|(_, tokens)| tokens).sum()
        };
        for step in steps {
            match step {
                Step::Wait(milliseconds) => {
                    now += milliseconds;
                    hands.store(now, Ordering::Relaxed);
                }
                Step::End(tokens) => {
                    if running.pop_front().is_some() {
                        limiter.charge(KEY, tokens);
                        used.push((now, tokens));
                    }
                }
                Step::Ask => match limiter.admit(KEY, &limits, "flash") {
                    Ok(permit) => {
                        prop_assert!(running.len() < concurrent as usize);
                        prop_assert!(sum(&used, now, 60_000) < per_minute);
                        prop_assert!(sum(&used, now, 86_400_000) < per_day);
                        running.push_back(permit);
                    }
                    Err(Refusal::Tokens { used: told, limit, per, retry_after }) => {
                        let (length, step) = match per {
                            Per::Minute => (60_000, 1_000),
                            Per::Day => (86_400_000, 900_000),
                        };
                        prop_assert!(told >= limit && told <= sum(&used, now, length + step));
                        prop_assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_millis(length + step));
                        // Just before it is refused for the same reason, then not.
                        let wait = retry_after.as_millis() as u64;
                        let blocked = |at: u64| {
                            hands.store(at, Ordering::Relaxed);
                            matches!(limiter.clone_for_test().admit(KEY, &limits, "flash"), Err(Refusal::Tokens { per: again, .. }) if again == per)
                        };
                        prop_assert!(blocked(now + wait - 1));
                        prop_assert!(!blocked(now + wait));
                        hands.store(now, Ordering::Relaxed);
                    }
                    Err(Refusal::Concurrent { limit }) => {
                        prop_assert_eq!((limit, running.len()), (concurrent, concurrent as usize));
                    }
                    Err(other) => return Err(TestCaseError::fail(other.to_string())),
                },
            }
            prop_assert_eq!(limiter.in_use(KEY).running as usize, running.len());
        }
    }
}

impl Limiter {
    /// One to try things with: windows of its own, nothing in progress.
    fn clone_for_test(&self) -> Self {
        let keys = self.keys.lock();
        let copy = keys.iter().map(|(key, usage)| {
            let usage = Usage {
                minute: usage.minute.clone(),
                day: usage.day.clone(),
                ..Usage::new()
            };
            (*key, usage)
        });
        Self {
            keys: Arc::new(Mutex::new(copy.collect())),
            ..self.clone()
        }
    }
}
