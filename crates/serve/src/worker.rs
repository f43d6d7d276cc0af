//! The threads that compute answers.

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use deepseek_recipe::stream::OutputChunk;
use fathom_engine::Engine;
use fathom_engine::answer::{self, Event, Prompt, Timings, Usage, respond};
use fathom_prompt::Tokenizer;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::app::Options;
use crate::error::ApiError;
use crate::pieces::Pieces;
use crate::session_pool::SessionPool;

/// One answer to compute.
pub(crate) struct Job {
    pub(crate) prompt: Prompt,
    pub(crate) options: answer::Options,
    pub(crate) thinking: bool,
    pub(crate) fingerprint: String,
    /// Where the pieces go. The receiver goes away when the client does.
    pub(crate) output: mpsc::Sender<Result<OutputChunk, ApiError>>,
    /// Held until the answer is done.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A finished answer, for the log.
#[derive(Debug, Clone)]
pub struct Completed {
    /// Why it ended, or what went wrong.
    pub outcome: String,
    /// Tokens used.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
}

/// Hands jobs to the worker threads. The threads end when this is dropped and the jobs are done.
pub(crate) struct Workers {
    jobs: Sender<Job>,
}

impl Workers {
    /// Starts `options.parallel` threads.
    pub(crate) fn start(engine: &Arc<Engine>, options: &Options) -> io::Result<Self> {
        // Unbounded, but the permits bound what can be in it.
        let (jobs, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let worker = Worker {
            tokenizer: engine.tokenizer().clone(),
            pool: Arc::new(SessionPool::new(Arc::clone(engine), options.sessions)),
            on_completed: Arc::clone(&options.on_completed),
        };
        for index in 0..options.parallel {
            let (worker, receiver) = (worker.clone(), Arc::clone(&receiver));
            let builder = std::thread::Builder::new().name(format!("fathom-serve-{index}"));
            builder.spawn(move || worker.work(&receiver))?;
        }
        Ok(Self { jobs })
    }

    /// Queues a job.
    pub(crate) fn submit(&self, job: Job) -> Result<(), ApiError> {
        self.jobs
            .send(job)
            .map_err(|_| ApiError::internal("all worker threads have ended; restart the server"))
    }
}

#[derive(Clone)]
struct Worker {
    tokenizer: Tokenizer,
    pool: Arc<SessionPool>,
    on_completed: Arc<dyn Fn(&Completed) + Send + Sync>,
}

impl Worker {
    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            let output = job.output.clone();
            // A bug met by one request must not cost the others their server.
            if catch_unwind(AssertUnwindSafe(|| self.answer(job))).is_err() {
                let error =
                    ApiError::internal("the answer failed because of a bug in Fathom; the server goes on");
                // If the client has gone as well there is nobody to tell.
                output.blocking_send(Err(error)).ok();
            }
        }
    }

    fn answer(&self, job: Job) {
        let Job {
            prompt,
            options,
            thinking,
            fingerprint,
            output,
            permit,
        } = job;
        let mut session = self.pool.take(prompt.ids());
        let mut pieces = Pieces {
            tokenizer: self.tokenizer.clone(),
            fingerprint: Some(fingerprint),
            with_logprobs: options.logprobs.is_some(),
            thinking,
        };
        let mut on_event = |event: Event<'_>| {
            // Waits while the client reads more slowly than the model writes.
            let gone = match pieces.of(&event) {
                Some(piece) => output.blocking_send(Ok(piece)).is_err(),
                None => output.is_closed(),
            };
            if gone {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let answered = respond(&mut session, prompt, &options, &mut on_event);
        self.pool.put(session);
        drop(permit);
        let (last, completed) = match answered {
            Ok(answer) => {
                let outcome = answer.finish_reason.as_str().to_owned();
                (
                    Ok(pieces.last(&answer)),
                    Completed {
                        outcome,
                        usage: answer.usage,
                        timings: answer.timings,
                    },
                )
            }
            Err(error) => {
                let outcome = format!("failed: {error}");
                (
                    Err(error.into()),
                    Completed {
                        outcome,
                        usage: Usage::default(),
                        timings: Timings::default(),
                    },
                )
            }
        };
        (self.on_completed)(&completed);
        // If the client has gone there is nobody to tell.
        output.blocking_send(last).ok();
    }
}
