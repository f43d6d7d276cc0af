//! `fathom serve`: models over HTTP, for one person or a team.
//!
//! What is said in flags, environment and file is settled by [`crate::config`]; `models` turns it into engines; the rest is here.
//! Options of a concern are a struct of their own, flattened into [`Args`], with a method that says what is wrong with them.

mod access;
mod check;
mod doors;
mod ledger;
mod log;
mod models;
mod network;
mod shutdown;
mod watching;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Command, FromArgMatches as _};
use fathom_serve::{Options, ServedModel, Server};

use self::access::AccessOptions;
use self::check::CheckOptions;
use self::doors::{Doors, Shown};
use self::ledger::LedgerOptions;
use self::models::spec::ModelSpec;
use self::models::table::PerModel;
use self::models::{Planned, plan, wanted};
use self::network::NetworkOptions;
use self::watching::WatchingOptions;
use crate::config::{self, ConfigOptions, Configured, Environment, Rules};
use crate::output::print;

/// Arguments of `fathom serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every option can also stand in the file of --config and in the environment: --cache-ram 16G, cache-ram = \"16G\", \
FATHOM_CACHE_RAM=16G. What is typed wins, then the environment, then the file.")]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: ConfigOptions,

    #[command(flatten)]
    check: CheckOptions,

    #[command(flatten)]
    access: AccessOptions,

    /// Refuse what the hosted API refuses even where that hurts clients
    #[arg(long, help_heading = "Server")]
    strict: bool,

    #[command(flatten)]
    ledger: LedgerOptions,

    #[command(flatten)]
    network: NetworkOptions,

    #[command(flatten)]
    watching: WatchingOptions,

    /// A checkpoint directory to serve, or builtin, as NAME if one is given; may be given several times. Without it, the models
    /// of the configuration file, else the small built-in one
    #[arg(long = "model", value_name = "[NAME=]DIR", help_heading = "Model")]
    model: Vec<ModelSpec>,

    #[command(flatten)]
    per_model: PerModel,

    /// Run even if the models or a context do not fit into free memory
    #[arg(long, help_heading = "Model")]
    ignore_memory: bool,
}

const RULES: Rules = Rules {
    not_settings: &["config", "print-config", "check", "json"],
    tables: &[("models", models::keys)],
    said_by_tables: &[(
        "model",
        "in a file, models are tables: write [[models]] with a name and a path below it",
    )],
};

/// Makes the options of `serve` settings.
pub(crate) fn configurable(program: Command) -> Command {
    program.mut_subcommand("serve", |serve| config::with_switches(serve, RULES.not_settings))
}

/// Runs the command.
pub(crate) fn run(typed: &Args) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let configured = typed.configuration.read(&environment).and_then(|file| {
        let typed = std::env::args_os();
        Configured::resolve(crate::program(), "serve", RULES, typed, &environment, file)
    });
    let configured = match configured {
        Ok(configured) => configured,
        Err(problems) => return typed.check.refuse(problems),
    };
    for note in &configured.notes {
        log::line(&format!("note: {note}"));
    }
    let args = Args::from_arg_matches(configured.settings.matches())?;
    let (wanted, mut problems) = wanted(&configured, &args.model);
    if args.configuration.print_config {
        problems.into_result()?;
        let models: Vec<_> = wanted
            .iter()
            .map(|model| model.settings.as_table("models", &configured.settings))
            .collect();
        print(&configured.printed("serve", &models))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (models, more) = plan(wanted, args.ignore_memory);
    problems.0.extend(more.0);
    let (keys, more) = args.ledger.look(
        models
            .iter()
            .filter_map(|model| model.wanted.table.price.as_deref()),
    );
    problems.0.extend(more);
    problems.0.extend(args.access.problems(keys));
    problems.0.extend(args.network.problems());
    problems.0.extend(args.watching.problems());
    if args.check.check {
        return check::run(&args, &configured, &models, keys, problems.0);
    }
    problems.into_result()?;
    serve(&args, models)
}

fn serve(args: &Args, models: Vec<Planned>) -> anyhow::Result<ExitCode> {
    // Before the models, which take their time.
    args.access.try_port()?;
    args.watching.begin();
    let models = models::load(models, args.ignore_memory)?;
    let shown: Vec<_> = models
        .iter()
        .map(|(model, loaded)| Shown::of(model, loaded))
        .collect();
    let caches: Vec<_> = models
        .iter()
        .map(|(_, loaded)| loaded.engine.cache().clone())
        .collect();
    let noted: Vec<_> = caches.iter().map(|cache| log::note(cache, None)).collect();
    let models = models.into_iter().map(|(model, loaded)| ServedModel {
        name: model.name,
        aliases: model.aliases,
        tier: model.tier,
        price: model.price,
        sampling: loaded.sampling,
        engine: loaded.engine,
    });
    let options = Options {
        strict: args.strict,
        accounts: Some(Arc::new(args.ledger.open()?)),
        require_key: args.access.key_needed(),
        local_names_only: args.access.local_names_only(),
        body_bytes_max: usize::try_from(args.network.body_max).unwrap_or(usize::MAX),
        wait_max: args.network.queue_wait(),
        key_queue: args.network.key_queue.into(),
        network: args.network.network(),
        cors_origins: args.network.cors.clone(),
        metrics_open: args.watching.metrics_open,
        ledger_required: args.watching.ledger_required,
        ..Options::new(models.collect())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The threads that matter are the engines'; these only move bytes.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the network threads")?;
    runtime.block_on(async {
        let server = Server::bind(&args.access.host, args.access.port, options).await?;
        let doors = Doors {
            scheme: if args.network.is_encrypted() {
                "https"
            } else {
                "http"
            },
            address: server.address()?,
            key_needed: args.access.key_needed(),
        };
        print(&doors.text(&shown))?;
        server.run(shutdown::asked()).await.context("the server failed")
    })?;
    // What went wrong with writing meanwhile, if anything did.
    for (cache, noted) in caches.iter().zip(noted) {
        log::note(cache, noted.as_deref());
    }
    print("The server has ended.\n")?;
    Ok(ExitCode::SUCCESS)
}
