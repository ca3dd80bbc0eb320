//! Checks what only several requests show: connections kept and cut, requests at the same time, keys.

use crate::{
    domain::{
        api::openai::{Request, quote},
        conformance::{Ask, Known, Need, PROMPT, Violation, seeded, with_seed},
        profile::secrets::SecretText,
    },
    host::vllm::api::{Api, Received},
};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The checks, and the servers that must pass them.
pub(super) const CHECKS: [(&str, Need); 6] = [
    ("seed-repeats", Need::Vllm),
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
/// How often it is tried: a user's request that begins meanwhile looks like one that goes on.
const FREED_TRIES: u32 = 4;
/// Pairs of answers to one seed, of which one has to agree.
const SEED_TRIES: u32 = 3;
/// The metric of vLLM with the number of running requests.
const RUNNING: &str = "vllm:num_requests_running";

pub(super) async fn check(name: &str, api: &Api, known: &Known) -> Result<(), Violation> {
    match name {
        "seed-repeats" => seed(api, known).await,
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

/// Checks that a seed gives the same answer again, where chance is asked for. Beside users a server computes in other
/// batches, and rounds otherwise now and then: that is no fault, so that one pair of several has to agree.
async fn seed(api: &Api, known: &Known) -> Result<(), Violation> {
    let mut differing = None;
    for seed in 1..=SEED_TRIES {
        let ask = || with_seed(known, seed);
        let first = seeded(&api.exchange("/v1/completions", ask()).await?)?;
        let again = seeded(&api.exchange("/v1/completions", ask()).await?)?;
        if first == again {
            return Ok(());
        }
        differing = Some((first, again));
    }
    let (first, again) = differing.unwrap_or_default();
    Err(Violation::Wrong(format!(
        "the same `seed` gave another answer in each of {SEED_TRIES} tries, as `{}` and `{}`",
        quote(&first),
        quote(&again)
    )))
}

/// Checks that a client which goes away costs nothing more: its request ends, and its memory is freed. A server counts
/// requests, and not whose they are: where a user's begins just then it looks the same. So one try of several has to
/// succeed; `tests/it/validation/simulation.rs` shows how rarely users make all of them fail.
async fn disconnect(api: &Api, known: &Known) -> Result<(), Violation> {
    let room = known.max_model_len.map_or(UNHEARD_TOKENS, |length| length.saturating_sub(ROOM).max(1));
    let mut request = Request::complete(PROMPT, UNHEARD_TOKENS.min(room));
    if known.vllm {
        request = request.to_the_limit();
    }
    for _ in 0..FREED_TRIES {
        let before = running(api).await?;
        if let Received::Whole(_) = api.stream_until(&request, |chunks| !chunks.is_empty()).await? {
            return Err(Violation::NotOffered("the answer ended before anybody could go away".to_owned()));
        }
        if is_freed(api, before).await? {
            return Ok(());
        }
    }
    Err(Violation::Wrong(format!(
        "a request still runs {} s after its client went away, in each of {FREED_TRIES} tries",
        NOTICE_WAIT.as_secs()
    )))
}

/// Whether no more requests run than `before`, soon enough.
async fn is_freed(api: &Api, before: f64) -> Result<bool, Violation> {
    let began = Instant::now();
    while running(api).await? > before {
        if began.elapsed() > NOTICE_WAIT {
            return Ok(false);
        }
        sleep(NOTICE_EVERY).await;
    }
    Ok(true)
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
