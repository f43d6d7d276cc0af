//! `fathom run`: one prompt, one answer.

mod report;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use fathom_engine::answer::{self, FinishReason, Options};
use fathom_prompt::{Conversation, Message, Thinking, ToolDefinition};

use crate::interrupt::{self, Interrupt};
use crate::model_source::{LoadedModel, ModelOptions};
use crate::output::print;
use crate::sampling_options::SamplingOptions;
use crate::terminal::{Pane, closing_line, show_live};
use report::Report;

/// Arguments of `fathom run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The prompt; `-` reads it from standard input, as does a pipe without -p. A final line break is taken off
    #[arg(short, long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,

    /// Read the prompt from a file; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,

    /// Instructions before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// How hard to think: off, low, high or max
    #[arg(long, value_name = "MODE", default_value_t = Thinking::default())]
    think: Thinking,

    /// Offer the tools in a JSON file, a list as in the chat completions API
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,

    /// Continue the prompt as plain text, without any conversation markup
    #[arg(long, conflicts_with_all = ["system", "think", "tools"])]
    raw: bool,

    #[command(flatten)]
    sampling: SamplingOptions,

    /// Write reasoning and tool calls to standard output too when that is not a terminal; otherwise they go to standard
    /// error
    #[arg(long)]
    show_reasoning: bool,

    /// Write one JSON object with text, usage, timings and every token's log-probability
    #[arg(long)]
    json: bool,

    /// With --json: also the N most likely tokens at every place
    #[arg(long, value_name = "N", default_value_t = 0, requires = "json")]
    top_logprobs: usize,

    #[command(flatten)]
    model: ModelOptions,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prompt = read_prompt(args)?;
    let tools = args
        .tools
        .as_deref()
        .map(read_tools)
        .transpose()?
        .unwrap_or_default();
    let LoadedModel {
        engine,
        name,
        sampling,
    } = args.model.load()?;
    let options = Options {
        sampling: args.sampling.params(sampling),
        max_tokens: args.sampling.max_tokens,
        stop: args.sampling.stop.clone(),
        logprobs: args.json.then_some(args.top_logprobs),
        ..Options::default()
    };
    let interrupt = Interrupt::install()?;
    let mut session = engine.session();
    let (mut answers, mut asides) = args.panes();
    let answer = show_live(&mut answers, &mut asides, Some(&interrupt), |on_event| {
        if args.raw {
            return answer::complete(&mut session, &prompt, &options, on_event);
        }
        let system = args.system.as_ref().map(Message::system);
        let messages = system.into_iter().chain([Message::user(prompt)]).collect();
        let conversation = Conversation {
            messages,
            tools,
            thinking: args.think,
            ..Conversation::default()
        };
        answer::answer(&mut session, &conversation, &options, on_event)
    })?;
    if args.json {
        let report = Report::new(&name, &engine, &options, &answer);
        print(&format!("{}\n", serde_json::to_string(&report)?))?;
    }
    let mut notes = Pane::stderr();
    if notes.is_terminal() {
        let line = closing_line(&answer, engine.context_max());
        notes.dim_line(format_args!("{line}, seed {}", options.sampling.seed))?;
    }
    Ok(match answer.finish_reason {
        FinishReason::Cancelled => ExitCode::from(interrupt::EXIT_STATUS),
        _ => ExitCode::SUCCESS,
    })
}

impl Args {
    /// Where the answer goes, and where its reasoning and tool calls.
    fn panes(&self) -> (Pane<'static>, Pane<'static>) {
        if self.json {
            return (Pane::nowhere(), Pane::nowhere());
        }
        let answers = Pane::stdout();
        let together = self.show_reasoning || answers.is_terminal();
        (answers, if together { Pane::stdout() } else { Pane::stderr() })
    }
}

/// The prompt, wherever it comes from. Files and pipes end with a line break that nobody meant: one is taken off.
fn read_prompt(args: &Args) -> anyhow::Result<String> {
    let mut text = match (&args.prompt, &args.prompt_file) {
        (Some(prompt), _) if prompt != "-" => {
            ensure!(!prompt.is_empty(), "the prompt is empty; expected some text");
            return Ok(prompt.clone());
        }
        (None, Some(path)) if path != Path::new("-") => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the prompt in {}", path.display()))?,
        (None, None) if io::stdin().is_terminal() => {
            bail!("there is no prompt; give one with -p TEXT or --prompt-file FILE, or pipe it in")
        }
        _ => io::read_to_string(io::stdin()).context("cannot read the prompt from standard input")?,
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    ensure!(
        !text.is_empty(),
        "the prompt is empty; give one with -p TEXT or --prompt-file FILE, or pipe it in"
    );
    Ok(text)
}

fn read_tools(path: &Path) -> anyhow::Result<Vec<ToolDefinition>> {
    let json = std::fs::read(path).with_context(|| format!("cannot read the tools in {}", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is no JSON list of tools", path.display()))
}
