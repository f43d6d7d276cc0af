//! Computing an answer beside the connection that it goes to.
//!
//! Each answer has a task: it waits for its turn, takes the engine's events, gives them to an [`Output`] as the vendor's chunks,
//! and notes what was used. It outlives its connection, so that what was computed is noted whatever the client does; and it ends
//! the engine's work within a step once the client has gone.

mod completed;
mod cut;
mod pace;
mod pieces;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use deepseek_recipe::stream::{OutputChunk, TokenLogprob};
use fathom_cache::Miss;
use fathom_engine::answer::{self, Answer, Prompt};
use fathom_engine::generation::GenerateError;
use fathom_engine::{Engine, SessionError, explain_miss};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until, timeout};
use tracing::{Instrument as _, Span};

use crate::access::{Caller, Entry, Place};
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;
use crate::observe::{Refused, note_panic};
use crate::replay::{Beginning, Scope};
pub use completed::{Completed, Outcome};
use cut::Cut;
use pace::Pace;
pub(crate) use pieces::spelled;
use pieces::{LIKELY, Pieces};

/// Events that the engine may be ahead of a client that reads slowly; then it serves others.
const EVENTS_AHEAD: usize = 64;

/// One answer to compute.
pub(crate) struct Job {
    /// Who asks, with which request.
    pub(crate) caller: Caller,
    /// The protocol's name.
    pub(crate) wire: &'static str,
    /// Which of the caller's users, or empty: whose cached prefixes may be used, and whose turn it takes.
    pub(crate) user: String,
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
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Note {
    /// Why no more of the prompt came from the cache, if any was missed.
    pub(crate) miss: Option<String>,
    /// Where the model's output departed from its format, and what was made of it.
    pub(crate) defects: Vec<String>,
    /// Of every token of the prompt but the first, if asked for.
    pub(crate) prompt_logprobs: Arc<[TokenLogprob]>,
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

/// Starts a job. When it is refused, that is known before anything is sent, unless it has to wait for its turn first; afterwards
/// its output is fed until the answer ends.
pub(crate) async fn start(app: Arc<App>, job: Job, output: impl Output) -> Result<(), ApiError> {
    let present = app
        .presence
        .enter()
        .inspect_err(|_| app.metrics.refused(Refused::Draining))?;
    app.ledger.check()?;
    let caller = job.caller.clone();
    app.admission.check_balance(&caller, &app.metrics).await?;
    let entry = app.admission.enter(&caller, &job.model.name, &app.metrics)?;
    let (accepted, started) = oneshot::channel();
    let work = work(Arc::clone(&app), job, entry, Accept(Some(accepted)), output);
    let work = tokio::spawn(work.instrument(Span::current()));
    let watch = async move {
        if let Err(bug) = work.await
            && let Ok(panic) = bug.try_into_panic()
        {
            note_panic(&app.metrics, &*panic);
        }
        drop(present);
    };
    tokio::spawn(watch.instrument(Span::current()));
    match started.await {
        Ok(taken) => {
            taken?;
            caller.answer_is_logged();
            Ok(())
        }
        Err(_) => Err(ApiError::internal("the answer failed before it began")),
    }
}

/// Tells the handler, once, whether the job is taken.
struct Accept(Option<oneshot::Sender<Result<(), ApiError>>>);

impl Accept {
    /// Says so; the error comes back if the job was taken before.
    fn say(&mut self, taken: Result<(), ApiError>) -> Result<(), ApiError> {
        match self.0.take() {
            Some(accepted) => {
                // If the handler is gone, so is the client.
                accepted.send(taken).ok();
                Ok(())
            }
            None => taken,
        }
    }
}

/// How an answer ended.
struct End {
    answered: Option<Result<Answer, GenerateError>>,
    cut: Option<Cut>,
}

async fn work(app: Arc<App>, mut job: Job, entry: Entry, mut accept: Accept, mut output: impl Output) {
    let tokenizer = job.model.engine.tokenizer().clone();
    let mut pieces = Pieces {
        tokenizer: tokenizer.clone(),
        fingerprint: Some(job.model.fingerprint()),
        logprobs: job.options.logprobs,
        exact: job.exact_logprobs,
        offers_tools: job.offers_tools,
        thinking: job.thinking,
    };
    job.options.logprobs = job.options.logprobs.map(|_| LIKELY);
    let mut completed = Completed::new(&job);
    let mut pace = Pace::new(job.caller.arrived, app.metrics.between_tokens(&job.model.name));
    let mut deadline = Box::pin(sleep_until((job.caller.arrived + app.admission.wait_max).into()));

    let end = match turn(&app, entry, &mut accept, &mut deadline, &mut output).await {
        Ok(place) => {
            let end = run(
                &app,
                job,
                &mut pieces,
                &mut pace,
                &mut accept,
                &mut deadline,
                &mut output,
            )
            .await;
            drop(place);
            end
        }
        Err(cut) => Ok(End {
            answered: None,
            cut: Some(cut),
        }),
    };
    // Refused before anything was sent: its handler says so.
    let Ok(End { answered, cut }) = end else { return };

    completed.measure(&pace);
    completed.end(answered.as_ref(), cut.as_ref());
    app.note(&completed).await;
    let last = match (cut, answered) {
        (Some(cut), _) => Err(cut.error(&app)),
        (None, Some(answered)) => answered.map_err(ApiError::from),
        (None, None) => Err(ApiError::internal("the answer ended without a result")),
    };
    let last = last.map(|answer| {
        let note = Note {
            miss: shown(answer.report.miss).map(|miss| explain_miss(&miss, &tokenizer)),
            defects: pieces.defects(&answer),
            prompt_logprobs: pieces.logprobs(&answer.prompt_logprobs).unwrap_or_default(),
        };
        if !note.defects.is_empty() {
            tracing::warn!(
                defects = note.defects.len(),
                "the output departed from its format"
            );
        }
        (pieces.last(&answer), note)
    });
    // Who does not read the last words either is left alone with them.
    timeout(app.write_timeout, output.end(last)).await.ok();
}

/// Waits until it is the request's turn among those of its key.
async fn turn(
    app: &App,
    entry: Entry,
    accept: &mut Accept,
    deadline: &mut Pin<Box<Sleep>>,
    output: &mut impl Output,
) -> Result<Place, Cut> {
    match entry {
        Entry::Open(place) => Ok(place),
        Entry::Wait(waiting) => {
            // Whoever waits is told so: a stream begins, and with it its signs of life.
            accept.say(Ok(())).ok();
            tokio::select! {
                turn = waiting.turn() => turn.map_err(Cut::Refused),
                () = output.gone() => Err(Cut::Gone),
                () = app.presence.cancelled() => Err(Cut::Shutdown),
                () = deadline => Err(Cut::Expired),
            }
        }
    }
}

/// Has the engine answer. Fails if the job was refused and its handler knows.
async fn run(
    app: &App,
    job: Job,
    pieces: &mut Pieces,
    pace: &mut Pace,
    accept: &mut Accept,
    deadline: &mut Pin<Box<Sleep>>,
    output: &mut impl Output,
) -> Result<End, ()> {
    let isolation = job.caller.isolation(&job.user);
    let mut session = Engine::session_of(&job.model.engine, &isolation);
    let mut run = match answer::start(&mut session, job.prompt, &job.options, EVENTS_AHEAD) {
        Ok(run) => run,
        Err(error) => {
            if matches!(error, GenerateError::Session(SessionError::Busy(_))) {
                app.metrics.refused(Refused::Queue);
            }
            return match accept.say(Err(error.into())) {
                Ok(()) => Err(()),
                Err(error) => Ok(End {
                    answered: None,
                    cut: Some(Cut::Refused(error)),
                }),
            };
        }
    };
    accept.say(Ok(())).ok();
    let cut = loop {
        let event = tokio::select! {
            event = run.next() => event,
            () = output.gone() => break Some(Cut::Gone),
            () = app.presence.cancelled() => break Some(Cut::Shutdown),
            () = &mut *deadline, if !pace.has_begun() => break Some(Cut::Expired),
        };
        let Some(event) = event else { break None };
        pace.note(&event);
        let Some(chunk) = pieces.of(event) else { continue };
        let passed = pace.hold_up(timeout(app.write_timeout, output.chunk(chunk)));
        tokio::select! {
            passed = passed => if !matches!(passed, Ok(Ok(()))) {
                break Some(Cut::Gone);
            },
            () = app.presence.cancelled() => break Some(Cut::Shutdown),
        }
    };
    if cut.is_some() {
        run.cancel();
    }
    let answered = run.finish().await;
    if let (Some(beginning), Ok(answer)) = (&job.beginning, &answered) {
        let scope = Scope {
            model: job.model.engine.identity(),
            isolation: &isolation,
        };
        app.replay
            .remember(scope, beginning, answer, job.model.engine.tokenizer());
    }
    Ok(End {
        answered: Some(answered),
        cut,
    })
}

/// The reason, if there is one, as its client may know it: what others have sent is theirs.
fn shown(miss: Miss) -> Option<Miss> {
    match miss {
        Miss::None => None,
        Miss::OtherIsolation => Some(Miss::NeverSeen),
        miss => Some(miss),
    }
}
