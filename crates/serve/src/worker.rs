//! Computing an answer beside the connection that it goes to.

use std::sync::Arc;

use deepseek_recipe::stream::OutputChunk;
use fathom_cache::Miss;
use fathom_engine::answer::{self, Answer, Prompt, Timings, Usage};
use fathom_engine::generation::GenerateError;
use fathom_engine::{Engine, explain_miss};
use fathom_prompt::Tokenizer;
use tokio::sync::{mpsc, oneshot};

use crate::app::App;
use crate::error::ApiError;
use crate::pieces::Pieces;

/// Events that the engine may be ahead of a client that reads slowly; then it serves others.
const EVENTS_AHEAD: usize = 64;
/// Pieces under way to the connection.
const PIECES_AHEAD: usize = 16;

/// Where the pieces of an answer come out.
pub(crate) type Output = mpsc::Receiver<Result<Piece, ApiError>>;

/// A piece of an answer.
pub(crate) struct Piece {
    pub(crate) chunk: OutputChunk,
    /// With the last one: why no more of the prompt came from the cache.
    pub(crate) miss: Option<String>,
}

/// One answer to compute.
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) options: answer::Options,
    pub(crate) thinking: bool,
    pub(crate) fingerprint: String,
    /// Whose cached prefixes may be used, and whose turn it takes.
    pub(crate) isolation: String,
}

/// A finished answer, for the log.
#[derive(Debug, Clone)]
pub struct Completed {
    /// Why it ended, or what went wrong.
    pub outcome: String,
    /// Tokens used.
    pub usage: Usage,
    /// Why no more of the prompt came from the cache.
    pub miss: String,
    /// Where the time went.
    pub timings: Timings,
}

/// Starts a job. When it is refused, that is known before anything is sent; afterwards pieces come until the answer ends,
/// and dropping the output ends it within a step.
pub(crate) async fn start(app: Arc<App>, job: Job) -> Result<Output, ApiError> {
    let (pieces, output) = mpsc::channel(PIECES_AHEAD);
    let (accepted, started) = oneshot::channel();
    tokio::spawn(work(app, job, accepted, pieces));
    match started.await {
        Ok(Ok(())) => Ok(output),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ApiError::internal("the answer failed before it began")),
    }
}

async fn work(
    app: Arc<App>,
    job: Job,
    accepted: oneshot::Sender<Result<(), GenerateError>>,
    output: mpsc::Sender<Result<Piece, ApiError>>,
) {
    let Job {
        prompt,
        options,
        thinking,
        fingerprint,
        isolation,
    } = job;
    let mut pieces = Pieces {
        tokenizer: app.engine.tokenizer().clone(),
        fingerprint: Some(fingerprint),
        with_logprobs: options.logprobs.is_some(),
        thinking,
    };
    let mut session = Engine::session_of(&app.engine, &isolation);
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
            () = output.closed() => {
                run.cancel();
                break;
            }
        };
        let Some(event) = event else { break };
        // Waits while the client reads more slowly than the model writes.
        if let Some(chunk) = pieces.of(event)
            && output.send(Ok(Piece { chunk, miss: None })).await.is_err()
        {
            run.cancel();
            break;
        }
    }
    let answered = run.finish().await;
    (app.options.on_completed)(&Completed::new(&answered, app.engine.tokenizer()));
    let last = answered
        .map(|answer| Piece {
            chunk: pieces.last(&answer),
            miss: shown(answer.report.miss).map(|miss| explain_miss(&miss, app.engine.tokenizer())),
        })
        .map_err(ApiError::from);
    // If the client has gone there is nobody to tell.
    output.send(last).await.ok();
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
    fn new(answered: &Result<Answer, GenerateError>, tokenizer: &Tokenizer) -> Self {
        match answered {
            Ok(answer) => Self {
                outcome: answer.finish_reason.as_str().to_owned(),
                usage: answer.usage,
                miss: explain_miss(&answer.report.miss, tokenizer),
                timings: answer.timings,
            },
            Err(error) => Self {
                outcome: format!("failed: {error}"),
                usage: Usage::default(),
                miss: String::new(),
                timings: Timings::default(),
            },
        }
    }
}
