//! The client of a running engine: the OpenAI-compatible API over HTTP on this host.

use super::connection::{Arriving, Connection, Connections};
use crate::{
    domain::{
        api::{
            openai::{Answer, ApiError, Delivery, Load, Models, Request, complaint, speculation},
            sse,
            stream::{Streamed, Transcript},
        },
        conformance::{Ask, Exchange},
        measure::{Arrival, Sample, speculation::Speculation},
        planning::plan::Plan,
        problem::{Kind, Problem},
        profile::secrets::SecretText,
        service::liveness::Progress,
        validation::users::Counts,
        vllm::serve::Serve,
    },
    host::{
        os::{http::root_of, secrets},
        process::owned::OwnedProcesses,
    },
};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Method, Request as Asked, header};
use reqwest::Url;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// The most bytes of a body that comes whole. The greatest wanted, a chat answer, has some KiB.
const MAX_BODY_BYTES: usize = 4 << 20;

/// The most bytes of a stream. A token takes some 250 bytes: enough for 250,000 of them.
const MAX_STREAM_BYTES: usize = 64 << 20;

/// The longest wait for `/health`, which does no work.
const HEALTH_WAIT: Duration = Duration::from_secs(10);

/// The tokens of the first verified completion: enough to show that decoding goes on after the first, and
/// quick at any speed.
const FIRST_COMPLETION_TOKENS: u32 = 2;

/// One engine's API.
#[derive(Clone, Debug)]
pub struct Api {
    connections: Connections,
    /// `http://HOST:PORT`, and the path before `/v1`.
    base: Url,
    model: String,
    key: Option<SecretText>,
    timeout: Duration,
}

/// A streamed answer, whole or in part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Received {
    /// The whole answer.
    Whole(Streamed),
    /// The times of its beginning.
    Part(Sample),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    ToTheEnd,
    Enough,
}

/// An HTTP answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The status.
    pub status: u16,
    /// The body, with anything that is not UTF-8 replaced.
    pub body: String,
}

impl Api {
    /// The API of this plan's engine, as long as these processes hold the other end: answers of others do not
    /// count, and nothing is sent to them. A key that the plan gives to vLLM is used here too.
    pub fn of(plan: &Plan, whose: OwnedProcesses) -> Result<Self, Problem> {
        let api = Self::at(
            SocketAddr::new(plan.serve.listen.host, plan.serve.listen.port),
            &plan.model.served_name,
            plan.timeouts.request,
        )?;
        let key = match secrets::api_key(&plan.secrets)? {
            Some(key) => Some(key),
            None => key(&plan.serve).and_then(|key| SecretText::of(key).ok()),
        };
        Ok(api.with_key(key).held_by(whose))
    }

    /// The API at `address`, asked for `model`, with `timeout` for any one request. An engine on every
    /// address is asked on loopback.
    pub fn at(address: SocketAddr, model: &str, timeout: Duration) -> Result<Self, Problem> {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::on(&format!("http://{}", SocketAddr::new(host, address.port())), model, timeout)
    }

    /// The API whose endpoints lie below `url`, with or without its `/v1`.
    ///
    /// # Errors
    ///
    /// For what is no URL of the scheme `http`.
    pub(crate) fn on(url: &str, model: &str, timeout: Duration) -> Result<Self, Problem> {
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        match Url::parse(base) {
            Ok(base) if base.scheme() == "http" && base.has_host() => Ok(Self::below(base, model, timeout)),
            _ => Err(Problem::new(Kind::Usage, format!("`{url}` is not the URL of a server"))
                .help("write it as `http://HOST:PORT`; for TLS, ask through a proxy on this host")),
        }
    }

    /// Sets the key for everything under `/v1`.
    #[must_use]
    pub fn with_key(self, key: Option<SecretText>) -> Self {
        Self { key, ..self }
    }

    /// Restricts the API to these processes at the other end.
    #[must_use]
    pub fn held_by(self, whose: OwnedProcesses) -> Self {
        Self { connections: self.connections.held_by(whose), ..self }
    }

    /// Sets the model to ask for.
    #[must_use]
    pub(crate) fn with_model(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    /// Whether it has a key.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Opens so many connections before a clock starts, as far as the server keeps them. It costs requests
    /// that do no work.
    pub async fn connect(&self, connections: u32) {
        // A server that cannot be reached shows in the requests that follow.
        let _answers = join_all((0..connections).map(|_| self.health())).await;
    }

    /// Whether a second request is answered on the same connection, so that clients need not connect for
    /// each.
    pub async fn keeps_alive(&self) -> Result<bool, ApiError> {
        let alone = Self { connections: self.connections.apart(), ..self.clone() };
        let _first = alone.get("/v1/models").await?;
        let Some(kept) = alone.connections.kept().await else { return Ok(false) };
        let second =
            async { alone.on_connection(kept, alone.request(Method::GET, "/v1/models", None)?).await };
        Ok(alone.in_time(second).await.is_ok())
    }

    /// The name of the model in requests.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    fn below(base: Url, model: &str, timeout: Duration) -> Self {
        let port = base.port_or_known_default().unwrap_or(80);
        let connections = Connections::to(base.host_str().unwrap_or_default(), port);
        Self { connections, base, model: model.to_owned(), key: None, timeout }
    }

    /// The status of `/health`, which is asked without a key. vLLM answers 200 as soon as it listens, and 503
    /// once its engine is dead; neither says that it can generate.
    pub async fn health(&self) -> Result<u16, ApiError> {
        let request = Self { key: None, ..self.clone() }.request(Method::GET, "/health", None)?;
        let raw = self.clone().within(HEALTH_WAIT).raw(request).await?;
        Ok(raw.status)
    }

    /// The names that are served.
    pub async fn models(&self) -> Result<Models, ApiError> {
        let raw = self.get("/v1/models").await?;
        Models::parse(&raw.expect_ok()?)
    }

    /// Asks for an answer in one body.
    pub async fn answer(&self, request: &Request) -> Result<Answer, ApiError> {
        let body = request.body(&self.model, Delivery::Whole);
        let raw = self.post(request.path(), body.to_string()).await?;
        Answer::parse(&raw.expect_ok()?)
    }

    /// Asks for a streamed answer and reads it to its end, stamping each chunk on arrival with the monotonic
    /// clock. The connection exists already, unless this is the first request.
    pub async fn stream(&self, request: &Request) -> Result<Streamed, ApiError> {
        match self.stream_until(request, |_| false).await? {
            Received::Whole(streamed) => Ok(streamed),
            Received::Part(_) => Err(ApiError::Cut { why: "nobody listened".to_owned(), chunks: 0 }),
        }
    }

    /// Reads a streamed answer as [`Api::stream`] does, and hangs up once `enough` says so of the times at
    /// which chunks came.
    pub(crate) async fn stream_until(
        &self,
        request: &Request,
        enough: impl Fn(&[Arrival]) -> bool,
    ) -> Result<Received, ApiError> {
        let body = request.body(&self.model, Delivery::Streamed).to_string();
        let request = self.request(Method::POST, request.path(), Some(body))?;
        let mut transcript = Transcript::default();
        let listening = async {
            let connection = self.connections.take().await?;
            let sent = Instant::now();
            let answer = self.on_connection(connection, request).await?;
            match answer.status.as_u16() {
                200..=299 => read_stream(answer, &mut transcript, sent, enough).await,
                status => Err(refusal(status, &String::from_utf8_lossy(&whole(answer).await?))),
            }
        };
        match timeout(self.timeout, listening).await {
            Ok(Ok(Read::Enough)) => Ok(Received::Part(transcript.sample())),
            Ok(Ok(Read::ToTheEnd)) => transcript.finish().map(Received::Whole),
            Ok(Err(fault)) => Err(fault),
            Err(_late) => Err(ApiError::Late { after: self.timeout, chunks: transcript.chunks().len() }),
        }
    }

    /// Asks for an answer and returns it as it comes, whatever its status.
    pub(crate) async fn exchange(&self, path: &str, ask: Ask) -> Result<Exchange, ApiError> {
        let request = match ask {
            Ask::Get | Ask::Skip(_) => self.request(Method::GET, path, None),
            Ask::Post(body) => self.request(Method::POST, path, Some(body.to_string())),
            Ask::Raw(body) => self.request(Method::POST, path, Some(body.to_owned())),
        };
        self.exchanged(request?).await
    }

    /// The load of the engine by all clients. Absent where it does not tell.
    pub(crate) async fn load(&self) -> Option<Load> {
        let metrics = self.get("/metrics").await.ok()?.expect_ok().ok()?;
        Load::parse(&metrics)
    }

    /// The engine's own counts of what its clients get. Absent where it does not tell.
    pub(crate) async fn counts(&self) -> Option<Counts> {
        let metrics = self.get("/metrics").await.ok()?.expect_ok().ok()?;
        Counts::parse(&metrics)
    }

    /// The engine's guesses since it started. Absent where it does not speculate, or does not tell.
    pub(crate) async fn speculation(&self) -> Option<Speculation> {
        speculation(&self.get("/metrics").await.ok()?.expect_ok().ok()?)
    }

    /// Whether the server is on this host.
    pub(crate) fn is_here(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The work that the engine has done for all clients. Absent where it does not tell.
    pub(crate) async fn progress(&self) -> Option<Progress> {
        let metrics = self.get("/metrics").await.ok()?.expect_ok().ok()?;
        Progress::parse(&metrics)
    }

    /// Sets a shorter limit for any one request.
    #[must_use]
    pub(crate) fn within(self, timeout: Duration) -> Self {
        Self { timeout: self.timeout.min(timeout), ..self }
    }

    /// Sends a GET request for `path`.
    pub async fn get(&self, path: &str) -> Result<Raw, ApiError> {
        self.raw(self.request(Method::GET, path, None)?).await
    }

    /// Sends a POST request with `body` as JSON, well-formed or not.
    pub async fn post(&self, path: &str, body: String) -> Result<Raw, ApiError> {
        self.raw(self.request(Method::POST, path, Some(body))?).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<String>,
    ) -> Result<Asked<Full<Bytes>>, ApiError> {
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let mut request = Asked::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.connections.address())
            .header(header::ACCEPT, "*/*");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.reveal()));
        }
        if json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request
            .body(json.unwrap_or_default().into())
            .map_err(|error| ApiError::Malformed(format!("no request can be made of it: {error}")))
    }

    async fn raw(&self, request: Asked<Full<Bytes>>) -> Result<Raw, ApiError> {
        let Exchange { status, body, .. } = self.exchanged(request).await?;
        Ok(Raw { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn exchanged(&self, request: Asked<Full<Bytes>>) -> Result<Exchange, ApiError> {
        self.in_time(async {
            let answer = self.on_connection(self.connections.take().await?, request).await?;
            let status = answer.status.as_u16();
            let content_type = answer.headers.get(header::CONTENT_TYPE);
            let content_type =
                content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            Ok(Exchange { status, content_type, body: whole(answer).await? })
        })
        .await
    }

    async fn on_connection(
        &self,
        connection: Connection,
        request: Asked<Full<Bytes>>,
    ) -> Result<Arriving, ApiError> {
        self.connections.ask(connection, request).await.map_err(|error| broken(&error, 0))
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        timeout(self.timeout, work).await.unwrap_or(Err(ApiError::Late { after: self.timeout, chunks: 0 }))
    }
}

/// Reads a whole body.
async fn whole(mut answer: Arriving) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| broken(&error, 0))? {
        if body.len() + bytes.len() > MAX_BODY_BYTES {
            return Err(ApiError::Malformed(format!("a body of more than {MAX_BODY_BYTES} bytes")));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// Reads to the end of the body, not only to `[DONE]`: only then can the connection be used again.
async fn read_stream(
    mut answer: Arriving,
    transcript: &mut Transcript,
    sent: Instant,
    enough: impl Fn(&[Arrival]) -> bool,
) -> Result<Read, ApiError> {
    let mut parser = sse::Parser::default();
    let mut read = 0;
    while let Some(bytes) = answer.chunk().await.map_err(|error| broken(&error, transcript.chunks().len()))? {
        let at = sent.elapsed();
        read += bytes.len();
        if read > MAX_STREAM_BYTES {
            return Err(ApiError::Malformed(format!("a stream of more than {MAX_STREAM_BYTES} bytes")));
        }
        let events = parser.push(&bytes).map_err(|problem| ApiError::Malformed(problem.to_string()))?;
        for event in events {
            transcript.take(&event.data, at)?;
        }
        if enough(transcript.chunks()) {
            return Ok(Read::Enough);
        }
    }
    Ok(Read::ToTheEnd)
}

impl Raw {
    /// The body of an answer with status 200.
    fn expect_ok(self) -> Result<String, ApiError> {
        match self.status {
            200 => Ok(self.body),
            status => Err(refusal(status, &self.body)),
        }
    }
}

/// Asks for the completion that shows a server to be ready: answered with status 200, at least one token
/// counted, and ended for a reason. `/health` shows none of this.
pub async fn first_completion(api: &Api) -> Result<Answer, ApiError> {
    let request = Request::complete("The capital of France is", FIRST_COMPLETION_TOKENS);
    let answer = api.answer(&request).await?;
    if answer.usage.completion_tokens == 0 {
        return Err(ApiError::Malformed("a completion of no tokens".to_owned()));
    }
    if answer.finish_reason.is_empty() {
        return Err(ApiError::Malformed("a completion that ended for no reason".to_owned()));
    }
    Ok(answer)
}

/// The error of an answer that broke off, after so many chunks.
fn broken(error: &hyper::Error, chunks: usize) -> ApiError {
    ApiError::Cut { why: root_of(error), chunks }
}

fn refusal(status: u16, body: &str) -> ApiError {
    ApiError::Refused { status, message: complaint(body) }
}

/// The key that vLLM asks for on everything under `/v1`: `--api-key`, or its variable.
fn key(serve: &Serve) -> Option<&str> {
    let mut words = serve.argv.iter();
    while let Some(word) = words.next() {
        if word == "--api-key" {
            return words.next().map(String::as_str);
        }
        if let Some(key) = word.strip_prefix("--api-key=") {
            return Some(key);
        }
    }
    serve.env.get("VLLM_API_KEY").map(String::as_str)
}
