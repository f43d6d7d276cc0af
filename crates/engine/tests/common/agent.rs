//! A coding agent's requests through an engine, and how many of their prompt tokens it did not have to compute.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fathom_engine::generation::Options;
use fathom_engine::sampling::Params;
use fathom_engine::{Engine, Session};
use fathom_synthetic::trace::{Event, Ideal, Structure, Trace, TraceOptions};

/// Prompt tokens of some requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tokens {
    pub(crate) requests: usize,
    pub(crate) prompt: usize,
    /// What a perfect prefix cache serves.
    pub(crate) ideal: usize,
    /// What was served.
    pub(crate) served: usize,
    /// Of those computed, what was computed for want of a snapshot.
    pub(crate) replayed: usize,
}

impl Tokens {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.prompt += other.prompt;
        self.ideal += other.ideal;
        self.served += other.served;
        self.replayed += other.replayed;
    }

    /// Served tokens as a fraction of the ideal.
    pub(crate) fn of_ideal(&self) -> f64 {
        self.served as f64 / self.ideal.max(1) as f64
    }
}

/// What came of a trace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// By what the client did, and by why no more was served.
    pub(crate) by_event: BTreeMap<Event, Tokens>,
    pub(crate) by_miss: BTreeMap<&'static str, Tokens>,
    pub(crate) all: Tokens,
    /// Generated tokens.
    pub(crate) generated: usize,
}

/// A coding agent that talks to `engine`'s model: lengths divided by `divisor`, within the model's context.
pub(crate) fn trace_for(engine: &Engine, divisor: usize, seed: u64) -> Trace {
    let id = |spelling: &str| engine.tokenizer().special_id(spelling).expect("a control token");
    let structure = Structure {
        bos: id("<｜begin▁of▁sentence｜>"),
        eos: engine.tokenizer().eos_id(),
        user: id("<｜User｜>"),
        assistant: id("<｜Assistant｜>"),
        think_start: id("<think>"),
        think_end: id("</think>"),
        tool_call: id("｜DSML｜"),
    };
    // Control tokens lie at both ends of the vocabulary.
    let text = 300..engine.config().vocab_size as u32 - 300;
    let mut options = TraceOptions::coding_agent(structure, text);
    options.context_tokens = options.context_tokens.min(engine.context_max());
    Trace::new(&options.divided_by(divisor), seed)
}

/// Sends the requests one after the other, each in a new session: all that is served comes from the cache. `told` hears of
/// each request.
pub(crate) fn replay(
    trace: &Trace,
    mut open: impl FnMut() -> Session,
    eos: u32,
    mut told: impl FnMut(usize, Event, &Tokens, &'static str),
) -> Account {
    let (mut account, mut ideal) = (Account::default(), Ideal::new());
    let mut answers: Vec<Arc<[u32]>> = Vec::new();
    for (number, request) in trace.requests().iter().enumerate() {
        let prompt = trace.prompt(number, &answers);
        let options = Options {
            sampling: Params {
                seed: number as u64,
                ..Params::default()
            },
            tokens_max: Some(request.answer.len()),
            logprobs: None,
            ..Options::default()
        };
        let mut session = open();
        let run = session
            .generate(&prompt, &options, 64)
            .expect("a prompt that fits");
        let done = run.finish_blocking().expect("generate");
        let mut answer = done.tokens;
        account.generated += answer.len();
        // The next prompt has it anyway.
        if answer.last() == Some(&eos) {
            answer.pop();
        }
        let tokens = Tokens {
            requests: 1,
            prompt: prompt.len(),
            ideal: ideal.serves(&prompt),
            served: done.cached,
            replayed: done.report.replayed,
        };
        let miss = done.report.miss.name();
        told(number, request.event, &tokens, miss);
        account.all.add(&tokens);
        account.by_event.entry(request.event).or_default().add(&tokens);
        account.by_miss.entry(miss).or_default().add(&tokens);
        ideal.add([&prompt[..], &answer].concat());
        answers.push(answer.into());
    }
    account
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, tokens: &Tokens| {
            let Tokens {
                requests,
                prompt,
                ideal,
                served,
                replayed,
            } = *tokens;
            let short = ideal.saturating_sub(served);
            let share = 100.0 * tokens.of_ideal();
            writeln!(
                f,
                "| {name} | {requests} | {prompt} | {ideal} | {served} | {share:.2} % | {short} | {replayed} |"
            )
        };
        writeln!(
            f,
            "| requests | number | prompt tokens | ideal | served | of ideal | short by | replayed |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (event, tokens) in &self.by_event {
            row(f, &format!("{event:?}"), tokens)?;
        }
        for (miss, tokens) in &self.by_miss {
            row(f, &format!("miss: {miss}"), tokens)?;
        }
        row(f, "all", &self.all)?;
        let of_prompt = 100.0 * self.all.served as f64 / self.all.prompt.max(1) as f64;
        write!(
            f,
            "{of_prompt:.2} % of all prompt tokens were served; {} tokens were generated",
            self.generated
        )
    }
}
