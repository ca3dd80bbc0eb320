//! HTTP by hand, for what a client with a pool of connections hides.

use crate::domain::openai::Fault;
use reqwest::Url;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The most bytes of one answer.
const MOST_BYTES: usize = 1 << 20;

/// Whether the same connection answers `path` twice. `headers` are whole lines.
pub(super) async fn answers_twice(
    base: &str,
    path: &str,
    headers: &str,
    patience: Duration,
) -> Result<bool, Fault> {
    let url = Url::parse(&format!("{base}{path}")).map_err(|e| Fault::Malformed(e.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let path = url.path();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\naccept: application/json\r\n{headers}\r\n");
    let twice = async {
        let mut stream = TcpStream::connect((host.as_str(), port)).await?;
        Ok(once(&mut stream, &request).await? && once(&mut stream, &request).await?)
    };
    match timeout(patience, twice).await {
        Ok(answered) => answered.map_err(|e: io::Error| Fault::Unreachable {
            address: format!("{host}:{port}"),
            why: e.to_string(),
        }),
        Err(_) => Err(Fault::Late { after: patience, chunks: 0 }),
    }
}

/// Whether one request is answered to its end, and the connection stays open after it.
async fn once(stream: &mut TcpStream, request: &str) -> io::Result<bool> {
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Ok(false);
    }
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            if head.lines().any(|line| line == "connection: close") {
                return Ok(false);
            }
            if is_whole(&head, &read[end + 4..]) {
                return Ok(true);
            }
        }
        // A connection that was closed between two requests may end in a reset.
        let ended = matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_));
        if ended || read.len() > MOST_BYTES {
            return Ok(false);
        }
    }
}

fn is_whole(head: &str, body: &[u8]) -> bool {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length.and_then(|length| length.trim().parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    }
}
