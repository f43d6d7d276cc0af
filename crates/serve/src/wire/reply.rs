//! Replies, streamed or whole, in the vendor's forms.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use deepseek_recipe::response::{Accumulate as _, ProtocolResponse};
use deepseek_recipe::stream::{ChunkGenerator, OutputChunk};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::{Request, Wire};
use crate::answer::{self, Gone, Note, Output};
use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;

/// A line goes out this often while nothing else does, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events under way to the connection.
const EVENTS_AHEAD: usize = 16;

type Generator<W> =
    <<W as deepseek_recipe::request::ProtocolRequest>::Response as ProtocolResponse>::ChunkGenerator;

/// Answers a request. Errors found before the first token have a status of their own; later ones end the stream.
pub(crate) async fn respond<W: Wire>(
    app: Arc<App>,
    caller: &Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (job, converted) = request.into_job(caller, W::NAME);
    let id = W::response_id();
    let model = job.model.name.clone();
    let generator = W::chunk_generator(&converted, id.clone(), model.clone());
    if converted.stream {
        let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
        answer::start(app, job, Streamed::<W> { generator, events }).await?;
        return Ok(Sse::new(ReceiverStream::new(receiver))
            .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))
            .into_response());
    }
    let (sender, reply) = oneshot::channel();
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let whole = Whole::<W> {
        generator,
        response: W::Response::new(id, model, created, 0, 0),
        sender,
    };
    answer::start(app, job, whole).await?;
    // If the client goes away, this is dropped and the answer ends.
    let reply = reply
        .await
        .map_err(|_| ApiError::internal("the answer ended without a result"))??;
    Ok(Json(reply).into_response())
}

/// Chunks are sent as they come.
struct Streamed<W: Wire> {
    generator: Generator<W>,
    events: mpsc::Sender<Result<Event, Infallible>>,
}

impl<W: Wire> Streamed<W> {
    /// Waits while the client reads more slowly than the model writes.
    async fn send(&mut self, event: Event) -> Result<(), Gone> {
        self.events.send(Ok(event)).await.map_err(|_| Gone)
    }

    async fn pass(&mut self, chunk: OutputChunk, note: Option<&Note>) -> Result<(), Gone> {
        let chunks = self.generator.generate(chunk).await;
        let last = chunks.len().saturating_sub(1);
        for (index, chunk) in chunks.iter().enumerate() {
            let mut event = Event::default();
            if let Some(name) = W::Response::sse_event_name(chunk) {
                event = event.event(name);
            }
            let event = match note.filter(|_| index == last) {
                Some(note) => event.json_data(completed::<W>(chunk, note)),
                None => event.json_data(chunk),
            };
            // Chunks are plain data; if one cannot be written, ending the stream without its last event says so.
            self.send(event.map_err(|_| Gone)?).await?;
        }
        Ok(())
    }
}

impl<W: Wire> Output for Streamed<W> {
    async fn chunk(&mut self, chunk: OutputChunk) -> Result<(), Gone> {
        self.pass(chunk, None).await
    }

    async fn end(mut self, last: Result<(OutputChunk, Note), ApiError>) {
        // If the client has gone there is nobody to tell.
        match last {
            Ok((chunk, note)) => {
                if self.pass(chunk, Some(&note)).await.is_ok()
                    && let Some(data) = W::Response::sse_done_data()
                {
                    self.send(Event::default().data(data)).await.ok();
                }
            }
            Err(error) => {
                if let Ok(event) = Event::default().json_data(error.body()) {
                    self.send(event).await.ok();
                }
            }
        }
    }

    async fn gone(&mut self) {
        self.events.closed().await;
    }
}

/// Chunks are put together.
struct Whole<W: Wire> {
    generator: Generator<W>,
    response: W::Response,
    sender: oneshot::Sender<Result<Value, ApiError>>,
}

impl<W: Wire> Output for Whole<W> {
    async fn chunk(&mut self, chunk: OutputChunk) -> Result<(), Gone> {
        for chunk in self.generator.generate(chunk).await {
            self.response.accumulate(chunk);
        }
        if self.sender.is_closed() {
            Err(Gone)
        } else {
            Ok(())
        }
    }

    async fn end(mut self, last: Result<(OutputChunk, Note), ApiError>) {
        let reply = match last {
            Ok((chunk, note)) => {
                self.chunk(chunk).await.ok();
                Ok(completed::<W>(&self.response, &note))
            }
            Err(error) => Err(error),
        };
        self.sender.send(reply).ok();
    }

    async fn gone(&mut self) {
        self.sender.closed().await;
    }
}

fn completed<W: Wire>(reply: &impl Serialize, note: &Note) -> Value {
    // Replies are plain data.
    let mut reply = serde_json::to_value(reply).unwrap_or_default();
    W::complete(&mut reply, note);
    reply
}
