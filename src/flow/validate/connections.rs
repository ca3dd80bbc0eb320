//! Checks what only several requests show: connections kept and cut, requests at the same time, keys.

use crate::{
    domain::{
        api::openai::Request,
        conformance::{Ask, Known, Need, PROMPT, Violation},
        profile::secrets::SecretText,
    },
    host::vllm::api::{Api, Received},
};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The checks, and the servers that must pass them.
pub(super) const CHECKS: [(&str, Need); 5] = [
    ("keep-alive", Need::Vllm),
    ("concurrency", Need::Everyone),
    ("disconnect-frees-slot", Need::Vllm),
    ("key-required", Need::Everyone),
    ("key-compared", Need::Everyone),
];

/// Requests at the same time.
const AT_ONCE: usize = 4;
/// Tokens for each of them.
const TOKENS: u32 = 3;
/// Tokens of the abandoned answer: far more than are generated before the server notices.
const UNHEARD_TOKENS: u32 = 512;
/// The tokens that a context must have beside them.
const ROOM: u32 = 64;
/// How long a server may take to notice an abandoned request. vLLM takes a tenth of a second.
const NOTICE_WAIT: Duration = Duration::from_secs(5);
const NOTICE_EVERY: Duration = Duration::from_millis(30);
/// The metric of vLLM with the number of running requests.
const RUNNING: &str = "vllm:num_requests_running";

pub(super) async fn check(name: &str, api: &Api, known: &Known) -> Result<(), Violation> {
    match name {
        "keep-alive" => keep_alive(api).await,
        "concurrency" => concurrency(api).await,
        "disconnect-frees-slot" => disconnect(api, known).await,
        "key-required" => key(api, None).await,
        _ => key(api, Some("awqdeploy-wrong-key".to_owned())).await,
    }
}

async fn keep_alive(api: &Api) -> Result<(), Violation> {
    if api.keeps_alive().await? {
        return Ok(());
    }
    Err(Violation::Wrong("the connection is closed after one answer".to_owned()))
}

async fn concurrency(api: &Api) -> Result<(), Violation> {
    let requests: Vec<_> = (0..AT_ONCE).map(|n| Request::chat(format!("Count to {n}."), TOKENS)).collect();
    for answer in join_all(requests.iter().map(|request| api.stream(request))).await {
        let tokens = answer?.answer.usage.completion_tokens;
        if !(1..=TOKENS).contains(&tokens) {
            return Err(Violation::Wrong(format!(
                "of {AT_ONCE} answers at once one has {tokens} tokens, where 1 to {TOKENS} were asked for"
            )));
        }
    }
    Ok(())
}

/// Checks that a client which goes away costs nothing more: its request ends, and its memory is freed.
async fn disconnect(api: &Api, known: &Known) -> Result<(), Violation> {
    let before = running(api).await?;
    let room = known.max_model_len.map_or(UNHEARD_TOKENS, |length| length.saturating_sub(ROOM).max(1));
    let mut request = Request::complete(PROMPT, UNHEARD_TOKENS.min(room));
    if known.vllm {
        request = request.to_the_limit();
    }
    if let Received::Whole(_) = api.stream_until(&request, |chunks| !chunks.is_empty()).await? {
        return Err(Violation::NotOffered("the answer ended before anybody could go away".to_owned()));
    }
    let began = Instant::now();
    while running(api).await? > before {
        if began.elapsed() > NOTICE_WAIT {
            return Err(Violation::Wrong(format!(
                "a request still runs {} s after its client went away",
                NOTICE_WAIT.as_secs()
            )));
        }
        sleep(NOTICE_EVERY).await;
    }
    Ok(())
}

/// The number of requests that the server is at work on.
async fn running(api: &Api) -> Result<f64, Violation> {
    let raw = api.get("/metrics").await?;
    let values: Vec<f64> = raw
        .body
        .lines()
        .filter(|line| line.starts_with(RUNNING))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    if raw.status != 200 || values.is_empty() {
        return Err(Violation::NotOffered(format!("there is no metric `{RUNNING}`")));
    }
    Ok(values.iter().sum())
}

async fn key(api: &Api, instead: Option<String>) -> Result<(), Violation> {
    if !api.has_key() {
        return Err(Violation::NotOffered("it has no key".to_owned()));
    }
    let answer = api
        .clone()
        .with_key(instead.and_then(|key| SecretText::of(&key).ok()))
        .exchange("/v1/models", Ask::Get)
        .await?;
    match answer.status {
        401 | 403 => Ok(()),
        status => {
            Err(Violation::Wrong(format!("a request without the key was answered with status {status}")))
        }
    }
}
