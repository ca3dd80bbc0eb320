//! A server of the API that keeps to a schedule, and says when it spoke: each token is the time at which it was sent,
//! in microseconds from the arrival of its request. A client's report is held against that, so that the lateness of
//! the server, or of a busy machine, is nobody's error.

use serde_json::{Value, json};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep_until},
};

pub(crate) const TTFT: Duration = Duration::from_millis(200);
pub(crate) const GAP: Duration = Duration::from_millis(20);

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// Serves until the process ends.
pub(crate) async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let serving = async {
        loop {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            // A client that goes away is its own business.
            spawn_local(async move { drop(converse(connection).await) });
        }
    };
    LocalSet::new().run_until(serving).await
}

/// One request after the other.
async fn converse(mut connection: TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some((arrived, path, body)) = request(&mut connection, &mut read).await? else { return Ok(()) };
        if body["stream"] == true {
            stream(&mut connection, &path, &body, arrived).await?;
        } else {
            whole(&mut connection, &path, &body).await?;
        }
    }
}

/// When the next request came, its path and its body. None: there is none any more.
async fn request(
    connection: &mut TcpStream,
    read: &mut Vec<u8>,
) -> io::Result<Option<(Instant, String, Value)>> {
    let mut arrived = Instant::now();
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + length.unwrap_or(0);
            if read.len() >= whole {
                let body = serde_json::from_slice(&read[end..whole]).unwrap_or_default();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                read.drain(..whole);
                return Ok(Some((arrived, path, body)));
            }
        }
        if connection.read_buf(read).await? == 0 {
            return Ok(None);
        }
        arrived = Instant::now();
    }
}

async fn whole(connection: &mut TcpStream, path: &str, body: &Value) -> io::Result<()> {
    let answer = if path.ends_with("/models") {
        json!({ "object": "list", "data": [{ "id": "tiny", "object": "model", "root": "tiny", "max_model_len": 8192 }] })
    } else {
        let choice = json!({ "index": 0, "text": " 0", "message": { "role": "assistant", "content": " 0" }, "finish_reason": "length" });
        json!({ "id": "1", "object": "text_completion", "created": 1, "model": body["model"], "choices": [choice], "usage": usage(1) })
    };
    let body = answer.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await
}

async fn stream(connection: &mut TcpStream, path: &str, body: &Value, arrived: Instant) -> io::Result<()> {
    let asked = body["max_completion_tokens"].as_u64().or(body["max_tokens"].as_u64());
    let tokens = u32::try_from(asked.unwrap_or(16)).unwrap_or(u32::MAX);
    let chat = path.ends_with("/chat/completions");
    connection.write_all(HEAD.as_bytes()).await?;
    for token in 0..tokens {
        sleep_until(arrived + TTFT + GAP * token).await;
        let finish = if token + 1 == tokens { json!("length") } else { Value::Null };
        // Put together by hand: what this costs is the lateness of the next stream.
        let said = arrived.elapsed().as_micros();
        let said =
            if chat { format!(r#""delta":{{"content":" {said}"}}"#) } else { format!(r#""text":" {said}""#) };
        let object = if chat { "chat.completion.chunk" } else { "text_completion" };
        let data = format!(
            r#"{{"id":"cmpl-a1b2c3d4e5f60718","object":"{object}","created":1764000000,"model":"tiny","choices":[{{"index":0,{said},"logprobs":null,"finish_reason":{finish},"stop_reason":null,"token_ids":null}}],"usage":null}}"#
        );
        event(connection, &data).await?;
    }
    let last = json!({ "id": "cmpl-a1b2c3d4e5f60718", "object": "text_completion", "created": 1, "model": "tiny", "choices": [], "usage": usage(tokens) });
    event(connection, &last.to_string()).await?;
    event(connection, "[DONE]").await?;
    connection.write_all(b"0\r\n\r\n").await
}

async fn event(connection: &mut TcpStream, data: &str) -> io::Result<()> {
    // `data: ` before, an empty line after.
    let length = data.len() + 8;
    connection.write_all(format!("{length:x}\r\ndata: {data}\n\n\r\n").as_bytes()).await
}

fn usage(tokens: u32) -> Value {
    json!({ "prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": tokens + 5 })
}
