//! The client, against the recorded answers of a real vLLM.

use crate::{
    recorded::{self, PATIENCE, read_request},
    stand::NEVER,
};
use awqdeploy::{
    domain::api::openai::{Answer, ApiError, ApiErrorBody, Request, Usage},
    host::vllm::api::{Api, first_completion},
};
use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

fn complete() -> Request {
    Request::complete("The quick brown fox", 8)
}

fn chat() -> Request {
    Request::chat("Hello", 8)
}

const fn usage(prompt_tokens: u32, completion_tokens: u32) -> Usage {
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
}

#[tokio::test]
async fn reads_health_and_models() {
    assert_eq!(recorded::api("health").health().await, Ok(200));
    let models = recorded::api("models").models().await.unwrap();
    assert_eq!(models.data.len(), 1);
    assert_eq!(models.data[0].id, "tiny");
    assert_eq!(models.data[0].max_model_len, Some(2048));
    let root = models.data[0].root.as_deref();
    assert_eq!(root, Some("models/qwen3next-tiny-ct-sym-g64"));
}

#[tokio::test]
async fn reads_whole_answers() {
    let answer = recorded::api("completions").answer(&complete()).await;
    let expected = Answer {
        role: None,
        text: "k/\u{fffd}\u{fffd}I\u{fffd} 01".to_owned(),
        finish_reason: "length".to_owned(),
        usage: usage(4, 8),
    };
    assert_eq!(answer, Ok(expected));

    let answer = recorded::api("chat").answer(&chat()).await.unwrap();
    assert_eq!(answer.role.as_deref(), Some("assistant"));
    assert_eq!(answer.text, "v\u{12} quick\u{fffd}\u{14}\u{fffd}f!");
    assert_eq!(answer.usage, usage(17, 8));

    // Shapes with fields that nobody here asked for.
    for name in ["chat_logprobs", "chat_content_parts"] {
        let answer = recorded::api(name).answer(&chat()).await.unwrap();
        assert_eq!(answer.role.as_deref(), Some("assistant"), "{name}");
    }
}

#[tokio::test]
async fn reads_streams_in_any_chunking() {
    for piece in [1, 2, 7, 100, 4096] {
        let served = |name| recorded::serve(recorded::answer(name), piece);
        let api = Api::at(served("completions_stream"), "tiny", PATIENCE).unwrap();
        let streamed = api.stream(&complete()).await.unwrap();
        // Half a character is an empty piece, and still a token.
        assert_eq!(streamed.answer.text, "k/\u{fffd}\u{fffd}I");
        assert_eq!(streamed.answer.usage, usage(4, 5));
        assert_eq!(streamed.answer.finish_reason, "length");
        assert_eq!(streamed.chunks.len(), 5);
        assert!(streamed.chunks.is_sorted());

        let api = Api::at(served("chat_stream"), "tiny", PATIENCE).unwrap();
        let streamed = api.stream(&chat()).await.unwrap();
        assert_eq!(streamed.answer.role.as_deref(), Some("assistant"));
        assert_eq!(streamed.answer.text, "v\u{12} quick\u{fffd}\u{14}");
        assert_eq!(streamed.answer.usage, usage(17, 5));
    }
    let continuous = recorded::api("chat_stream_continuous_usage");
    let streamed = continuous.stream(&chat()).await.unwrap();
    assert_eq!(streamed.answer.usage, usage(17, 3));
}

#[tokio::test]
async fn a_stream_without_usage_is_not_whole() {
    let api = recorded::api("completions_stream_nousage");
    let fault = api.stream(&complete()).await.unwrap_err();
    assert_eq!(fault.to_string(), "the answer broke off: the stream has no usage chunk, after 3 chunks");
}

/// The end of the recorded stream, in HTTP's chunked coding.
const DONE: &str = "e\r\ndata: [DONE]\n\n\r\n";

#[tokio::test]
async fn a_stream_without_its_end_is_not_whole() {
    let answer = String::from_utf8(recorded::answer("completions_stream")).unwrap();
    assert!(answer.contains(DONE), "the fixture has another form");
    let api = |answer: String| Api::at(recorded::serve(answer.into_bytes(), 4096), "tiny", PATIENCE).unwrap();
    let fault = api(answer.replace(DONE, "")).stream(&complete()).await.unwrap_err();
    assert_eq!(fault.to_string(), "the answer broke off: the stream ended without `[DONE]`, after 5 chunks");
    // The connection breaks in the middle of a chunk.
    let fault = api(answer[..answer.len() / 2].to_owned()).stream(&complete()).await.unwrap_err();
    assert!(matches!(fault, ApiError::Cut { chunks: 1.., .. }), "{fault}");
    assert!(fault.is_fatal());
}

#[tokio::test]
async fn an_error_under_status_200_is_an_error() {
    // The words of vLLM when its engine is killed under a stream.
    let error = "data: {\"error\":{\"message\":\"EngineCore encountered an issue.\",\
         \"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\n\n";
    let error = format!("{:x}\r\n{error}\r\n", error.len());
    let answer = String::from_utf8(recorded::answer("chat_stream")).unwrap();
    let answer = answer.replace(DONE, &format!("{error}{DONE}"));
    let api = Api::at(recorded::serve(answer.into_bytes(), 4096), "tiny", PATIENCE).unwrap();
    let fault = api.stream(&chat()).await.unwrap_err();
    let expected = ApiError::InStream("EngineCore encountered an issue.".to_owned());
    assert_eq!(fault, expected);
    assert!(fault.is_fatal());
}

#[tokio::test]
async fn refusals_are_told_in_the_servers_words() {
    let told = async |name| {
        let fault = recorded::api(name).stream(&complete()).await.unwrap_err();
        assert!(!fault.is_fatal(), "{fault}");
        fault.to_string()
    };
    assert_eq!(
        told("err_model_completions").await,
        "answered status 404: The model `nope` does not exist. Valid aliases: tiny."
    );
    assert_eq!(
        told("err_max_tokens_zero").await,
        "answered status 400: max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
    );
    assert_eq!(told("notfound").await, "answered status 404: Not Found");
}

#[tokio::test]
async fn every_recorded_error_has_an_integer_code() {
    for (name, code) in [
        ("err_model_chat", 404),
        ("err_bad_json", 400),
        ("err_bad_json_chat", 400),
        ("err_missing_prompt", 400),
        ("err_too_long_chat", 400),
        ("err_wrong_ctype", 400),
    ] {
        let raw = recorded::api(name).get("/").await.unwrap();
        assert_eq!(raw.status, code, "{name}");
        assert_eq!(ApiErrorBody::parse(&raw.body).unwrap().code, code, "{name}");
    }
    // A code that is text is another API's.
    let foreign = r#"{"error":{"message":"no","type":"invalid","param":null,"code":"bad"}}"#;
    assert!(ApiErrorBody::parse(foreign).is_err());
}

#[tokio::test]
async fn readiness_needs_a_token_and_an_end() {
    assert!(first_completion(&recorded::api("completions")).await.is_ok());
    let recorded = String::from_utf8(recorded::answer("completions")).unwrap();
    for (field, instead) in [
        ("\"completion_tokens\":8", "\"completion_tokens\":0"),
        ("\"finish_reason\":\"length\"", "\"finish_reason\":null    "),
        ("200 OK", "500 OK"),
    ] {
        assert!(recorded.contains(field), "the fixture has no {field}");
        let answer = recorded.replace(field, instead).into_bytes();
        let api = Api::at(recorded::serve(answer, 4096), "tiny", PATIENCE).unwrap();
        assert!(first_completion(&api).await.is_err(), "{instead}");
    }
    // Healthy is not ready.
    assert!(first_completion(&recorded::api("health")).await.is_err());
}

#[tokio::test]
async fn silence_ends_in_time() {
    // Accepts, by the kernel's backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(200);
    let api = Api::at(silent.local_addr().unwrap(), "tiny", timeout).unwrap();
    let began = Instant::now();
    let fault = api.answer(&complete()).await.unwrap_err();
    assert_eq!(fault.to_string(), "no complete answer within 0.2 s");
    assert!(api.health().await.is_err());
    assert!(began.elapsed() < NEVER);

    // Nobody at all: refused at once.
    let address = silent.local_addr().unwrap();
    drop(silent);
    let api = Api::at(address, "tiny", PATIENCE).unwrap();
    assert_eq!(
        api.health().await.unwrap_err().to_string(),
        format!("nobody answers at `{address}`: Connection refused (os error 111)")
    );
}

/// Answers so many requests on each connection and closes it without a word. Returns how many were opened.
fn closing_after(requests: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            for _ in 0..requests {
                read_request(&mut connection);
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    (address, opened)
}

#[tokio::test]
async fn connections_are_kept_as_long_as_the_server_keeps_them() {
    for (requests, connections) in [(1, 3), (3, 1)] {
        let (address, opened) = closing_after(requests);
        let api = Api::at(address, "tiny", PATIENCE).unwrap();
        for _ in 0..3 {
            assert_eq!(api.health().await, Ok(200));
            // Until the end of the connection, if it ends, has come.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(opened.load(Ordering::Relaxed), connections);
        assert_eq!(Api::at(address, "tiny", PATIENCE).unwrap().keeps_alive().await, Ok(requests > 1));
    }
}

#[tokio::test]
async fn a_body_without_end_is_given_up() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n".to_vec();
    endless.resize(endless.len() + 9_000_000, b' ');
    let api = Api::at(recorded::serve(endless, 1 << 16), "tiny", PATIENCE).unwrap();
    let fault = api.models().await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "answered something that is not this API: a body of more than 4194304 bytes"
    );
}
