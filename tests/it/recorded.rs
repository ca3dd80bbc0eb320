//! Answers of a real vLLM 0.32.0, recorded byte for byte, and a server that gives them again.

use awqdeploy::host::vllm::api::Api;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

/// Long enough for any test machine, short enough to notice.
pub(crate) const PATIENCE: Duration = Duration::from_hours(1);

/// A recorded HTTP answer: status line, headers and body, chunked where it was.
pub(crate) fn answer(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vllm-api");
    let path = path.join(name).with_extension("txt");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Status and JSON body of a recorded answer that is not chunked.
pub(crate) fn json(name: &str) -> (u16, serde_json::Value) {
    let answer = String::from_utf8(answer(name)).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Serves `answer` to every request, in writes of `piece` bytes, and hangs up after each.
pub(crate) fn serve(answer: Vec<u8>, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection.set_nodelay(true).unwrap();
            read_request(&mut connection);
            for piece in answer.chunks(piece) {
                // A client that saw enough hangs up.
                if connection.write_all(piece).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// A client of a server that gives the recorded answer `name`.
pub(crate) fn api(name: &str) -> Api {
    Api::at(serve(answer(name), 4096), "tiny", PATIENCE).unwrap()
}

/// Reads one request with its body, however many pieces it comes in, and returns it. A server that closes a connection
/// with something unread resets it, and its client may lose the answer.
pub(crate) fn read_request(connection: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return String::from_utf8_lossy(&read).into_owned();
            }
        }
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&read).into_owned(),
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}
