//! The machine: what it is, what this process holds of its memory, and who else uses it.

use std::fs;

use fathom_engine::memory;
use fathom_kernels::machine::{READ_BUFFER_BYTES, ReadBuffer};

/// The processor's name, where the system tells.
pub(super) fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Memory to measure reading with: at most a quarter of what is free.
pub(super) fn read_buffer() -> ReadBuffer {
    let quarter = memory::available().map_or(u64::MAX, |free| free / 4);
    ReadBuffer::new(READ_BUFFER_BYTES.min(usize::try_from(quarter).unwrap_or(usize::MAX)))
}

/// Memory of this process in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryUse {
    /// All that is resident, mapped weights included.
    pub(super) resident: u64,
    /// What no file holds: cache, workspace, copies.
    pub(super) anonymous: u64,
}

impl MemoryUse {
    /// As the system counts it now; `None` where it does not tell.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// All but `bytes` of anonymous memory.
    pub(super) fn without(self, bytes: usize) -> Self {
        Self {
            resident: self.resident.saturating_sub(bytes as u64),
            anonymous: self.anonymous.saturating_sub(bytes as u64),
        }
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(1024 * kibibytes)
        };
        Some(Self {
            resident: bytes("VmRSS:")?,
            anonymous: bytes("RssAnon:")?,
        })
    }
}

/// Processor time since the system started, all in its ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuTime {
    total: u64,
    busy: u64,
    own: u64,
}

impl CpuTime {
    /// `None` where the system does not tell.
    pub(super) fn now() -> Option<Self> {
        Self::parse(
            &fs::read_to_string("/proc/stat").ok()?,
            &fs::read_to_string("/proc/self/stat").ok()?,
        )
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal
        let ticks: Vec<u64> = all
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map_while(|ticks| ticks.parse().ok())
            .collect();
        let &[user, nice, system, idle, iowait, irq, softirq, steal] = ticks.as_slice() else {
            return None;
        };
        let busy = user + nice + system + irq + softirq + steal;
        // The program's name may hold anything, so counting starts behind it; times are fields 14 and 15.
        let (_, own) = own.rsplit_once(')')?;
        let mut own = own
            .split_whitespace()
            .skip(11)
            .map_while(|ticks| ticks.parse::<u64>().ok());
        Some(Self {
            total: busy + idle + iowait,
            busy,
            own: own.next()? + own.next()?,
        })
    }

    /// Share of the machine's processors that others used from `start` to now.
    pub(super) fn others_share(self, start: Self) -> f64 {
        let total = self.total.saturating_sub(start.total).max(1);
        let others =
            (self.busy.saturating_sub(start.busy)).saturating_sub(self.own.saturating_sub(start.own));
        others as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_figures_are_found() {
        let memory = MemoryUse::parse("Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t 12 kB\n").unwrap();
        assert_eq!((memory.resident, memory.anonymous), (2048 * 1024, 12 * 1024));
        let time = |all, own| CpuTime::parse(all, own).unwrap();
        let start = time(
            "cpu  10 0 10 100 0 0 0 0 0 0\ncpu0 1\n",
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 6 4 0",
        );
        let end = time(
            "cpu  70 0 10 140 0 0 0 0 0 0\n",
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 46 4 0",
        );
        assert_eq!(end.others_share(start), 0.2);
        assert!(MemoryUse::parse("").is_none() && CpuTime::parse("", "").is_none());
    }
}
