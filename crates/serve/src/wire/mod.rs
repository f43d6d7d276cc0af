//! The wires: what each protocol's requests mean, and what its replies look like.
//!
//! Every wire that generates goes the same way: its handler reads the body ([`body`]), makes a [`Request`] of it on a thread
//! that may take its time, and hands that to [`respond`], which starts the answer and puts the reply together as the vendor's
//! generator for the wire does it.

pub(crate) mod body;
pub(crate) mod chat;
mod choice;
pub(crate) mod completions;
pub(crate) mod conversation;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod operator;
mod relaxed;
mod reply;
pub(crate) mod responses;
mod sampling;
pub(crate) mod structure;
pub(crate) mod tokenize;

use std::sync::Arc;

use axum::response::Response;
use deepseek_recipe::request::{ConversationRequest, ProtocolRequest};
use deepseek_recipe::response::ProtocolResponse;
use deepseek_recipe::stream::ChunkGenerator;
use fathom_engine::answer::{self, Prompt};
use fathom_prompt::Conversation;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::access::Caller;
use crate::answer::{Job, Note};
use crate::app::App;
use crate::catalog::ServedModel;
use crate::error::ApiError;
use crate::observe::note_panic;
use crate::replay::{Beginning, Scope};

pub(crate) use reply::respond;
use structure::Structure;

/// A stream that cannot go on.
pub(crate) struct Cut {
    /// The reply's id.
    pub(crate) id: String,
    /// The model's name.
    pub(crate) model: String,
    /// When it began, in seconds since 1970.
    pub(crate) created: u64,
    /// Events sent so far.
    pub(crate) chunks: usize,
}

/// What makes the chunks of a wire's replies.
pub(crate) type Generator<W> = <<W as ProtocolRequest>::Response as ProtocolResponse>::ChunkGenerator;

/// A protocol that generates, beyond what the vendor's crate says of it.
pub(crate) trait Wire:
    ProtocolRequest<
    Response: Sync + ProtocolResponse<ChunkGenerator: ChunkGenerator<Chunk: Serialize + Send + Sync>>,
>
{
    /// Its name in logs and in the ledger.
    const NAME: &'static str;

    /// The id of the reply to a request: that of the request, so that replies, logs and the ledger agree.
    fn response_id(request: Uuid) -> String {
        request.to_string()
    }

    /// Completes a whole reply, or the last chunk of a stream, with what the vendor's form has no place for.
    fn complete(reply: &mut Value, note: &Note);

    /// The name, if any, and the data of the event that ends a stream early.
    fn failed(_: Cut, error: &ApiError) -> (Option<&'static str>, Value) {
        (None, error.body())
    }
}

/// What a request asks for, its fields checked.
pub(crate) struct Draft {
    /// Who answers.
    pub(crate) model: Arc<ServedModel>,
    /// What to answer.
    pub(crate) conversation: Conversation,
    /// How; the length is settled later.
    pub(crate) options: answer::Options,
    /// The vendor's form of it, which shapes the reply.
    pub(crate) converted: ConversationRequest,
    /// The client's name for its user; empty if it does not say.
    pub(crate) user: String,
    /// What the answer must be.
    pub(crate) structure: Option<Structure>,
}

impl Draft {
    /// The prompt it amounts to. Answers in it that were given here are repeated token by token.
    pub(crate) fn prompt(&mut self, app: &App, caller: &Caller) -> Result<Prompt, ApiError> {
        let scope = Scope {
            model: self.model.engine.identity(),
            isolation: &caller.isolation(&self.user),
        };
        let modes = self.model.engine.renderer().modes();
        conversation::ask(&mut self.conversation.messages, modes);
        app.replay.fill(scope, &mut self.conversation);
        Prompt::of_conversation(&self.model.engine, &self.conversation)
            .map_err(|error| ApiError::invalid(error.to_string()))
    }
}

/// A request that is ready to be answered.
pub(crate) struct Request {
    model: Arc<ServedModel>,
    prompt: Prompt,
    options: answer::Options,
    converted: ConversationRequest,
    beginning: Beginning,
    offers_tools: bool,
    caller: Caller,
    user: String,
    /// The model's name in the reply; its own if nothing else is said.
    shown: Option<String>,
}

impl Request {
    /// Renders the prompt and sees that it fits, with the answer's length.
    pub(crate) fn new(app: &App, caller: &Caller, mut draft: Draft) -> Result<Self, ApiError> {
        let prompt = draft.prompt(app, caller)?;
        let grammar = structure::grammar(app, caller, &draft, &prompt)?;
        let Draft {
            model,
            conversation,
            mut options,
            mut converted,
            user,
            ..
        } = draft;
        options.grammar = grammar;
        let engine = &model.engine;
        let beginning = Beginning::of(&conversation, prompt.ids(), engine.tokenizer());
        let tokens = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (length, context) = (tokens(prompt.ids().len()), tokens(engine.context_max()));
        // Who asks for no length gets what memory has room for. So does who asks for too much, as clients do that were made for
        // a longer context; strict servers refuse that.
        let room = tokens(engine.timeline_max()).saturating_sub(length).max(1);
        let unasked = converted.inference_options.max_tokens.is_none();
        if !app.strict && length < context {
            let asked = &mut converted.inference_options.max_tokens;
            *asked = asked.map(|asked| asked.min(room));
        }
        let mut most = converted.resolve_max_tokens(length, context)?;
        if unasked {
            most = most.min(room);
        }
        options.max_tokens = Some(most as usize);
        Ok(Self {
            model,
            prompt,
            options,
            converted,
            beginning,
            offers_tools: conversation.offers_tools(),
            caller: caller.clone(),
            user,
            shown: None,
        })
    }

    fn into_job(self, wire: &'static str) -> (Job, ConversationRequest) {
        let job = Job {
            caller: self.caller,
            wire,
            user: self.user,
            thinking: self.converted.conversation.thinking_mode,
            exact_logprobs: false,
            offers_tools: self.offers_tools,
            model: self.model,
            prompt: self.prompt,
            options: self.options,
            beginning: Some(self.beginning),
        };
        (job, self.converted)
    }
}

/// Reads a request on a thread that may take its time: megabytes of text take a while to parse and encode. As many at a time as
/// there are processors; the others wait their turn, so that a crowd of long prompts does not crowd out the engine.
pub(crate) async fn prepare<T: Send + 'static>(
    app: &Arc<App>,
    caller: &Caller,
    read: impl FnOnce(&App, &Caller) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (here, caller) = (Arc::clone(app), caller.clone());
    // It is never closed; and if it were, that would be no reason to refuse anybody.
    let turn = Arc::clone(&app.readers).acquire_owned().await.ok();
    let read = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, even if nobody waits for it any more.
        let _turn = turn;
        read(&here, &caller)
    });
    let read = read.await;
    read.map_err(|bug| match bug.try_into_panic() {
        Ok(panic) => note_panic(&app.metrics, &*panic),
        Err(bug) => ApiError::internal(bug.to_string()),
    })?
}

/// Prepares a request, answers it.
pub(crate) async fn answer<W: Wire>(
    app: Arc<App>,
    caller: Caller,
    read: impl FnOnce(&App, &Caller) -> Result<Request, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let request = prepare(&app, &caller, read).await?;
    respond::<W>(app, request).await
}

/// Longest `user_id` in bytes, as on the hosted API.
const USER_ID_BYTES_MAX: usize = 512;

/// The user that a body names in one of its two fields; empty if it names none.
pub(crate) fn user_of(user_id: Option<&str>, user: Option<&str>) -> Result<String, ApiError> {
    let user = user_id.or(user).unwrap_or_default();
    if user.len() > USER_ID_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "Invalid 'user_id': string too long. Expected a string with maximum length {USER_ID_BYTES_MAX}, but got a string \
             with length {} instead",
            user.len()
        )));
    }
    Ok(user.to_owned())
}
