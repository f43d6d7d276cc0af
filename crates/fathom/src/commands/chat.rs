//! `fathom chat`: a conversation in the terminal.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fathom_engine::answer::Options;
use fathom_prompt::Thinking;

use crate::chat::{Chat, Editor, Lines, Panes, SessionHome, SessionName, list_sessions};
use crate::interrupt::Interrupt;
use crate::model_source::{LoadedModel, ModelOptions};
use crate::sampling_options::SamplingOptions;
use crate::terminal::{Pane, Progress, is_dumb};
use crate::{output, user_dirs};

/// Arguments of `fathom chat`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How hard to think: off, low, high or max; /think changes it later
    #[arg(long, value_name = "MODE")]
    think: Option<Thinking>,

    /// Instructions before the conversation; /system changes them later
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Keep the conversation under this name, with what the model computed: the next time it goes on where it was, and
    /// nothing is read again
    #[arg(long, value_name = "NAME")]
    session: Option<SessionName>,

    /// List the sessions that are kept, and exit
    #[arg(long, conflicts_with_all = ["session", "load"])]
    sessions: bool,

    /// Go on with a conversation saved with /save
    #[arg(long, value_name = "FILE", conflicts_with = "session")]
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
    let sessions = user_dirs::data().map(|data| data.join("sessions"));
    if args.sessions {
        output::print(&list_sessions(sessions_in(sessions.as_deref())?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before the model, which takes its time: another process may have it.
    let home = match &args.session {
        Some(name) => Some(SessionHome::open(
            sessions_in(sessions.as_deref())?,
            name.clone(),
        )?),
        None => None,
    };
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
        ..Options::default()
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
    chat.set_sessions_dir(sessions);
    if let Some(home) = home {
        chat.resume(home).context("--session")?;
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
        let (mut editor, trouble) = Editor::new(user_dirs::state().map(|state| state.join("history")))?;
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

/// The directory of sessions, which somebody without a home does not have.
fn sessions_in(sessions: Option<&Path>) -> anyhow::Result<&Path> {
    sessions.context("there is no place for sessions: set HOME or XDG_DATA_HOME")
}
