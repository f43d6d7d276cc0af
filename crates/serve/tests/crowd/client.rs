//! One stream, and how its client behaves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

/// What a client does with its stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Reads it to the end.
    Reads,
    /// Reads it to the end, a little at a time.
    ReadsSlowly,
    /// Leaves after this many reads.
    Leaves { after: usize },
}

impl Behaviour {
    /// Every second one leaves, some at once; an eighth is slow.
    pub(crate) fn of(stream: usize, wave: usize) -> Self {
        match stream % 8 {
            1 | 3 | 5 | 7 => Self::Leaves {
                after: (stream / 8 + wave) % 12,
            },
            2 => Self::ReadsSlowly,
            _ => Self::Reads,
        }
    }
}

/// What a client saw.
pub(crate) struct Visit {
    /// The text, in one piece.
    pub(crate) text: String,
    /// Whether the stream had its proper end.
    pub(crate) whole: bool,
    /// When each piece of text came, after the request.
    pub(crate) times: Vec<Duration>,
}

fn request(index: usize) -> String {
    let body = format!(
        r#"{{"model":"m","stream":true,"thinking":{{"type":"disabled"}},"seed":{index},"max_tokens":60,"messages":[{{"role":"user","content":"Tell me story {index}."}}]}}"#
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends request number `index` and reads as `behaviour` says.
pub(crate) async fn visit(address: SocketAddr, index: usize, behaviour: Behaviour) -> Visit {
    let socket = TcpSocket::new_v4().unwrap();
    if matches!(behaviour, Behaviour::ReadsSlowly) {
        // So that what is not read stays with the server.
        socket.set_recv_buffer_size(4096).unwrap();
    }
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(request(index).as_bytes()).await.unwrap();
    let started = Instant::now();
    let (mut lines, mut times, mut reads) = (Vec::new(), Vec::new(), 0);
    let mut bytes = [0; 4096];
    let most = if matches!(behaviour, Behaviour::ReadsSlowly) {
        512
    } else {
        4096
    };
    loop {
        match behaviour {
            Behaviour::Leaves { after } if after == reads => break,
            Behaviour::ReadsSlowly => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => {}
        }
        let count = stream.read(&mut bytes[..most]).await.unwrap();
        if count == 0 {
            break;
        }
        reads += 1;
        let before = pieces(&lines);
        lines.extend_from_slice(&bytes[..count]);
        times.resize(times.len() + pieces(&lines) - before, started.elapsed());
    }
    let whole = String::from_utf8_lossy(&lines).contains("data: [DONE]");
    Visit {
        text: text(&lines),
        whole,
        times,
    }
}

const PIECE: &str = r#""delta":{"content":""#;

fn pieces(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).matches(PIECE).count()
}

/// The pieces put together.
fn text(bytes: &[u8]) -> String {
    let stream = String::from_utf8_lossy(bytes);
    let chunks = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
    chunks
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect()
}
