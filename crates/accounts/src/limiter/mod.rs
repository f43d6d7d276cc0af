//! Requests at the same time, and tokens per minute and day.
//!
//! A token limit looks at what was used: what a request will use is known when it has ended. A request is let in while less than the
//! limit was used in the last 60 seconds (24 hours), and counts with all its tokens when it is recorded. So a key can go
//! beyond its limit by what it has in progress, and then waits until enough of it is old.
//!
//! Memory: about 1.5 KiB for each key that has asked within a day; those are keys of the file, for others never get here.

mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{KeyId, Limits};
use window::Window;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// So many keys are kept before those with nothing to remember are looked for.
const KEYS_BEFORE_CLEANING: usize = 1_024;

/// Time since some moment.
type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What every key is using. Clones are the same limiter.
#[derive(Clone)]
pub struct Limiter {
    /// For keys without limits of their own.
    defaults: Limits,
    clock: Clock,
    keys: Arc<Mutex<HashMap<KeyId, Usage>>>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Usage {
    running: u32,
    /// Models with requests in progress.
    running_by_model: HashMap<Box<str>, u32>,
    minute: Window<60>,
    day: Window<96>,
}

impl Usage {
    fn new() -> Self {
        Self {
            running: 0,
            running_by_model: HashMap::new(),
            minute: Window::new(MINUTE),
            day: Window::new(DAY),
        }
    }

    fn budget(&mut self, limits: &Limits, now: Duration) -> Result<(), Refusal> {
        // The longer wait first: there is no use in coming back after a minute.
        if let Some(limit) = limits.tokens_per_day {
            refuse(&mut self.day, now, limit, Per::Day)?;
        }
        if let Some(limit) = limits.tokens_per_minute {
            refuse(&mut self.minute, now, limit, Per::Minute)?;
        }
        Ok(())
    }
}

/// Why a request may not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// So many are in progress.
    #[error("this key has {limit} requests in progress, its limit; try again when one of them has ended")]
    Concurrent {
        /// The limit.
        limit: u32,
    },
    /// So many of this model are in progress.
    #[error(
        "this key has {limit} requests of this model in progress, its limit; try again when one of them has ended"
    )]
    ConcurrentOfModel {
        /// The limit.
        limit: u32,
    },
    /// So many tokens were used.
    #[error("this key has used {used} tokens in the last {per}, its limit is {limit}; try again in {} s", retry_after_seconds(*retry_after))]
    Tokens {
        /// What was used.
        used: u64,
        /// The limit.
        limit: u64,
        /// In which time.
        per: Per,
        /// When less than the limit will have been used.
        retry_after: Duration,
    },
}

impl Refusal {
    /// When to try again, if that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Tokens { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Rounded up, as the header `retry-after` has it.
fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_nanos().div_ceil(1_000_000_000) as u64
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// 60 seconds.
    Minute,
    /// 24 hours.
    Day,
}

impl std::fmt::Display for Per {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Day => "24 hours",
        })
    }
}

/// What a key is using now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Requests in progress.
    pub running: u32,
    /// Tokens in the last minute.
    pub tokens_last_minute: u64,
    /// Tokens in the last 24 hours.
    pub tokens_last_day: u64,
}

/// A request in progress; it has ended when this is dropped.
#[derive(Debug)]
#[must_use = "the request counts as ended when this is dropped"]
pub struct Permit {
    limiter: Limiter,
    key: KeyId,
    model: Box<str>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut keys = self.limiter.keys.lock();
        let Some(usage) = keys.get_mut(&self.key) else {
            return;
        };
        usage.running = usage.running.saturating_sub(1);
        if let Some(running) = usage.running_by_model.get_mut(&self.model) {
            *running -= 1;
            if *running == 0 {
                usage.running_by_model.remove(&self.model);
            }
        }
    }
}

impl Limiter {
    /// With limits for keys that have none of their own.
    pub fn new(defaults: Limits) -> Self {
        let start = Instant::now();
        // A day into its time, so that yesterday can be told it.
        Self::with_clock(defaults, Arc::new(move || start.elapsed() + 2 * DAY))
    }

    fn with_clock(defaults: Limits, clock: Clock) -> Self {
        Self {
            defaults,
            clock,
            keys: Arc::default(),
        }
    }

    /// Lets a request begin, or says why not.
    pub fn admit(&self, key: KeyId, limits: &Limits, model: &str) -> Result<Permit, Refusal> {
        let limits = limits.or(self.defaults);
        let now = (self.clock)();
        let mut keys = self.keys.lock();
        if keys.len() >= KEYS_BEFORE_CLEANING && !keys.contains_key(&key) {
            keys.retain(|_, usage| usage.running > 0 || usage.day.used(now) > 0);
        }
        let usage = keys.entry(key).or_insert_with(Usage::new);
        if let Some(limit) = limits.concurrent.filter(|limit| usage.running >= *limit) {
            return Err(Refusal::Concurrent { limit });
        }
        let of_model = usage.running_by_model.get(model).copied().unwrap_or(0);
        if let Some(limit) = limits.concurrent_per_model.filter(|limit| of_model >= *limit) {
            return Err(Refusal::ConcurrentOfModel { limit });
        }
        usage.budget(&limits, now)?;
        usage.running += 1;
        *usage.running_by_model.entry(model.into()).or_default() += 1;
        Ok(Permit {
            limiter: self.clone(),
            key,
            model: model.into(),
        })
    }

    /// Counts the tokens of a request that has ended. [`Accounts::record`](crate::Accounts::record) does it.
    pub fn charge(&self, key: KeyId, tokens: u64) {
        let now = (self.clock)();
        let mut keys = self.keys.lock();
        let usage = keys.entry(key).or_insert_with(Usage::new);
        usage.minute.add(now, tokens);
        usage.day.add(now, tokens);
    }

    /// Tokens that were used `ago`, before this limiter was there.
    pub(crate) fn seed(&self, key: KeyId, ago: Duration, tokens: u64) {
        let now = (self.clock)();
        let mut keys = self.keys.lock();
        let usage = keys.entry(key).or_insert_with(Usage::new);
        // A quarter of an hour is too coarse for the minute.
        usage.day.add_before(now, ago, tokens);
    }

    /// What a key is using.
    pub fn in_use(&self, key: KeyId) -> InUse {
        let now = (self.clock)();
        self.keys
            .lock()
            .get_mut(&key)
            .map_or_else(InUse::default, |usage| InUse {
                running: usage.running,
                tokens_last_minute: usage.minute.used(now),
                tokens_last_day: usage.day.used(now),
            })
    }
}

fn refuse<const N: usize>(
    window: &mut Window<N>,
    now: Duration,
    limit: u64,
    per: Per,
) -> Result<(), Refusal> {
    let used = window.used(now);
    if used < limit {
        return Ok(());
    }
    Err(Refusal::Tokens {
        used,
        limit,
        per,
        retry_after: window.wait(now, limit),
    })
}

#[cfg(test)]
mod tests;
