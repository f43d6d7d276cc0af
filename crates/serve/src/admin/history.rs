//! Samples of the last ten minutes, so that the operator's page has a past as soon as it is opened.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::catalog::ServedModel;

/// Time between samples.
const PERIOD: Duration = Duration::from_secs(1);
/// Ten minutes of them, some 100 bytes for each model.
const SAMPLES_MAX: usize = 600;

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    /// Bytes of the process in RAM, mapped weights included; `None` where the system does not say.
    pub(crate) resident_bytes: Option<u64>,
    /// In the operator's order.
    pub(crate) models: Vec<ModelSample>,
}

/// One model at that moment. Counts of tokens, steps and lookups begin at 0 when the server starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ModelSample {
    running: usize,
    waiting: usize,
    held_bytes: u64,
    steps: u64,
    prefill_tokens: u64,
    decode_tokens: u64,
    ram_bytes: u64,
    disk_bytes: u64,
    asked_tokens: u64,
    hit_tokens: u64,
}

impl ModelSample {
    fn of(model: &ServedModel) -> Self {
        let engine = model.engine.stats();
        let cache = model.engine.cache().stats();
        Self {
            running: engine.running,
            waiting: engine.waiting,
            held_bytes: engine.held_bytes,
            steps: engine.steps,
            prefill_tokens: engine.prefill_tokens,
            decode_tokens: engine.decode_tokens,
            ram_bytes: cache.tree.ram_bytes,
            disk_bytes: cache.disk.map_or(0, |disk| disk.live_bytes),
            asked_tokens: cache.tree.asked_tokens,
            hit_tokens: cache.tree.hit_tokens,
        }
    }
}

/// The last samples.
pub(crate) struct History {
    started: Timestamp,
    samples: Mutex<VecDeque<Sample>>,
}

impl History {
    /// An empty one that begins now.
    pub(crate) fn new() -> Self {
        Self {
            started: Timestamp::now(),
            samples: Mutex::default(),
        }
    }

    /// When the server started.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Samples after `since`, oldest first.
    pub(crate) fn after(&self, since: i64) -> Vec<Sample> {
        let samples = self.samples.lock();
        let first = samples.partition_point(|sample| sample.at <= since);
        samples.range(first..).cloned().collect()
    }

    fn push(&self, sample: Sample) {
        let mut samples = self.samples.lock();
        // A clock that was set back would break the order.
        while samples.back().is_some_and(|last| last.at >= sample.at) {
            samples.pop_back();
        }
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

/// Takes samples until `app` is gone. Must be called inside a tokio runtime.
pub(crate) fn watch(app: &Arc<App>) {
    let app = Arc::downgrade(app);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(app) = Weak::upgrade(&app) else { return };
            app.history.push(sample(&app));
        }
    });
}

fn sample(app: &App) -> Sample {
    Sample {
        at: Timestamp::now().as_millisecond(),
        resident_bytes: resident_bytes(),
        models: app
            .catalog
            .models()
            .iter()
            .map(|model| ModelSample::of(model))
            .collect(),
    }
}

/// What `/proc` says; other systems have no file to ask.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: i64) -> Sample {
        Sample {
            at,
            resident_bytes: None,
            models: Vec::new(),
        }
    }

    fn times(history: &History, since: i64) -> Vec<i64> {
        history.after(since).iter().map(|sample| sample.at).collect()
    }

    #[test]
    fn keeps_the_last_and_gives_what_is_new() {
        let history = History::new();
        for time in 0..SAMPLES_MAX as i64 + 5 {
            history.push(at(time));
        }
        assert_eq!(history.after(-1).len(), SAMPLES_MAX);
        assert_eq!(history.after(-1)[0].at, 5);
        let last = SAMPLES_MAX as i64 + 4;
        assert_eq!(times(&history, last - 2), [last - 1, last]);
        assert!(times(&history, last).is_empty());
    }

    #[test]
    fn stays_in_order_when_the_clock_is_set_back() {
        let history = History::new();
        for time in [10, 20, 30, 15, 25] {
            history.push(at(time));
        }
        assert_eq!(times(&history, 0), [10, 15, 25]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_takes_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
