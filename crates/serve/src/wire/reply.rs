//! Replies, streamed or whole, in the vendor's forms.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use deepseek_recipe::response::{Accumulate as _, ProtocolResponse};
use deepseek_recipe::stream::{ChunkGenerator, OutputChunk};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{Cut, Generator, Request, Wire};
use crate::answer::{self, Gone, Note, Output};
use crate::app::App;
use crate::error::ApiError;

/// A line goes out this often while nothing else does, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events under way to the connection.
const EVENTS_AHEAD: usize = 16;

/// Answers a request. Errors found before the first token have a status of their own; later ones end the stream.
pub(crate) async fn respond<W: Wire>(app: Arc<App>, mut request: Request) -> Result<Response, ApiError> {
    let shown = request.shown.take();
    let (job, converted) = request.into_job(W::NAME);
    let id = W::response_id(job.caller.request);
    let model = shown.unwrap_or_else(|| job.model.name.clone());
    let generator = W::chunk_generator(&converted, id.clone(), model.clone());
    if converted.stream {
        let (response, events) = event_stream();
        let streamed = Streamed::<W> {
            generator,
            events,
            cut: Cut {
                id,
                model,
                created: created(),
                chunks: 0,
            },
        };
        answer::start(app, job, streamed).await?;
        return Ok(response);
    }
    let (sender, reply) = oneshot::channel();
    let whole = Whole::<W> {
        generator,
        response: W::Response::new(id, model, created(), 0, 0),
        sender,
    };
    answer::start(app, job, whole).await?;
    in_one_piece(reply).await
}

/// Where the events of a stream go.
pub(super) type Events = mpsc::Sender<Result<Event, Infallible>>;

/// A stream of events, with comments while there are none, and where they come from.
pub(super) fn event_stream() -> (Response, Events) {
    let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
    let stream = Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"));
    let content_type = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    ((content_type, stream).into_response(), events)
}

/// Now, in seconds of Unix time.
pub(super) fn created() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// A reply in one piece. If it takes long, it begins with blank lines, as the hosted API's do, so that nobody on the way takes the
/// connection for dead; its status is 200 then, and an error that comes later is told in the body alone. If the client goes away,
/// what waits is dropped and the answer ends.
pub(super) async fn in_one_piece(
    mut reply: oneshot::Receiver<Result<Value, ApiError>>,
) -> Result<Response, ApiError> {
    if let Ok(reply) = tokio::time::timeout(KEEP_ALIVE, &mut reply).await {
        return Ok(Json(settled(reply)?).into_response());
    }
    let (lines, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let line = tokio::select! {
                settled_reply = &mut reply => settled(settled_reply).unwrap_or_else(|error| error.body()).to_string(),
                () = tokio::time::sleep(KEEP_ALIVE) => "\n".to_owned(),
                () = lines.closed() => return,
            };
            let last = line != "\n";
            if lines.send(Ok::<_, Infallible>(line)).await.is_err() || last {
                return;
            }
        }
    });
    // The wait has been long enough for one line already.
    let first = tokio_stream::once(Ok("\n".to_owned()));
    let body = Body::from_stream(first.chain(ReceiverStream::new(receiver)));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// What a task has said, which may also have ended without a word.
fn settled(reply: Result<Result<Value, ApiError>, oneshot::error::RecvError>) -> Result<Value, ApiError> {
    reply.map_err(|_| ApiError::internal("the answer ended without a result"))?
}

/// Chunks are sent as they come.
struct Streamed<W: Wire> {
    generator: Generator<W>,
    events: Events,
    /// What to say if the answer fails.
    cut: Cut,
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
            self.cut.chunks += 1;
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
                let (name, data) = W::failed(self.cut, &error);
                let event = name.map_or_else(Event::default, |name| Event::default().event(name));
                if let Ok(event) = event.json_data(data) {
                    self.events.send(Ok(event)).await.ok();
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
