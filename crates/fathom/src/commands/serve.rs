//! `fathom serve`: the chat completions API on this machine.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fathom_cache::Cache;
use fathom_cache::disk::Disk;
use fathom_engine::Scheduling;
use fathom_serve::{Completed, Options, ServedModel, Server};

use crate::cache_options::CacheOptions;
use crate::model_source::{LoadedModel, ModelOptions};
use crate::output::print;
use crate::terminal::figures::plural;

/// Arguments of `fathom serve`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; other machines can reach the server only if this is not a loopback address
    #[arg(
        long,
        value_name = "HOST",
        default_value = "127.0.0.1",
        help_heading = "Server"
    )]
    host: String,

    /// Port to listen on; 0 takes any that is free
    #[arg(long, value_name = "N", default_value_t = 8017, help_heading = "Server")]
    port: u16,

    /// Answers computed at the same time, all of them in every step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Server")]
    parallel: u16,

    /// Requests that may wait beyond those; one more is refused with status 429
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Server")]
    queue: u16,

    /// How long a step may take while answers are written: prompts read beside them get what fits, so that no answer waits
    /// longer for its next token
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Server")]
    step_ms: u64,

    #[command(flatten)]
    cache: CacheOptions,

    #[command(flatten)]
    model: ModelOptions,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let LoadedModel {
        engine,
        name,
        sampling,
    } = args
        .model
        .load_with(|name| args.cache.settings(name), args.scheduling())?;
    let cache = engine.cache().clone();
    let noted = note(&cache, None);
    let (numerics, threads) = (engine.numerics(), plural(engine.threads(), "thread"));
    let model = ServedModel {
        sampling,
        ..ServedModel::new(engine, &name)
    };
    let options = Options {
        on_completed: Arc::new(log),
        ..Options::new(vec![model])
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The threads that matter are the engine's; these only move bytes.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the network threads")?;
    runtime.block_on(async {
        let server = Server::bind(&args.host, args.port, options).await?;
        let address = server.address()?;
        print(&format!(
            "{name} ({numerics}, {threads}) is served at http://{address}/v1\n\
             Try: curl http://{address}/v1/chat/completions -H 'Content-Type: application/json' \\\n     \
             -d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\
             Ctrl-C ends the server.\n"
        ))?;
        server.run(shutdown()).await.context("the server failed")
    })?;
    // What went wrong with writing meanwhile, if anything did.
    note(&cache, noted.as_deref());
    print("The server has ended.\n")?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn scheduling(&self) -> Scheduling {
        Scheduling {
            running_max: self.parallel.into(),
            waiting_max: self.queue.into(),
            step_max: Duration::from_millis(self.step_ms),
        }
    }
}

/// What the cache has to say of its directory, on standard error, unless it was `said` already.
fn note(cache: &Cache, said: Option<&str>) -> Option<String> {
    let notice = cache.disk().and_then(Disk::notice)?;
    if said != Some(notice.as_str()) {
        #[expect(clippy::print_stderr, reason = "this is the server's log")]
        {
            eprintln!("note: {notice}");
        }
    }
    Some(notice)
}

/// One line per answer, on standard error.
fn log(completed: &Completed) {
    let Completed {
        outcome,
        usage,
        miss,
        timings,
        ..
    } = completed;
    #[expect(clippy::print_stderr, reason = "this is the server's log")]
    {
        eprintln!(
            "answered: {outcome}, prompt {} ({} cached; {miss}), generated {}, {:.2} s + {:.2} s",
            usage.prompt,
            usage.cached,
            usage.generated,
            timings.prefill.as_secs_f64(),
            timings.decode.as_secs_f64(),
        );
    }
}

/// Over when the user or the system asks the server to end. Asked a second time, it ends the program at once.
async fn shutdown() {
    asked_to_end().await;
    tokio::spawn(async {
        asked_to_end().await;
        std::process::exit(crate::interrupt::EXIT_STATUS.into());
    });
    // If nobody reads this any more, the server still ends.
    print("\nFinishing the answers in progress; Ctrl-C again ends at once.\n").ok();
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a handler the system's default holds, which ends the program.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    tokio::signal::ctrl_c().await.ok();
}
