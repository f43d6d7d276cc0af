//! `fathom run`: one prompt, one answer.

mod printer;
mod report;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use fathom_engine::answer::{self, Answer, FinishReason, Options};
use fathom_prompt::{Conversation, Message, Thinking, ToolDefinition};

use crate::interrupt::{self, Interrupt};
use crate::model_source::{LoadedModel, ModelOptions};
use crate::sampling_options::SamplingOptions;
use printer::Printer;
use report::Report;

/// Arguments of `fathom run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The prompt; `-` reads it from standard input, as does a pipe without -p
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

    /// Write the reasoning too when standard output is not a terminal
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
    };
    let interrupt = Interrupt::install()?;
    let mut session = engine.session();
    let mut printer = Printer::new(args.json, args.show_reasoning, interrupt);
    let answer = if args.raw {
        answer::complete(&mut session, &prompt, &options, &mut |event| printer.show(&event))
    } else {
        let system = args.system.as_ref().map(Message::system);
        let messages = system.into_iter().chain([Message::user(prompt)]).collect();
        let conversation = Conversation {
            messages,
            tools,
            thinking: args.think,
            ..Conversation::default()
        };
        answer::answer(&mut session, &conversation, &options, &mut |event| {
            printer.show(&event)
        })
    };
    printer.finish()?;
    let answer = answer?;
    if args.json {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, &Report::new(&name, &engine, &options, &answer))?;
        writeln!(stdout)?;
    }
    if io::stderr().is_terminal() {
        writeln!(io::stderr(), "{}", closing_line(&answer, options.sampling.seed))?;
    }
    let interrupted = answer.finish_reason == FinishReason::Cancelled;
    Ok(if interrupted {
        ExitCode::from(interrupt::EXIT_STATUS)
    } else {
        ExitCode::SUCCESS
    })
}

/// The prompt, wherever it comes from.
fn read_prompt(args: &Args) -> anyhow::Result<String> {
    let prompt = match (&args.prompt, &args.prompt_file) {
        (Some(prompt), _) if prompt != "-" => prompt.clone(),
        (None, Some(path)) if path != Path::new("-") => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the prompt in {}", path.display()))?,
        (None, None) if io::stdin().is_terminal() => {
            bail!("there is no prompt; give one with -p TEXT or --prompt-file FILE, or pipe it in")
        }
        _ => {
            let mut prompt = String::new();
            io::stdin()
                .read_to_string(&mut prompt)
                .context("cannot read the prompt from standard input")?;
            prompt
        }
    };
    ensure!(!prompt.is_empty(), "the prompt is empty; expected some text");
    Ok(prompt)
}

fn read_tools(path: &Path) -> anyhow::Result<Vec<ToolDefinition>> {
    let json = std::fs::read(path).with_context(|| format!("cannot read the tools in {}", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("{} is no JSON list of tools", path.display()))
}

/// Tokens and rates, for people.
fn closing_line(answer: &Answer, seed: u64) -> String {
    let usage = &answer.usage;
    let rate = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!(" at {rate:.1} tok/s"));
    let cut = match answer.finish_reason {
        FinishReason::Length => " (token limit reached)",
        FinishReason::Cancelled => " (interrupted)",
        _ => "",
    };
    format!(
        "prompt {} tokens ({} cached){}, generated {}{}{cut}, seed {seed}",
        usage.prompt,
        usage.cached,
        rate(answer.prefill_rate()),
        usage.generated,
        rate(answer.decode_rate()),
    )
}
