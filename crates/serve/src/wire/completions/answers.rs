//! The answers to all prompts of a request, a few at a time.

use std::sync::Arc;
use std::vec;

use deepseek_recipe::stream::OutputChunk;
use fathom_engine::answer as engine;
use tokio::sync::mpsc;

use super::request::{Choice, Plan};
use crate::access::Caller;
use crate::answer::{self, Gone, Job, Note, Output};
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;

/// Prompts of one request that are computed at the same time.
const AT_ONCE: usize = 8;
/// Parts on their way from the answers' tasks.
const PARTS_AHEAD: usize = 16;

/// A part of the answer to the prompt at an index.
enum Part {
    More(usize, OutputChunk),
    Last(usize, Result<(OutputChunk, Note), ApiError>),
}

/// What is new of one of the answers.
pub(super) struct News {
    /// Which prompt it is about.
    pub(super) index: usize,
    pub(super) chunk: OutputChunk,
    /// Comes with the last one.
    pub(super) note: Option<Note>,
}

/// Answers on their way. If this is dropped, their work ends.
pub(super) struct Answers {
    app: Arc<App>,
    model: Arc<ServedModel>,
    user: String,
    options: engine::Options,
    waiting: std::iter::Enumerate<vec::IntoIter<Choice>>,
    running: usize,
    /// The next one's.
    caller: Caller,
    sender: mpsc::Sender<Part>,
    parts: mpsc::Receiver<Part>,
}

impl Answers {
    pub(super) fn new(app: Arc<App>, caller: &Caller, plan: Plan) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        Self {
            app,
            model: plan.model,
            user: plan.user,
            options: plan.options,
            waiting: plan.choices.into_iter().enumerate(),
            running: 0,
            caller: caller.clone(),
            sender,
            parts,
        }
    }

    /// Starts as many as may run.
    pub(super) async fn start_some(&mut self) -> Result<(), ApiError> {
        while self.running < AT_ONCE
            && let Some((index, choice)) = self.waiting.next()
        {
            // Each is one in the ledger.
            let next = self.caller.again();
            let job = Job {
                caller: std::mem::replace(&mut self.caller, next),
                wire: "completions",
                user: self.user.clone(),
                thinking: false,
                exact_logprobs: true,
                offers_tools: false,
                model: Arc::clone(&self.model),
                prompt: choice.prompt,
                options: engine::Options {
                    max_tokens: Some(choice.most),
                    ..self.options.clone()
                },
                beginning: None,
            };
            let parts = Parts {
                index,
                sender: self.sender.clone(),
            };
            answer::start(Arc::clone(&self.app), job, parts).await?;
            self.running += 1;
        }
        Ok(())
    }

    /// The next part of any; `None` when all are complete.
    pub(super) async fn next(&mut self) -> Result<Option<News>, ApiError> {
        self.start_some().await?;
        if self.running == 0 {
            return Ok(None);
        }
        // There is always a sender.
        Ok(match self.parts.recv().await {
            None => None,
            Some(Part::More(index, chunk)) => Some(News {
                index,
                chunk,
                note: None,
            }),
            Some(Part::Last(index, last)) => {
                self.running -= 1;
                let (chunk, note) = last?;
                Some(News {
                    index,
                    chunk,
                    note: Some(note),
                })
            }
        })
    }
}

/// Passes on the parts of one answer.
struct Parts {
    index: usize,
    sender: mpsc::Sender<Part>,
}

impl Output for Parts {
    async fn chunk(&mut self, chunk: OutputChunk) -> Result<(), Gone> {
        let part = Part::More(self.index, chunk);
        self.sender.send(part).await.map_err(|_| Gone)
    }

    async fn end(self, last: Result<(OutputChunk, Note), ApiError>) {
        // If nobody listens there is nobody to tell.
        self.sender.send(Part::Last(self.index, last)).await.ok();
    }

    async fn gone(&mut self) {
        self.sender.closed().await;
    }
}
