//! The endpoints of the rehearsal engine, in the shapes of a real vLLM.

use super::{
    fault::EngineFault,
    options::Options,
    reply::Reply,
    request::{Endpoint, Refusal, Request, Streaming, json_of},
    spoil,
    tokens::{Vocabulary, logprobs, prompt_logprobs},
};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request as HttpRequest, State as Shared},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The fingerprint in every answer, so that none can be taken for a real engine's.
const FINGERPRINT: &str = "awqdeploy-rehearsal";

/// Completions that a [`EngineFault::DeadEngine`] still answers. Readiness needs one of them.
const LAST_WORKING_COMPLETION: u32 = 2;

/// The completion during which [`EngineFault::CrashServing`] exits.
const FATAL_COMPLETION: u32 = 3;

/// Tokens that [`EngineFault::ErrorStream`] sends before its error.
const TOKENS_BEFORE_ERROR: usize = 3;

/// The factor by which a slow engine takes longer for a token.
const SLOWNESS: f64 = 20.0;

/// The state that all requests share.
#[derive(Clone)]
pub(super) struct State(Arc<Engine>);

struct Engine {
    options: Options,
    started: i64,
    /// Completions that were asked for, from 1.
    completions: AtomicU32,
    /// Requests being answered.
    running: Arc<AtomicU32>,
    slow: AtomicBool,
    /// Whether completions are no longer answered.
    hangs: AtomicBool,
    /// Tokens of all answers.
    generated: AtomicU64,
    vocabulary: Vocabulary,
    gone: Notify,
}

/// Counts a request while it is being answered: until its answer ends, or a while after its client went away.
struct Running {
    count: Arc<AtomicU32>,
    /// Whether its stream has not ended.
    streams: bool,
}

/// How long an engine goes on with a stream whose client went away: vLLM 0.26.0 took more than 100 ms on an H200.
const NOTICES_AFTER: Duration = Duration::from_millis(300);

impl Running {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count: Arc::clone(count), streams: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let count = Arc::clone(&self.count);
        match Handle::try_current() {
            Ok(events) if self.streams => drop(events.spawn(async move {
                sleep_until(Instant::now() + NOTICES_AFTER).await;
                count.fetch_sub(1, Ordering::Relaxed);
            })),
            _ => drop(count.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

/// One request: the fields that every chunk of its answer repeats.
struct Ticket {
    id: String,
    created: i64,
    model: String,
    number: u32,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self(Arc::new(Engine {
            slow: AtomicBool::new(options.fault == Some(EngineFault::Slow)),
            options,
            started: jiff::Timestamp::now().as_second(),
            completions: AtomicU32::new(0),
            running: Arc::default(),
            hangs: AtomicBool::default(),
            generated: AtomicU64::default(),
            vocabulary: Vocabulary::default(),
            gone: Notify::new(),
        }))
    }

    /// Waits until a fault ends the process.
    pub(super) async fn gone(&self) {
        self.0.gone.notified().await;
    }

    /// Hangs from now on, as [`EngineFault::Hang`] does.
    pub(super) fn hang(&self) {
        self.0.hangs.store(true, Ordering::Relaxed);
    }

    /// Answers slowly from now on, as [`EngineFault::Slow`] does.
    pub(super) fn slow_down(&self) {
        self.0.slow.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    fn is_dead(&self) -> bool {
        self.options.fault == Some(EngineFault::DeadEngine)
            && self.completions.load(Ordering::Relaxed) >= LAST_WORKING_COMPLETION
    }

    fn ticket(&self, endpoint: Endpoint) -> Ticket {
        let number = self.completions.fetch_add(1, Ordering::Relaxed) + 1;
        let prefix = match endpoint {
            Endpoint::Completions => "cmpl",
            Endpoint::Chat => "chatcmpl",
        };
        Ticket {
            id: format!("{prefix}-{number:016x}"),
            created: jiff::Timestamp::now().as_second(),
            model: self.options.served_name.clone(),
            number,
        }
    }
}

/// Every endpoint that a rehearsal needs.
pub(super) fn router(state: State) -> Router {
    let v1 = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .layer(middleware::from_fn_with_state(state.clone(), authorize));
    Router::new()
        .merge(v1)
        .route("/health", get(health))
        .route("/ping", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .method_not_allowed_fallback(async || detail(StatusCode::METHOD_NOT_ALLOWED))
        .fallback(async || detail(StatusCode::NOT_FOUND))
        .with_state(state)
}

fn detail(status: StatusCode) -> (StatusCode, Json<Value>) {
    let reason = status.canonical_reason().unwrap_or_default();
    (status, Json(json!({ "detail": reason })))
}

async fn authorize(Shared(State(engine)): Shared<State>, request: HttpRequest, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match &engine.options.api_key {
        Some(key) if given != Some(key) => {
            let body = Json(json!({ "error": "Unauthorized" }));
            (StatusCode::UNAUTHORIZED, body).into_response()
        }
        _ => next.run(request).await,
    }
}

async fn health(Shared(State(engine)): Shared<State>) -> StatusCode {
    if engine.is_dead() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn version() -> Json<Value> {
    Json(json!({ "version": "rehearsal" }))
}

async fn metrics(Shared(State(engine)): Shared<State>) -> String {
    let model = &engine.options.served_name;
    let total = engine.completions.load(Ordering::Relaxed);
    let running = engine.running.load(Ordering::Relaxed);
    let generated = engine.generated.load(Ordering::Relaxed);
    format!(
        "# HELP vllm:request_success_total Count of successfully processed requests.\n\
         # TYPE vllm:request_success_total counter\n\
         vllm:request_success_total{{engine=\"0\",model_name=\"{model}\"}} {total}.0\n\
         # HELP vllm:num_requests_running Number of requests in model execution batches.\n\
         # TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"{model}\"}} {running}.0\n\
         # HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n\
         # TYPE vllm:num_requests_waiting gauge\n\
         vllm:num_requests_waiting{{engine=\"0\",model_name=\"{model}\"}} 0.0\n\
         # HELP vllm:generation_tokens_total Number of generation tokens processed.\n\
         # TYPE vllm:generation_tokens_total counter\n\
         vllm:generation_tokens_total{{engine=\"0\",model_name=\"{model}\"}} {generated}.0\n"
    )
}

async fn models(Shared(State(engine)): Shared<State>) -> Json<Value> {
    let Options { served_name, model, max_model_len, .. } = &engine.options;
    let created = engine.started;
    Json(json!({ "object": "list", "data": [{
        "id": served_name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model,
        "parent": null,
        "max_model_len": max_model_len,
        "permission": [{
            "id": "modelperm-rehearsal",
            "object": "model_permission",
            "created": created,
            "allow_create_engine": false,
            "allow_sampling": true,
            "allow_logprobs": true,
            "allow_search_indices": false,
            "allow_view": true,
            "allow_fine_tuning": false,
            "organization": "*",
            "group": null,
            "is_blocking": false,
        }],
    }]}))
}

async fn tokenize(Shared(State(engine)): Shared<State>, headers: HeaderMap, body: Bytes) -> Response {
    let longest = engine.options.max_model_len;
    let foreign = engine.options.fault == Some(EngineFault::WrongTokens);
    let answer = json_of(&headers, &body).and_then(|mut body| {
        if let Some(prompt) = body["prompt"].as_str().filter(|_| foreign) {
            body["prompt"] = json!(format!("{prompt} ."));
        }
        engine.vocabulary.tokenize(&body, longest)
    });
    answer.map_or_else(Refusal::into_response, |answer| Json(answer).into_response())
}

async fn detokenize(Shared(State(engine)): Shared<State>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = json_of(&headers, &body).and_then(|body| engine.vocabulary.detokenize(&body));
    answer.map_or_else(Refusal::into_response, |answer| Json(answer).into_response())
}

async fn completions(state: Shared<State>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Endpoint::Completions, state, &headers, &body).await
}

async fn chat(state: Shared<State>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Endpoint::Chat, state, &headers, &body).await
}

async fn answer(
    endpoint: Endpoint,
    Shared(State(engine)): Shared<State>,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let arrived = Instant::now();
    let mut request = match Request::parse(endpoint, headers, body, &engine.options) {
        Ok(request) => request,
        Err(refusal) => {
            let mut body = refusal.body();
            spoil::error(&mut body, engine.options.fault);
            return (refusal.status(), Json(body)).into_response();
        }
    };
    let running = Running::new(&engine.running);
    let was_dead = engine.is_dead();
    let ticket = engine.ticket(endpoint);
    if engine.hangs.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
    match engine.options.fault {
        Some(EngineFault::Broken) => return Refusal::engine_dead().into_response(),
        Some(EngineFault::DeadEngine) if was_dead => return Refusal::engine_dead().into_response(),
        Some(EngineFault::Hang) => pending::<()>().await,
        Some(EngineFault::CrashServing) if ticket.number >= FATAL_COMPLETION => {
            engine.gone.notify_one();
            pending::<()>().await;
        }
        _ => {}
    }
    if engine.options.fault == Some(EngineFault::IgnoresSeed) && request.seed.is_some() {
        // The text decides what is answered, and this one is new.
        request.text.push_str(&ticket.number.to_string());
    }
    let reply = Reply::to(&request, engine.options.fault);
    engine.generated.fetch_add(reply.pieces.len() as u64, Ordering::Relaxed);
    let pace = Pace::new(arrived, &engine);
    if let Some(streaming) = request.streaming {
        if engine.options.fault == Some(EngineFault::KeepsRunning) {
            engine.running.fetch_add(1, Ordering::Relaxed);
        }
        let mut events = events(&engine, &request, streaming, &reply, &ticket, pace);
        spoil::events(&mut events, engine.options.fault);
        return stream(events, running);
    }
    sleep_until(pace.token(reply.pieces.len().saturating_sub(1))).await;
    let mut body = whole(&request, &reply, &ticket, engine.options.fault);
    spoil::usage(&mut body, engine.options.fault);
    Json(body).into_response()
}

/// The due time of each token, counted from the arrival of the request and not from the token before, so that
/// late wake-ups do not add up.
#[derive(Clone, Copy)]
struct Pace {
    first: Instant,
    tpot: Duration,
}

impl Pace {
    fn new(arrived: Instant, engine: &Engine) -> Self {
        let slowness = if engine.slow.load(Ordering::Relaxed) { SLOWNESS } else { 1.0 };
        let tpot = Duration::try_from_secs_f64(slowness / engine.options.tokens_per_second);
        Self { first: arrived + engine.options.ttft, tpot: tpot.unwrap_or(Duration::MAX) }
    }

    fn token(self, index: usize) -> Instant {
        self.first + self.tpot.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

fn usage(request: &Request, reply: &Reply) -> Value {
    usage_by(request, reply.pieces.len() * request.n as usize)
}

/// The usage after so many generated tokens.
fn usage_by(request: &Request, completion: usize) -> Value {
    json!({
        "prompt_tokens": request.prompt_tokens,
        "total_tokens": request.prompt_tokens as usize + completion,
        "completion_tokens": completion,
    })
}

fn whole(request: &Request, reply: &Reply, ticket: &Ticket, fault: Option<EngineFault>) -> Value {
    let object = match request.endpoint {
        Endpoint::Completions => "text_completion",
        Endpoint::Chat => "chat.completion",
    };
    json!({
        "id": ticket.id,
        "object": object,
        "created": ticket.created,
        "model": ticket.model,
        "choices": (0..request.n).map(|index| choice(request, reply, index, fault)).collect::<Vec<_>>(),
        "system_fingerprint": FINGERPRINT,
        "usage": usage(request, reply),
    })
}

fn choice(request: &Request, reply: &Reply, index: u32, fault: Option<EngineFault>) -> Value {
    let mut choice = json!({
        "index": index,
        "logprobs": request.logprobs.then(|| logprobs(request, reply)),
        "finish_reason": reply.finish_reason,
        "stop_reason": reply.stop_reason,
        "token_ids": null,
    });
    match request.endpoint {
        Endpoint::Completions => {
            let prompt = if request.echo { request.text.as_str() } else { "" };
            choice["text"] = json!(format!("{prompt}{}", reply.text()));
            if let Some(most) = request.prompt_logprobs {
                choice["prompt_logprobs"] = prompt_logprobs(request, most, fault);
            }
        }
        Endpoint::Chat => {
            choice["message"] = json!({
                "role": "assistant",
                "content": reply.text(),
                "refusal": null,
                "reasoning": null,
            });
        }
    }
    choice
}

/// The events of a stream, each with its due time.
fn events(
    engine: &Engine,
    request: &Request,
    streaming: Streaming,
    reply: &Reply,
    ticket: &Ticket,
    pace: Pace,
) -> Vec<(Instant, String)> {
    let fails = engine.options.fault == Some(EngineFault::ErrorStream);
    let shown = if fails { TOKENS_BEFORE_ERROR } else { reply.pieces.len() };
    let mut events = Vec::with_capacity(shown + 3);
    if request.endpoint == Endpoint::Chat {
        let delta = json!({ "role": "assistant", "content": "" });
        events.push((pace.token(0), chunk(request, ticket, delta, None).to_string()));
    }
    let mut said = 0;
    while said < shown {
        // As vLLM does it: the first token at once, then so many at a time.
        let until = if said == 0 { 1 } else { shown.min(said + engine.options.stream_interval) };
        let piece = reply.pieces[said..until].concat();
        let finish = (until == reply.pieces.len()).then_some(reply);
        let text = match request.endpoint {
            Endpoint::Completions => json!(piece),
            Endpoint::Chat => json!({ "content": piece }),
        };
        let mut data = chunk(request, ticket, text, finish);
        if streaming.continuous_usage {
            data["usage"] = usage_by(request, until);
        }
        events.push((pace.token(until - 1), data.to_string()));
        said = until;
    }
    let end = pace.token(shown.saturating_sub(1));
    if fails {
        events.push((end, Refusal::engine_dead().body().to_string()));
    } else if streaming.include_usage {
        let mut last = chunk(request, ticket, Value::Null, None);
        last["choices"] = json!([]);
        last["usage"] = usage(request, reply);
        last["system_fingerprint"] = json!(FINGERPRINT);
        events.push((end, last.to_string()));
    }
    events.push((end, "[DONE]".to_owned()));
    events
}

/// Sends each event when it is due.
fn stream(events: Vec<(Instant, String)>, mut running: Running) -> Response {
    running.streams = true;
    let body =
        futures_util::stream::unfold((events.into_iter(), running), async |(mut events, mut running)| {
            let (due, data) = events.next()?;
            running.streams = events.len() > 0;
            sleep_until(due).await;
            Some((Ok::<_, Infallible>(spoil::bytes(&data)), (events, running)))
        });
    let kind = [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")];
    (kind, Body::from_stream(body)).into_response()
}

/// One chunk. The last one with text names the reason for the end.
fn chunk(request: &Request, ticket: &Ticket, said: Value, finish: Option<&Reply>) -> Value {
    let (object, field) = match request.endpoint {
        Endpoint::Completions => ("text_completion", "text"),
        Endpoint::Chat => ("chat.completion.chunk", "delta"),
    };
    let mut choice = json!({
        "index": 0,
        "logprobs": null,
        "finish_reason": finish.map(|reply| reply.finish_reason),
    });
    choice[field] = said;
    if let Some(reply) = finish {
        choice["stop_reason"] = json!(reply.stop_reason);
    }
    json!({
        "id": ticket.id,
        "object": object,
        "created": ticket.created,
        "model": ticket.model,
        "choices": [choice],
    })
}
