//! A server in this process, and a client that sees bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use fathom_checkpoint::Checkpoint;
use fathom_engine::{Engine, EngineOptions};
use fathom_serve::{Options, ServedModel, Server};
use tokio::sync::oneshot;

/// A running server; dropping it ends it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The built-in model.
pub(crate) fn default_engine(options: &EngineOptions) -> Arc<Engine> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fathom/default-model");
    Engine::load(Checkpoint::open(&dir).unwrap(), options).unwrap()
}

impl Running {
    /// Serves the built-in model as `m`.
    pub(crate) fn start(adjust: impl FnOnce(&mut Options)) -> Self {
        Self::start_with(&EngineOptions::default(), adjust)
    }

    /// As [`start`](Self::start), with an engine of one's own making.
    pub(crate) fn start_with(engine: &EngineOptions, adjust: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(vec![ServedModel::new(default_engine(engine), "m")]);
        adjust(&mut options);
        let (shutdown, asked) = oneshot::channel();
        let (tell, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind("127.0.0.1", 0, options).await.unwrap();
                tell.send(server.address().unwrap()).unwrap();
                let shutdown = async { drop(asked.await) };
                server.run(shutdown).await.unwrap();
            });
        });
        let address = address.recv().unwrap();
        Self {
            address,
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }

    /// Asks the server to end, without waiting.
    pub(crate) fn ask_to_end(&mut self) {
        drop(self.shutdown.take());
    }

    /// Sends a request and keeps the connection.
    pub(crate) fn send(&self, head: &str, body: &str) -> TcpStream {
        self.send_as(head, "application/json", body)
    }

    /// As [`send`](Self::send), with another content type.
    pub(crate) fn send_as(&self, head: &str, content_type: &str, body: &str) -> TcpStream {
        self.send_with(head, &[("content-type", content_type)], body)
    }

    /// As [`send`](Self::send), with these headers.
    pub(crate) fn send_with(&self, head: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let headers = headers.concat();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a body that may be no text, and waits for the whole reply.
    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Reply::read(self.send_bytes(&[head.as_bytes(), body].concat()))
    }

    /// Sends bytes and keeps the connection.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// Sends a request with a key and keeps the connection.
    pub(crate) fn send_as_key(&self, head: &str, secret: &str, body: &str) -> TcpStream {
        let authorization = format!("Bearer {secret}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &*authorization),
        ];
        self.send_with(head, &headers, body)
    }

    /// Sends a chat request with a key and waits for the whole reply.
    pub(crate) fn chat_as(&self, secret: &str, body: &str) -> Reply {
        Reply::read(self.send_as_key("POST /v1/chat/completions", secret, body))
    }

    /// Sends a chat request and waits for the whole reply.
    pub(crate) fn chat(&self, body: &str) -> Reply {
        Reply::read(self.send("POST /v1/chat/completions", body))
    }

    /// Sends any request and waits for the whole reply.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        Reply::read(self.send(&format!("POST {path}"), body))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        Reply::read(self.send(&format!("GET {path}"), ""))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask_to_end();
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok());
    }
}

/// A reply, its chunks put together.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// One of its headers.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = String::new();
        stream.read_to_string(&mut bytes).unwrap();
        let (head, body) = bytes
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no reply: {bytes:?}"));
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
                .next()
        };
        let chunked = header("transfer-encoding").is_some_and(|value| value == "chunked");
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            content_type: header("content-type").unwrap_or_default(),
            head: head.to_owned(),
            body: if chunked { unchunked(body) } else { body.to_owned() },
        }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
    whole
}
