//! The wires: what each protocol's requests mean, and what its replies look like.
//!
//! Every wire that generates goes the same way: its handler reads the body ([`body`]), makes a [`Request`] of it on a thread
//! that may take its time, and hands that to [`respond`], which starts the answer and puts the reply together as the vendor's
//! generator for the wire does it.

pub(crate) mod body;
pub(crate) mod chat;
pub(crate) mod conversation;
pub(crate) mod models;
mod reply;

use std::sync::Arc;

use axum::response::Response;
use deepseek_recipe::request::{ConversationRequest, ProtocolRequest};
use deepseek_recipe::response::ProtocolResponse;
use deepseek_recipe::stream::ChunkGenerator;
use fathom_engine::answer::{self, Prompt};
use fathom_prompt::Conversation;
use serde::Serialize;
use serde_json::Value;

use crate::answer::{Job, Note};
use crate::app::App;
use crate::caller::Caller;
use crate::catalog::ServedModel;
use crate::error::ApiError;

pub(crate) use reply::respond;

/// A protocol that generates, beyond what the vendor's crate says of it.
pub(crate) trait Wire:
    ProtocolRequest<
    Response: Sync + ProtocolResponse<ChunkGenerator: ChunkGenerator<Chunk: Serialize + Send + Sync>>,
>
{
    /// Its name in logs and in the ledger.
    const NAME: &'static str;

    /// A new reply's id.
    fn response_id() -> String;

    /// Completes a whole reply, or the last chunk of a stream, with what the vendor's form has no place for.
    fn complete(reply: &mut Value, note: &Note);
}

/// A checked request.
pub(crate) struct Request {
    /// Who answers.
    pub(crate) model: Arc<ServedModel>,
    /// What to answer.
    pub(crate) prompt: Prompt,
    /// How.
    pub(crate) options: answer::Options,
    /// The vendor's form of it, which shapes the reply.
    pub(crate) converted: ConversationRequest,
    /// The client's name for its user; empty if it does not say.
    pub(crate) user: String,
}

impl Request {
    /// Renders the prompt and sees that it fits, with the answer's length.
    pub(crate) fn new(
        model: Arc<ServedModel>,
        conversation: &Conversation,
        mut options: answer::Options,
        converted: ConversationRequest,
        user: String,
    ) -> Result<Self, ApiError> {
        let engine = &model.engine;
        let prompt = Prompt::of_conversation(engine, conversation)
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        let tokens = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (length, context) = (tokens(prompt.ids().len()), tokens(engine.context_max()));
        let mut most = converted.resolve_max_tokens(length, context)? as usize;
        if converted.inference_options.max_tokens.is_none() {
            // Who asks for no length gets what memory has room for; who asks for more than that is told so.
            let room = engine.timeline_max().saturating_sub(prompt.ids().len());
            most = most.min(room.max(1));
        }
        options.max_tokens = Some(most);
        Ok(Self {
            model,
            prompt,
            options,
            converted,
            user,
        })
    }

    fn into_job(self, caller: &Caller, wire: &'static str) -> (Job, ConversationRequest) {
        let job = Job {
            request: caller.request,
            wire,
            isolation: caller.isolation(&self.user),
            thinking: self.converted.conversation.thinking_mode,
            model: self.model,
            prompt: self.prompt,
            options: self.options,
        };
        (job, self.converted)
    }
}

/// Reads a request on a thread that may take its time: megabytes of text take a while to parse and encode.
pub(crate) async fn prepare<T: Send + 'static>(
    app: &Arc<App>,
    read: impl FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || read(&app))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?
}

/// Prepares a request, answers it.
pub(crate) async fn answer<W: Wire>(
    app: Arc<App>,
    caller: Caller,
    read: impl FnOnce(&App) -> Result<Request, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let request = prepare(&app, read).await?;
    respond::<W>(app, &caller, request).await
}
