//! What is measured: which prompts, which depths, how often.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::{bail, ensure};
use fathom_checkpoint::Config;

use crate::units::count;

/// Decoding starts at these depths unless `--depths` says otherwise; those beyond the context are left out.
const DEPTHS: [usize; 5] = [0, 8_192, 32_768, 131_072, 1_048_576];
/// `--interval` goes this far unless `--depths` says otherwise.
const INTERVAL_DEPTH: usize = 32_768;
const SESSIONS: [usize; 4] = [1, 2, 4, 8];
/// More would only measure how many states fit into memory.
const SESSIONS_MAX: usize = 1024;
const REPEATS: usize = 5;

/// Numbers separated by commas, or `none`; kept as they were typed until they can be explained.
#[derive(Clone, Debug)]
pub(super) struct List(String);

impl FromStr for List {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl List {
    /// Ascending, each number once.
    fn numbers(&self, option: &str) -> anyhow::Result<Vec<usize>> {
        if self.0 == "none" {
            return Ok(Vec::new());
        }
        let mut numbers = Vec::new();
        for text in self.0.split(',') {
            match text.trim().parse() {
                Ok(number) => numbers.push(number),
                Err(_) => bail!(
                    "{option} {}: `{text}` is no whole number; expected numbers separated by commas, or `none`",
                    self.0
                ),
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ScheduleOptions {
    /// Lengths of prompts to read, in tokens, or none
    #[arg(
        long,
        value_name = "LIST",
        default_value = "512,2048",
        help_heading = "Measurements"
    )]
    prefill: List,

    /// Tokens before the ones that are decoded, or none [default: 0,8192,32768,131072,1048576 as far as the model's
    /// context goes]
    #[arg(long, value_name = "LIST", help_heading = "Measurements")]
    depths: Option<List>,

    /// Tokens decoded at each depth
    #[arg(
        long = "gen",
        value_name = "N",
        default_value_t = 16,
        help_heading = "Measurements"
    )]
    generate: usize,

    /// Numbers of sessions that decode together, at the least of --depths, or none [default: 1,2,4,8, with --interval
    /// none]
    #[arg(
        long,
        value_name = "LIST",
        conflicts_with = "interval",
        help_heading = "Measurements"
    )]
    batch: Option<List>,

    /// Times that everything is measured, in turns, after a warm-up [default: 5, with --interval 1]
    #[arg(long, value_name = "N", help_heading = "Measurements")]
    repeats: Option<usize>,

    /// Read one long prompt for real instead, stopping every N tokens to decode there, up to the largest of --depths
    /// [default: 32768]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "prefill",
        help_heading = "Measurements"
    )]
    interval: Option<usize>,
}

/// What is measured. Lists ascend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Lengths of prompts.
    pub(super) prefill: Vec<usize>,
    /// Depths to decode at; with an interval, the frontiers of the one prompt.
    pub(super) depths: Vec<usize>,
    /// Whether the depths are reached by reading.
    pub(super) interval: Option<usize>,
    /// Numbers of sessions that decode together.
    pub(super) sessions: Vec<usize>,
    /// Tokens decoded and timed at each depth.
    pub(super) generate: usize,
    pub(super) repeats: usize,
    /// Default depths that this model's context does not reach.
    pub(super) left_out: Vec<usize>,
}

impl Schedule {
    /// Checks the options against the model.
    pub(super) fn new(options: &ScheduleOptions, config: &Config) -> anyhow::Result<Self> {
        let context = config.max_position_embeddings;
        let repeats = options
            .repeats
            .unwrap_or(if options.interval.is_some() { 1 } else { REPEATS });
        ensure!(
            repeats > 0,
            "--repeats 0 would measure nothing; expected at least 1"
        );
        let generate = options.generate;
        ensure!(
            generate > 0,
            "--gen 0 would decode nothing; expected at least 1 (or --depths none)"
        );
        ensure!(
            generate < context,
            "--gen {generate} does not fit into this model's context of {} tokens",
            count(context as u64)
        );
        let within = |option: &str, tokens: usize| {
            ensure!(
                tokens <= context,
                "{option} {tokens} is beyond this model's context of {} tokens; ask for at most that many",
                count(context as u64)
            );
            Ok(())
        };
        let given = options
            .depths
            .as_ref()
            .map(|list| list.numbers("--depths"))
            .transpose()?;
        for &depth in given.iter().flatten() {
            within("--depths", depth)?;
        }
        let mut schedule = Self {
            prefill: Vec::new(),
            depths: Vec::new(),
            sessions: Vec::new(),
            interval: options.interval,
            generate,
            repeats,
            left_out: Vec::new(),
        };
        if let Some(interval) = options.interval {
            ensure!(interval > 0, "--interval 0 makes no steps; expected at least 1");
            let room = context - generate - 1;
            let end = given.map_or(INTERVAL_DEPTH.min(room), |depths| {
                depths.last().copied().unwrap_or(0)
            });
            ensure!(
                interval <= end.min(room),
                "--interval {interval} has no frontier up to {}: the prompt ends there{}",
                count(end.min(room) as u64),
                if end > room {
                    ", to leave room for the decoded tokens"
                } else {
                    "; see --depths"
                }
            );
            schedule.depths = (1..=end.min(room) / interval).map(|i| i * interval).collect();
            return Ok(schedule);
        }
        schedule.prefill = options.prefill.numbers("--prefill")?;
        for &tokens in &schedule.prefill {
            ensure!(
                tokens > 0,
                "--prefill 0 would read nothing; expected at least 1, or `none`"
            );
            within("--prefill", tokens)?;
        }
        (schedule.depths, schedule.left_out) = match given {
            Some(depths) => (depths, Vec::new()),
            None => DEPTHS.into_iter().partition(|&depth| depth <= context),
        };
        schedule.sessions = match &options.batch {
            Some(list) => list.numbers("--batch")?,
            None => SESSIONS.to_vec(),
        };
        for &sessions in &schedule.sessions {
            ensure!(
                (1..=SESSIONS_MAX).contains(&sessions),
                "--batch {sessions}: expected 1 to {} sessions, or `none`",
                count(SESSIONS_MAX as u64)
            );
        }
        ensure!(
            !(schedule.prefill.is_empty() && schedule.depths.is_empty() && schedule.sessions.is_empty()),
            "--prefill none, --depths none and --batch none leave nothing to measure"
        );
        Ok(schedule)
    }

    /// Depth at which sessions decode together.
    pub(super) fn batch_depth(&self) -> usize {
        self.depths.first().copied().unwrap_or(0)
    }

    /// Tokens before the first one decoded at `depth`: one is decoded before the clock starts, and the last is still
    /// within the context.
    pub(super) fn start(&self, depth: usize, config: &Config) -> usize {
        depth.min(config.max_position_embeddings - self.generate - 1)
    }
}
