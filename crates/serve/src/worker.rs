//! The threads that compute answers.

use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use deepseek_recipe::stream::{
    CompletionUsage, FinishReason, OutputChunk, PromptUsage, TokenLogprob, TopLogprob,
};
use fathom_engine::answer::{self, Event, Prompt, Text, Timings, Usage, respond};
use fathom_engine::{Engine, sampling};
use fathom_prompt::Tokenizer;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::app::Options;
use crate::error::ApiError;
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
        let mut fingerprint = Some(fingerprint);
        let with_logprobs = options.logprobs.is_some();
        let mut on_event = |event: Event<'_>| {
            if output.is_closed() {
                return ControlFlow::Break(());
            }
            let chunk = match event {
                Event::Prefill(prefill) => {
                    let Some(fingerprint) = fingerprint.take() else {
                        return ControlFlow::Continue(());
                    };
                    OutputChunk::Start {
                        system_fingerprint: Some(fingerprint),
                        prompt_usage: PromptUsage {
                            prompt_tokens: prefill.cached + prefill.total,
                            prompt_cache_hit_tokens: prefill.cached,
                        },
                    }
                }
                Event::Reasoning(Text { text, logprobs }) => OutputChunk::Reasoning {
                    content: text.to_owned(),
                    logprobs: with_logprobs.then(|| self.logprobs(logprobs)),
                },
                Event::Content(Text { text, logprobs }) => OutputChunk::Content {
                    content: text.to_owned(),
                    logprobs: with_logprobs.then(|| self.logprobs(logprobs)),
                },
                Event::ToolCallBegin { name, .. } => OutputChunk::ToolCallNamed {
                    tool_name: name.to_owned(),
                },
                Event::ToolCallArguments { json, .. } => OutputChunk::ToolCallArgumentsDelta {
                    arguments: json.to_owned(),
                },
                Event::ToolCallEnd { .. } | Event::Tick => return ControlFlow::Continue(()),
            };
            // Waits while the client reads more slowly than the model writes.
            match output.blocking_send(Ok(chunk)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let answered = respond(&mut session, prompt, &options, &mut on_event);
        self.pool.put(session);
        drop(permit);
        let (last, completed) = match answered {
            Ok(answer) => {
                let (finish_reason, stop_sequence) = finish(&answer.finish_reason);
                let completion_usage = CompletionUsage {
                    completion_tokens: answer.usage.generated,
                    reasoning_tokens: thinking.then_some(answer.usage.reasoning),
                };
                let outcome = answer.finish_reason.as_str().to_owned();
                let completed = Completed {
                    outcome,
                    usage: answer.usage,
                    timings: answer.timings,
                };
                (
                    Ok(OutputChunk::Finish {
                        finish_reason,
                        stop_sequence,
                        completion_usage,
                    }),
                    completed,
                )
            }
            Err(error) => {
                let outcome = format!("failed: {error}");
                let completed = Completed {
                    outcome,
                    usage: Usage::default(),
                    timings: Timings::default(),
                };
                (Err(error.into()), completed)
            }
        };
        (self.on_completed)(&completed);
        // If the client has gone there is nobody to tell.
        output.blocking_send(last).ok();
    }

    fn logprobs(&self, tokens: &[sampling::TokenLogprob]) -> Arc<[TokenLogprob]> {
        let token = |token: &sampling::TokenLogprob| {
            let (text, bytes) = self.spell(token.token);
            let top = token.top.iter().map(|&(id, logprob)| {
                let (text, bytes) = self.spell(id);
                TopLogprob {
                    token: text,
                    logprob,
                    bytes,
                }
            });
            TokenLogprob {
                token: text,
                logprob: token.logprob,
                bytes,
                top_logprobs: top.collect(),
            }
        };
        tokens.iter().map(token).collect()
    }

    /// A token's text and bytes; bytes that are no text are written `\xNN`, as the hosted API does.
    fn spell(&self, id: u32) -> (String, Vec<u8>) {
        let bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_or_else(|_| hex_escapes(bytes), ToOwned::to_owned);
        (text, bytes.to_vec())
    }
}

/// `\xNN` for every byte.
fn hex_escapes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "\\x{byte:02x}").ok();
    }
    text
}

/// In the vendor's words. A cancelled answer has no reader, so its reason does not matter.
fn finish(reason: &answer::FinishReason) -> (FinishReason, Option<String>) {
    match reason {
        answer::FinishReason::Stop => (FinishReason::Stop, None),
        answer::FinishReason::StopString(string) => (FinishReason::StopSequence, Some(string.clone())),
        answer::FinishReason::Length => (FinishReason::Length, None),
        answer::FinishReason::ToolCalls => (FinishReason::ToolCalls, None),
        answer::FinishReason::Cancelled => (FinishReason::EndOfStream, None),
    }
}
