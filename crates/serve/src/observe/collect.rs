//! Figures that are read where they are kept, when they are asked for.

use std::fmt;
use std::sync::Arc;

use fathom_cache::{Miss, Stats};
use fathom_engine::{BATCH_SIZES, SchedulerStats};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::catalog::ServedModel;
use crate::presence::Presence;

/// What engines and caches count themselves.
pub(super) struct Engines {
    models: Vec<Arc<ServedModel>>,
    presence: Presence,
}

impl Engines {
    pub(super) fn new(models: Vec<Arc<ServedModel>>, presence: Presence) -> Self {
        Self { models, presence }
    }
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines").finish_non_exhaustive()
    }
}

/// One figure of a model.
type Figure<T> = (&'static str, &'static str, MetricType, fn(&T) -> u64);

const SCHEDULER: [Figure<SchedulerStats>; 8] = [
    (
        "running",
        "Answers in the batch, or being brought back into it",
        MetricType::Gauge,
        |stats| stats.running as u64,
    ),
    (
        "waiting",
        "Requests that wait for a place in the batch",
        MetricType::Gauge,
        |stats| stats.waiting as u64,
    ),
    (
        "kv_bytes",
        "What running answers hold of the memory for states",
        MetricType::Gauge,
        |stats| stats.held_bytes,
    ),
    ("steps", "Forward passes", MetricType::Counter, |stats| {
        stats.steps
    }),
    (
        "prefill_tokens",
        "Prompt tokens computed",
        MetricType::Counter,
        |stats| stats.prefill_tokens,
    ),
    (
        "decode_tokens",
        "Decode steps computed; by those of steps, the size of the batch",
        MetricType::Counter,
        |stats| stats.decode_tokens,
    ),
    (
        "preemptions",
        "Answers put back into the queue for want of memory",
        MetricType::Counter,
        |stats| stats.preemptions,
    ),
    (
        "decode_step_longest_microseconds",
        "The longest step that answers waited for",
        MetricType::Gauge,
        |stats| stats.decode_step_longest.as_micros() as u64,
    ),
];

const CACHE: [Figure<Stats>; 13] = [
    (
        "cache_ram_budget_bytes",
        "What pages, snapshots and running answers may take",
        MetricType::Gauge,
        |stats| stats.tree.ram_budget_bytes,
    ),
    (
        "cache_ram_bytes",
        "What the cache holds in memory",
        MetricType::Gauge,
        |stats| stats.tree.ram_bytes,
    ),
    (
        "cache_pages",
        "Pages known, in memory or on disk",
        MetricType::Gauge,
        |stats| stats.tree.pages,
    ),
    (
        "cache_snapshots",
        "Snapshots known, in memory or on disk",
        MetricType::Gauge,
        |stats| stats.tree.snapshots,
    ),
    (
        "cache_asked_tokens",
        "Prompt tokens looked up",
        MetricType::Counter,
        |stats| stats.tree.asked_tokens,
    ),
    (
        "cache_hit_tokens",
        "Of these, tokens that need not be computed",
        MetricType::Counter,
        |stats| stats.tree.hit_tokens,
    ),
    (
        "cache_replayed_tokens",
        "Tokens computed again for want of a snapshot",
        MetricType::Counter,
        |stats| stats.tree.replayed_tokens,
    ),
    (
        "cache_evicted_pages",
        "Pages that left memory",
        MetricType::Counter,
        |stats| stats.tree.evicted_pages,
    ),
    (
        "cache_evicted_snapshots",
        "Snapshots that left memory",
        MetricType::Counter,
        |stats| stats.tree.evicted_snapshots,
    ),
    (
        "cache_no_room",
        "Pages and snapshots that found no room in memory",
        MetricType::Counter,
        |stats| stats.tree.no_room,
    ),
    (
        "cache_damaged",
        "Records that could not be read back from disk",
        MetricType::Counter,
        |stats| stats.tree.damaged,
    ),
    (
        "cache_disk_bytes",
        "What the cache takes on disk",
        MetricType::Gauge,
        |stats| stats.disk.as_ref().map_or(0, |disk| disk.file_bytes),
    ),
    (
        "cache_disk_write_failures",
        "Writes to the cache's disk that failed",
        MetricType::Counter,
        |stats| stats.disk.as_ref().map_or(0, |disk| disk.write_errors),
    ),
];

impl Collector for Engines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let in_flight = ConstGauge::new(self.presence.len() as i64);
        let help = "Requests that generate, from their arrival to the end of their answer";
        in_flight.encode(encoder.encode_descriptor(
            "requests_in_flight",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let draining = ConstGauge::new(i64::from(self.presence.is_draining()));
        let help = "1 when the server is about to end";
        draining.encode(encoder.encode_descriptor("draining", help, None, MetricType::Gauge)?)?;

        let names: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
        let scheduler: Vec<_> = self.models.iter().map(|model| model.engine.stats()).collect();
        figures(&mut encoder, &SCHEDULER, &names, &scheduler)?;
        let help = "Answers that took a step together";
        let mut family = encoder.encode_descriptor("batch_size", help, None, MetricType::Histogram)?;
        for (name, stats) in names.iter().zip(&scheduler) {
            let bound = |&most: &usize| {
                if most == usize::MAX {
                    f64::INFINITY
                } else {
                    most as f64
                }
            };
            let buckets: Vec<_> = BATCH_SIZES.iter().map(bound).zip(stats.batches).collect();
            let steps = stats.batches.iter().sum();
            family
                .encode_family(&[("model", *name)])?
                .encode_histogram::<NoLabelSet>(stats.decode_tokens as f64, steps, &buckets, None)?;
        }
        let help = "Time spent on forward passes and what follows from them";
        let mut family = encoder.encode_descriptor("computing_seconds", help, None, MetricType::Counter)?;
        for (name, stats) in names.iter().zip(&scheduler) {
            let seconds = ConstCounter::new(stats.computing.as_secs_f64());
            seconds.encode(family.encode_family(&[("model", *name)])?)?;
        }

        let caches: Vec<_> = self
            .models
            .iter()
            .map(|model| model.engine.cache().stats())
            .collect();
        figures(&mut encoder, &CACHE, &names, &caches)?;

        let help = "Lookups of prompts, by why no more of them came from the cache";
        let mut family = encoder.encode_descriptor("cache_lookups", help, None, MetricType::Counter)?;
        for (name, stats) in names.iter().zip(&caches) {
            for (miss, count) in Miss::NAMES.iter().zip(stats.tree.lookups_by_miss) {
                let labels = [("model", *name), ("miss", *miss)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn figures<T>(
    encoder: &mut DescriptorEncoder<'_>,
    figures: &[Figure<T>],
    names: &[&str],
    all: &[T],
) -> fmt::Result {
    for (figure, help, kind, value) in figures {
        let mut family = encoder.encode_descriptor(figure, help, None, *kind)?;
        for (name, stats) in names.iter().zip(all) {
            let labels = [("model", *name)];
            let encoder = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value(stats)).encode(encoder)?,
                _ => ConstGauge::new(i64::try_from(value(stats)).unwrap_or(i64::MAX)).encode(encoder)?,
            }
        }
    }
    Ok(())
}

/// What the system says of this process, under the names that every exporter uses.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` where the system says nothing.
    asked: Option<(Pid, Mutex<System>)>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            asked: sysinfo::get_current_pid()
                .ok()
                .zip(System::new().ok().map(Mutex::new)),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((pid, system)) = &self.asked else {
            return Ok(());
        };
        let mut system = system.lock();
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[*pid]), false, what);
        let Some(process) = system.process(*pid) else {
            return Ok(());
        };
        let resident = ConstGauge::new(i64::try_from(process.memory()).unwrap_or(i64::MAX));
        let help = "Resident memory";
        resident.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let start = ConstGauge::new(i64::try_from(process.start_time()).unwrap_or(i64::MAX));
        let help = "When the process began, in seconds since 1970";
        start.encode(encoder.encode_descriptor(
            "process_start_time_seconds",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let cpu = ConstCounter::new(process.accumulated_cpu_time() as f64 / 1e3);
        let help = "Processor time used";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)
    }
}
