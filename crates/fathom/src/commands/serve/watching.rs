//! What the operator sees of the server.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Logs and figures.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WatchingOptions {
    /// How lines of the log, on standard error, are written
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Form::Text, help_heading = "Watching")]
    log: Form,

    /// What is logged: off, error, warn, info, debug or trace, or by part, such as warn,fathom::request=info
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = "Watching")]
    log_level: String,

    /// Show /metrics to everybody who can reach the server; otherwise it needs an administrator's key wherever keys are needed
    #[arg(long, help_heading = "Watching")]
    pub(crate) metrics_open: bool,

    /// Serve nothing while the ledger cannot be written; otherwise records are kept and tried again
    #[arg(long, help_heading = "Watching")]
    pub(crate) ledger_required: bool,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    /// For people
    Text,
    /// A JSON object each
    Json,
}

impl WatchingOptions {
    /// What is wrong.
    pub(crate) fn problems(&self) -> Vec<String> {
        let filter = EnvFilter::try_new(&self.log_level);
        let problem = filter.err().map(|error| {
            format!(
                "--log-level {} is no level: {error}. Expected off, error, warn, info, debug or trace, or a list such as \
                 warn,fathom::request=info",
                self.log_level
            )
        });
        problem.into_iter().collect()
    }

    /// Begins to log. Only the first call in a process counts.
    pub(crate) fn begin(&self) {
        // Checked before.
        let filter = EnvFilter::try_new(&self.log_level).unwrap_or_default();
        let log = fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false);
        let begun = match self.log {
            Form::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
            Form::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
        };
        drop(begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        let problems = |level: &str| {
            let options = WatchingOptions {
                log: Form::Text,
                log_level: level.to_owned(),
                metrics_open: false,
                ledger_required: false,
            };
            options.problems()
        };
        for level in ["off", "info", "warn,fathom::request=info"] {
            assert!(problems(level).is_empty(), "{level}");
        }
        let loud = problems("a=loud");
        assert!(
            loud.len() == 1 && loud[0].starts_with("--log-level a=loud is no level: "),
            "{loud:?}"
        );
    }
}
