//! `fathom chat`: a conversation in the terminal.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fathom_engine::answer::Options;
use fathom_prompt::Thinking;

use crate::chat::{Chat, Editor, Lines, Panes, history_path};
use crate::interrupt::Interrupt;
use crate::model_source::{LoadedModel, ModelOptions};
use crate::sampling_options::SamplingOptions;
use crate::terminal::{Pane, Progress, is_dumb};

/// Arguments of `fathom chat`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How hard to think: off, low, high or max; /think changes it later
    #[arg(long, value_name = "MODE")]
    think: Option<Thinking>,

    /// Instructions before the conversation; /system changes them later
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Go on with a conversation saved with /save
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,

    #[command(flatten)]
    sampling: SamplingOptions,

    #[command(flatten)]
    model: ModelOptions,
}

/// Runs the command.
///
/// With a person at the keyboard it greets and edits lines; otherwise it answers line after line, and a line that could
/// not be done makes the exit status 1.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let interactive = io::stdin().is_terminal();
    let loading = Progress::start(
        "loading the model",
        io::stderr().is_terminal() && !is_dumb(),
        None,
    );
    let LoadedModel {
        engine,
        name,
        sampling,
    } = args.model.load()?;
    drop(loading);
    anyhow::ensure!(
        !engine.renderer().modes().is_empty(),
        "{name} is a -Base checkpoint: it continues text and was never taught conversations. Use fathom run --raw, or an \
         instruct checkpoint"
    );
    let sampling = args.sampling.params(sampling);
    sampling.validate()?;
    let options = Options {
        sampling,
        max_tokens: args.sampling.max_tokens,
        stop: args.sampling.stop.clone(),
        logprobs: None,
    };
    let panes = Panes {
        answers: Pane::stdout(),
        notes: Pane::stderr(),
    };
    let interrupt = interactive.then(Interrupt::install_patient).transpose()?;
    let mut chat = Chat::new(engine.session(), name, options, panes, interrupt);
    if interactive {
        chat.greet()?;
    }
    if let Some(path) = &args.load {
        chat.load(path).context("--load")?;
    }
    if let Some(mode) = args.think {
        chat.set_thinking(mode).context("--think")?;
    }
    if let Some(system) = &args.system {
        chat.set_system(system);
    }
    if interactive {
        let (mut editor, trouble) = Editor::new(history_path())?;
        chat.note(trouble.as_deref())?;
        chat.talk(&mut editor)?;
        return Ok(ExitCode::SUCCESS);
    }
    let failures = chat.talk(&mut Lines::new(io::stdin().lock()))?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
