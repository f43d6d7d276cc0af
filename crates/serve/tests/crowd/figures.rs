//! Waiting times and memory.

use std::fmt;
use std::time::Duration;

/// Waiting times of those who read as fast as they could.
#[derive(Default)]
pub(crate) struct Figures {
    first: Vec<Duration>,
    between: Vec<Duration>,
    pieces: usize,
}

impl Figures {
    /// Counts a whole stream; its waiting times count if its client was not the cause of them.
    pub(crate) fn note(&mut self, times: &[Duration], reads: bool) {
        self.pieces += times.len();
        if reads {
            self.first.extend(times.first());
            self.between
                .extend(times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])));
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} pieces of text reached those who stayed", self.pieces)?;
        writeln!(f, "to the first piece: {}", told(&self.first))?;
        write!(f, "from piece to piece: {}", told(&self.between))
    }
}

fn told(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |part: f64| {
        let index = ((times.len().max(1) - 1) as f64 * part) as usize;
        times.get(index).map_or(0.0, Duration::as_secs_f64) * 1e3
    };
    format!(
        "median {:.1} ms, p90 {:.1}, p99 {:.1}, worst {:.1} ({} waits)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        times.len()
    )
}

/// Memory of this process that is in RAM; 0 where the system does not tell this way.
pub(crate) fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
