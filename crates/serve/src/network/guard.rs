//! A bound on the number of connections and on their patience.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// What tells HTTP/1 from HTTP/2: until so many bytes have come, no timer of the HTTP library runs.
const PREFACE_BYTES: usize = 24;

/// Takes connections while there is room.
#[derive(Clone)]
pub(super) struct Guard<A> {
    pub(super) inner: A,
    /// Connections that may still be opened.
    pub(super) room: Arc<Semaphore>,
    /// How long the first bytes may take.
    pub(super) opening: Duration,
    /// How long what is written may go unread.
    pub(super) stall: Duration,
}

impl<A, S> Accept<TcpStream, S> for Guard<A>
where
    A: Accept<TcpStream, S> + Clone + Send + 'static,
    A::Future: Send,
    S: Send + 'static,
{
    type Stream = Guarded<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Self {
            inner,
            room,
            opening,
            stall,
        } = self.clone();
        Box::pin(async move {
            let Ok(place) = room.try_acquire_owned() else {
                tracing::warn!(target: "fathom::network", "a connection was closed: as many are open as --connections allows");
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            // An event is a packet: clients show tokens as they come.
            stream.set_nodelay(true)?;
            let (stream, service) = inner.accept(stream, service).await?;
            let stream = Guarded {
                stream,
                read: 0,
                opening: Some(Box::pin(sleep(opening))),
                stall,
                stalled: None,
                _place: place,
            };
            Ok((stream, service))
        })
    }
}

/// A connection that fails when its client keeps it waiting.
pub(super) struct Guarded<S> {
    stream: S,
    /// Bytes that have come, while that matters.
    read: usize,
    opening: Option<Pin<Box<Sleep>>>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl<S> Guarded<S> {
    /// `written`, or the client's time is up.
    fn or_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(opening) = &mut this.opening else {
            return read;
        };
        if read.is_ready() {
            this.read += buffer.filled().len() - before;
            if this.read >= PREFACE_BYTES {
                this.opening = None;
            }
            return read;
        }
        ready!(opening.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.or_stalled(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.or_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.or_stalled(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.or_stalled(context, shut)
    }
}
