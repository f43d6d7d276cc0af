//! Completions, streamed or whole: one choice for every prompt.

use std::sync::Arc;

use axum::response::Response;
use axum::response::sse::Event;
use deepseek_recipe::stream::{CompletionUsage, FinishReason, OutputChunk, PromptUsage};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answers::{Answers, News};
use super::request::Plan;
use super::written::{Echo, Written};
use crate::access::Caller;
use crate::answer::Gone;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::reply::{Events, created, event_stream, in_one_piece};

/// Answers a request. Errors found before the first token have a status of their own; later ones end the stream.
pub(super) async fn respond(app: Arc<App>, caller: &Caller, plan: Plan) -> Result<Response, ApiError> {
    let reply = Reply::new(caller, &plan);
    let stream = plan.stream;
    let mut answers = Answers::new(app, caller, plan);
    answers.start_some().await?;
    if stream {
        let (response, events) = event_stream();
        tokio::spawn(reply.send(answers, events));
        return Ok(response);
    }
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(reply.collect(answers, sender));
    in_one_piece(receiver).await
}

/// A reply in the making.
struct Reply {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    choices: Vec<Written>,
    prompt: PromptUsage,
    completion: CompletionUsage,
}

impl Reply {
    fn new(caller: &Caller, plan: &Plan) -> Self {
        let logprobs = plan.options.logprobs.is_some();
        let choices = plan.choices.iter().map(|choice| {
            let echo = plan.echo.then(|| Echo {
                text: choice.text.clone(),
                first: choice.first.clone(),
            });
            Written::new(echo, logprobs)
        });
        Self {
            id: caller.request.to_string(),
            created: created(),
            model: plan.model.name.clone(),
            fingerprint: plan.model.fingerprint(),
            choices: choices.collect(),
            prompt: PromptUsage::default(),
            completion: CompletionUsage::default(),
        }
    }

    /// Puts all parts together and hands out the whole.
    async fn collect(mut self, mut answers: Answers, mut sender: oneshot::Sender<Result<Value, ApiError>>) {
        let all = async {
            while let Some(news) = answers.next().await? {
                self.take(news);
            }
            Ok(())
        };
        let ended = tokio::select! {
            ended = all => ended,
            // With the answers, their work ends.
            () = sender.closed() => return,
        };
        let reply = ended.map(|()| {
            let choices = self.choices.iter_mut().enumerate();
            let choices: Vec<_> = choices.map(|(index, choice)| choice.shown(index)).collect();
            let mut reply = self.envelope(&choices);
            reply["usage"] = self.usage();
            reply
        });
        // If the client has gone there is nobody to tell.
        sender.send(reply).ok();
    }

    /// Sends parts as they come.
    async fn send(mut self, mut answers: Answers, events: Events) {
        let last = tokio::select! {
            last = self.send_all(&mut answers, &events) => last,
            () = events.closed() => return,
        };
        let last = match last {
            Ok(Ok(())) => Event::default().data("[DONE]"),
            Ok(Err(error)) => Event::default().data(error.body().to_string()),
            Err(Gone) => return,
        };
        events.send(Ok(last)).await.ok();
    }

    async fn send_all(
        &mut self,
        answers: &mut Answers,
        events: &Events,
    ) -> Result<Result<(), ApiError>, Gone> {
        let mut finished = 0;
        loop {
            let news = match answers.next().await {
                Ok(Some(news)) => news,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            };
            let index = news.index;
            finished += usize::from(self.take(news));
            let Some(choice) = self.choices[index].shown_if_new(index) else {
                continue;
            };
            let mut chunk = self.envelope(&[choice]);
            if finished == self.choices.len() {
                chunk["usage"] = self.usage();
            }
            let event = Event::default().data(chunk.to_string());
            events.send(Ok(event)).await.map_err(|_| Gone)?;
        }
    }

    /// Notes what is new; `true` if it is the last of its choice.
    fn take(&mut self, news: News) -> bool {
        let index = news.index;
        match news.chunk {
            OutputChunk::Start { prompt_usage, .. } => {
                self.prompt.prompt_tokens += prompt_usage.prompt_tokens;
                self.prompt.prompt_cache_hit_tokens += prompt_usage.prompt_cache_hit_tokens;
            }
            OutputChunk::Content { content, logprobs } => {
                self.choices[index].push(&content, logprobs.as_deref().unwrap_or_default());
            }
            OutputChunk::Finish {
                finish_reason,
                completion_usage,
                ..
            } => {
                self.completion.completion_tokens += completion_usage.completion_tokens;
                if let Some(note) = news.note {
                    self.choices[index].prepend(&note.prompt_logprobs);
                }
                self.choices[index].finish(match finish_reason {
                    FinishReason::Length => "length",
                    _ => "stop",
                });
                return true;
            }
            // Text without markup has none of these.
            OutputChunk::Reasoning { .. }
            | OutputChunk::ToolCallBegin
            | OutputChunk::ToolCallNamed { .. }
            | OutputChunk::ToolCallArgumentsDelta { .. } => {}
        }
        false
    }

    fn envelope(&self, choices: &[Value]) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn usage(&self) -> Value {
        let PromptUsage {
            prompt_tokens,
            prompt_cache_hit_tokens,
        } = self.prompt;
        let completion_tokens = self.completion.completion_tokens;
        json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": prompt_cache_hit_tokens},
            "prompt_cache_hit_tokens": prompt_cache_hit_tokens,
            "prompt_cache_miss_tokens": prompt_tokens - prompt_cache_hit_tokens,
        })
    }
}
