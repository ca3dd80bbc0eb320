//! Servers that mean harm, or have gone mad: each is a named finding, in time and in bounded memory.

use crate::{
    recorded::{read_request, serve},
    stand::{FOREVER, NEVER},
};
use awqdeploy::{
    domain::{
        api::openai::{ApiError, Request},
        profile::Gates,
        validation::report::Verdict,
    },
    flow::validate::{Subject, validate},
    host::vllm::api::Api,
};
use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

/// For any one request that is to be given up: time enough for an answer to begin.
const PATIENCE: Duration = Duration::from_secs(3);

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn events(body: &[u8]) -> Vec<u8> {
    answer("200 OK\r\ncontent-type: text/event-stream", body)
}

async fn streamed(address: SocketAddr) -> ApiError {
    let api = Api::at(address, "tiny", PATIENCE).unwrap();
    let began = Instant::now();
    let fault = api.stream(&Request::complete("Hi", 4)).await.unwrap_err();
    assert!(began.elapsed() < NEVER, "{:?}", began.elapsed());
    fault
}

/// Writes `piece` again and again, until nobody reads.
pub(crate) fn drip(head: &'static str, piece: &'static [u8], pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                read_request(&mut connection);
                let mut open = connection.write_all(head.as_bytes()).is_ok();
                while open {
                    open = connection.write_all(piece).is_ok();
                    thread::sleep(pause);
                }
            });
        }
    });
    address
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

#[tokio::test]
async fn streams_are_bounded() {
    let chunk = b"data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}\n\n";
    let endless = drip(STREAM, chunk, Duration::from_millis(5));
    assert!(matches!(streamed(endless).await, ApiError::Late { chunks: 1.., .. }));
    // A byte now and then keeps no request alive.
    let slow = drip(STREAM, b":", Duration::from_millis(50));
    assert!(matches!(streamed(slow).await, ApiError::Late { chunks: 0, .. }));
    // One event without end.
    let huge = serve(events(&[b"data: ".as_slice(), &vec![b'x'; 10 << 20]].concat()), 1 << 16);
    let fault = streamed(huge).await;
    assert_eq!(
        fault.to_string(),
        "answered something that is not this API: a streamed event is larger than 1048576 bytes"
    );
}

#[tokio::test]
async fn streams_of_nonsense_are_named() {
    for (body, said) in [
        (&b"data: {\"choices\": [\n\n"[..], "answered something that is not this API"),
        (b"data: {\"error\": \"out of cheese\"}\n\n", "reported an error in the middle of the stream"),
        (b"data: [DONE]\n\ndata: {}\n\n", "answered something that is not this API: an event after `[DONE]`"),
        (b"data: [DONE]\n\n", "the answer broke off: the stream has no text"),
        (b"data: \xff\xfe\n\n", "answered something that is not this API"),
        (b"", "the answer broke off: the stream ended without `[DONE]`"),
    ] {
        let fault = streamed(serve(events(body), 7)).await.to_string();
        assert!(fault.starts_with(said), "{fault}");
    }
}

/// The verdict on a server that gives this answer to everything.
async fn judged(address: SocketAddr) -> String {
    let api = Api::at(address, "tiny", FOREVER).unwrap();
    let gates = Gates::default();
    let subject = Subject {
        generation: None,
        name: "tiny",
        gates: &gates,
        argv: None,
        start_spread: 0.03,
        weights: None,
        reference: None,
    };
    let began = Instant::now();
    let report = validate(&api, subject, None, None, &|_| {}).await;
    assert!(began.elapsed() < NEVER, "{:?}", began.elapsed());
    assert_eq!(report.verdict(), Verdict::Fail);
    report.failures[0].clone()
}

#[tokio::test]
async fn a_server_that_answers_everything_alike_is_found_out() {
    for (bytes, said) in [
        (answer("302 Found\r\nlocation: http://192.0.2.1/", b""), "check `health`: answered status 302"),
        (answer("200 OK", b"ok"), "check `models`: answered something that is not this API"),
        (answer("200 OK", b"\xff\xff"), "check `models`: answered something that is not this API"),
        (answer("200 OK", b"{\"error\":{\"message\":\"no\"}}"), "check `models`: answered something"),
        (answer("200 OK", br#"{"data":[]}"#), "check `models`: `tiny` is not served, only ``"),
        (
            answer("200 OK", br#"{"data":[{"id":"tiny"}]}"#),
            "check `completion`: answered something that is not this API",
        ),
        (answer("503 Service Unavailable", b""), "check `health`: answered status 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "check `health`: the answer broke off"),
    ] {
        let found = judged(serve(bytes, 4096)).await;
        assert!(found.starts_with(said), "{found}");
    }
}
