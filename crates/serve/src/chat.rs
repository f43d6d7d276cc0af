//! `POST /v1/chat/completions`.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use deepseek_recipe::openai::ChatCompletionRequest;
use deepseek_recipe::openai::chat_completion::response::{
    ChatCompletionChunkGenerator, ChatCompletionResponse,
};
use deepseek_recipe::request::ProtocolRequest as _;
use deepseek_recipe::response::{Accumulate as _, ProtocolResponse as _};
use deepseek_recipe::stream::{ChunkGenerator as _, OutputChunk};
use fathom_engine::answer::Prompt;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::error::ApiError;
use crate::request::ChatRequest;
use crate::worker::{self, Job, Output, Piece};

/// A line goes out this often while nothing else does, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Answers one request. Errors found before the first token have a status of their own; later ones end the stream.
pub(crate) async fn completions(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    expect_json(&headers)?;
    let body = body.map_err(|rejection| too_large_or(&rejection, app.options.body_bytes_max))?;

    // Megabytes of text take a while to parse and encode.
    let shared = Arc::clone(&app);
    let prepared = tokio::task::spawn_blocking(move || prepare(&body, &shared)).await;
    let (request, prompt) = prepared.map_err(|error| ApiError::internal(error.to_string()))??;

    let ChatRequest {
        converted,
        options,
        model,
        isolation,
        ..
    } = request;
    let job = Job {
        prompt,
        options,
        thinking: converted.conversation.thinking_mode,
        fingerprint: app.fingerprint(),
        isolation,
    };
    let output = worker::start(app, job).await?;
    let id = format!("chatcmpl-{:016x}{:016x}", random(), random());
    let generator = ChatCompletionRequest::chunk_generator(&converted, id.clone(), model.clone());
    if converted.stream {
        Ok(stream(output, generator))
    } else {
        Ok(Json(collect(output, generator, id, model).await?).into_response())
    }
}

/// Converts the request and renders its prompt, and sees that both fit the model.
fn prepare(body: &[u8], app: &App) -> Result<(ChatRequest, Prompt), ApiError> {
    let mut request = ChatRequest::parse(body, app)?;
    let prompt = Prompt::of_conversation(&app.engine, &request.conversation)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let tokens = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (length, context) = (tokens(prompt.ids().len()), tokens(app.engine.context_max()));
    let mut most = request.converted.resolve_max_tokens(length, context)? as usize;
    if !request.limited {
        // Who asks for no length gets what memory has room for; who asks for more than that is told so.
        let room = app.engine.timeline_max().saturating_sub(prompt.ids().len());
        most = most.min(room.max(1));
    }
    request.options.max_tokens = Some(most);
    Ok((request, prompt))
}

/// Sends chunks as they come.
fn stream(mut output: Output, mut generator: ChatCompletionChunkGenerator) -> Response {
    let (events, receiver) = mpsc::channel::<Result<Event, Infallible>>(1);
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                piece = output.recv() => piece,
                // Dropping `output` tells the worker.
                () = events.closed() => return,
            };
            let (chunks, last) = match piece {
                Some(Ok(Piece { chunk, miss })) => {
                    let last = matches!(chunk, OutputChunk::Finish { .. });
                    let chunks = generator.generate(chunk).await;
                    let event = |chunk| Event::default().json_data(with_reason(chunk, miss.as_deref()));
                    (chunks.iter().map(event).collect(), last)
                }
                Some(Err(error)) => (vec![Event::default().json_data(error.body())], false),
                None => return,
            };
            for chunk in chunks {
                // Chunks are plain data; if one cannot be written, ending the stream without [DONE] says so.
                let Ok(event) = chunk else { return };
                if events.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            if last {
                // If the client left just now, it has all it wanted.
                events.send(Ok(Event::default().data("[DONE]"))).await.ok();
                return;
            }
        }
    });
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))
        .into_response()
}

/// Waits for the whole reply. If the client goes away, this is dropped and `output` with it.
async fn collect(
    mut output: Output,
    mut generator: ChatCompletionChunkGenerator,
    id: String,
    model: String,
) -> Result<Value, ApiError> {
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut response = ChatCompletionResponse::new(id, model, created, 0, 0);
    let mut reason = None;
    while let Some(piece) = output.recv().await {
        let Piece { chunk, miss } = piece?;
        reason = reason.or(miss);
        for chunk in generator.generate(chunk).await {
            response.accumulate(chunk);
        }
    }
    Ok(with_reason(&response, reason.as_deref()))
}

/// A reply whose usage also says why no more of the prompt came from the cache, a field of our own.
fn with_reason(reply: &impl Serialize, reason: Option<&str>) -> Value {
    // Replies are plain data.
    let mut reply = serde_json::to_value(reply).unwrap_or_default();
    if let (Some(reason), Some(Value::Object(usage))) = (reason, reply.get_mut("usage")) {
        usage.insert("prompt_cache_miss_reason".to_owned(), reason.into());
    }
    reply
}

fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "Expected request with `Content-Type: application/json`";
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request_error",
        message,
    ))
}

fn too_large_or(rejection: &BytesRejection, body_bytes_max: usize) -> ApiError {
    let status = rejection.status();
    let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
        format!(
            "The request body is larger than the {body_bytes_max} bytes this server accepts. Send a shorter request."
        )
    } else {
        rejection.body_text()
    };
    ApiError::new(status, "invalid_request_error", message)
}

/// A random number, from the standard library's only source.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
