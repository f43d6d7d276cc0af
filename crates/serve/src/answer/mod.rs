//! Computing an answer beside the connection that it goes to.
//!
//! Each answer has a task: it takes the engine's events, gives them to an [`Output`] as the vendor's chunks, and notes what
//! was used. It outlives its connection, so that what was computed is noted whatever the client does; and it ends the engine's
//! work within a step once the client has gone.

mod pieces;

use std::future::Future;
use std::sync::Arc;

use deepseek_recipe::stream::OutputChunk;
use fathom_cache::Miss;
use fathom_engine::answer::{self, Answer, Prompt, Timings, Usage};
use fathom_engine::generation::GenerateError;
use fathom_engine::{Engine, explain_miss};
use fathom_prompt::Tokenizer;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;
use crate::replay::{Beginning, Scope};
use pieces::{LIKELY, Pieces};

/// Events that the engine may be ahead of a client that reads slowly; then it serves others.
const EVENTS_AHEAD: usize = 64;

/// One answer to compute.
pub(crate) struct Job {
    /// Which request it answers.
    pub(crate) request: Uuid,
    /// The protocol's name.
    pub(crate) wire: &'static str,
    /// Whose cached prefixes may be used, and whose turn it takes.
    pub(crate) isolation: String,
    /// Whether it thinks.
    pub(crate) thinking: bool,
    /// Whether the client takes tool calls.
    pub(crate) offers_tools: bool,
    /// Tell true log-probabilities of all tokens; the hosted API does not of unlikely ones.
    pub(crate) exact_logprobs: bool,
    pub(crate) model: Arc<ServedModel>,
    pub(crate) prompt: Prompt,
    pub(crate) options: answer::Options,
    /// What the prompt has of the answer already, if answers like it come back in prompts.
    pub(crate) beginning: Option<Beginning>,
}

/// What a finished reply says beyond its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Why no more of the prompt came from the cache, if any was missed.
    pub(crate) miss: Option<String>,
    /// Where the model's output departed from its format, and what was made of it.
    pub(crate) defects: Vec<String>,
}

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Where an answer goes.
pub(crate) trait Output: Send + 'static {
    /// Passes on a part; may wait until it is read.
    fn chunk(&mut self, chunk: OutputChunk) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Passes on the last part, or why there is none.
    fn end(self, last: Result<(OutputChunk, Note), ApiError>) -> impl Future<Output = ()> + Send;
    /// Over when nobody reads any more.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// A finished answer, for logs and ledgers.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The request's id.
    pub request: Uuid,
    /// The model's name.
    pub model: String,
    /// The protocol's name.
    pub wire: &'static str,
    /// Why it ended, or what went wrong.
    pub outcome: String,
    /// Tokens used.
    pub usage: Usage,
    /// Why no more of the prompt came from the cache.
    pub miss: String,
    /// Where the time went.
    pub timings: Timings,
}

/// Starts a job. When it is refused, that is known before anything is sent; afterwards its output is fed until the answer
/// ends.
pub(crate) async fn start(app: Arc<App>, job: Job, output: impl Output) -> Result<(), ApiError> {
    let (accepted, started) = oneshot::channel();
    tokio::spawn(work(app, job, accepted, output));
    match started.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ApiError::internal("the answer failed before it began")),
    }
}

async fn work(
    app: Arc<App>,
    job: Job,
    accepted: oneshot::Sender<Result<(), GenerateError>>,
    mut output: impl Output,
) {
    let Job {
        request,
        wire,
        isolation,
        thinking,
        exact_logprobs,
        offers_tools,
        model,
        prompt,
        mut options,
        beginning,
    } = job;
    let tokenizer = model.engine.tokenizer();
    let mut pieces = Pieces {
        tokenizer: tokenizer.clone(),
        fingerprint: Some(model.fingerprint()),
        logprobs: options.logprobs,
        exact: exact_logprobs,
        offers_tools,
        thinking,
    };
    options.logprobs = options.logprobs.map(|_| LIKELY);
    let mut session = Engine::session_of(&model.engine, &isolation);
    let mut run = match answer::start(&mut session, prompt, &options, EVENTS_AHEAD) {
        Ok(run) => run,
        Err(error) => {
            // If the handler is gone, so is the client.
            accepted.send(Err(error)).ok();
            return;
        }
    };
    accepted.send(Ok(())).ok();
    loop {
        let event = tokio::select! {
            event = run.next() => event,
            () = output.gone() => {
                run.cancel();
                break;
            }
        };
        let Some(event) = event else { break };
        if let Some(chunk) = pieces.of(event)
            && output.chunk(chunk).await.is_err()
        {
            run.cancel();
            break;
        }
    }
    let answered = run.finish().await;
    if let (Some(beginning), Ok(answer)) = (&beginning, &answered) {
        let scope = Scope {
            model: model.engine.identity(),
            isolation: &isolation,
        };
        app.replay.remember(scope, beginning, answer, tokenizer);
    }
    let mut completed = Completed {
        request,
        model: model.name.clone(),
        wire,
        outcome: String::new(),
        usage: Usage::default(),
        miss: String::new(),
        timings: Timings::default(),
    };
    completed.of(&answered, tokenizer);
    app.note(&completed).await;
    let last = answered
        .map(|answer| {
            let note = Note {
                miss: shown(answer.report.miss).map(|miss| explain_miss(&miss, tokenizer)),
                defects: pieces.defects(&answer),
            };
            if !note.defects.is_empty() {
                tracing::warn!(%request, defects = note.defects.len(), "the output departed from its format");
            }
            (pieces.last(&answer), note)
        })
        .map_err(ApiError::from);
    output.end(last).await;
}

/// The reason, if there is one, as its client may know it: what others have sent is theirs.
fn shown(miss: Miss) -> Option<Miss> {
    match miss {
        Miss::None => None,
        Miss::OtherIsolation => Some(Miss::NeverSeen),
        miss => Some(miss),
    }
}

impl Completed {
    fn of(&mut self, answered: &Result<Answer, GenerateError>, tokenizer: &Tokenizer) {
        match answered {
            Ok(answer) => {
                answer.finish_reason.as_str().clone_into(&mut self.outcome);
                self.usage = answer.usage;
                self.miss = explain_miss(&answer.report.miss, tokenizer);
                self.timings = answer.timings;
            }
            Err(error) => self.outcome = format!("failed: {error}"),
        }
    }
}
