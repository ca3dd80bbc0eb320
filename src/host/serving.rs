//! Talking to a serving engine: the OpenAI-compatible API over HTTP on this host.

use super::{connection, http, secrets};
use crate::domain::{
    conformance::{Ask, Exchange},
    openai::{Answer, Delivery, Fault, Load, Models, Request, complaint},
    plan::{Plan, Serve},
    problem::{Kind, Problem},
    report::Sample,
    secrets::SecretText,
    sse,
    stream::{Streamed, Transcript},
};
use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder, Response, header};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

/// The most bytes of a body that comes whole. The greatest wanted, a chat answer, has some KiB.
const MAX_BODY_BYTES: usize = 4 << 20;

/// The most bytes of a stream. A token takes some 250 bytes: enough for 250,000 of them.
const MAX_STREAM_BYTES: usize = 64 << 20;

/// The longest wait for a connection. Everything here is on this host.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// The longest wait for `/health`, which does no work.
const HEALTH_WAIT: Duration = Duration::from_secs(10);

/// How many tokens the first verified completion asks for: enough to show that decoding goes on after
/// the first, and quick at any speed.
const FIRST_COMPLETION_TOKENS: u32 = 2;

/// One engine's API.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    /// `http://HOST:PORT`, and whatever is before `/v1`.
    base: String,
    model: String,
    key: Option<SecretText>,
    timeout: Duration,
}

/// A streamed answer, as far as it was listened to.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// All of it.
    Whole(Streamed),
    /// What its beginning took, a token a chunk.
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
    /// The API that this plan's engine will answer. A key that the plan gives to vLLM is used here too.
    pub fn of(plan: &Plan) -> Result<Self, Problem> {
        let api = Self::at(
            SocketAddr::new(plan.serve.listen.host, plan.serve.listen.port),
            &plan.model.served_name,
            plan.timeouts.request,
        )?;
        let key = match secrets::api_key(&plan.secrets)? {
            Some(key) => Some(key),
            None => key(&plan.serve).and_then(|key| SecretText::of(key).ok()),
        };
        Ok(api.with_key(key))
    }

    /// The API at `address`, asked for `model`, with `timeout` for any one request. An engine that
    /// listens on every address is asked on loopback.
    pub fn at(address: SocketAddr, model: &str, timeout: Duration) -> Result<Self, Problem> {
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::below(format!("http://{}", SocketAddr::new(host, address.port())), model, timeout)
    }

    /// The API whose endpoints lie below `url`, with or without its `/v1`.
    ///
    /// # Errors
    ///
    /// For what is no URL of the scheme `http`.
    pub fn on(url: &str, model: &str, timeout: Duration) -> Result<Self, Problem> {
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let good = reqwest::Url::parse(base).is_ok_and(|url| url.scheme() == "http" && url.has_host());
        if !good {
            return Err(Problem::new(Kind::Usage, format!("`{url}` is not the URL of a server"))
                .help("write it as `http://HOST:PORT`; for TLS, ask through a proxy on this host"));
        }
        Self::below(base.to_owned(), model, timeout)
    }

    /// The same, with a key for everything under `/v1`.
    #[must_use]
    pub fn with_key(self, key: Option<SecretText>) -> Self {
        Self { key, ..self }
    }

    /// The same, asked for another model.
    #[must_use]
    pub fn with_model(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    /// Whether it is asked with a key.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Has so many connections in hand before a clock starts, as far as the server keeps them. It costs
    /// requests that do no work.
    pub async fn connect(&self, connections: u32) {
        // Whoever cannot be reached is found out by the requests that follow.
        let _answers = join_all((0..connections).map(|_| self.health())).await;
    }

    /// Whether a second request is answered on the same connection, so that clients need not connect for
    /// each. Over TCP by hand: the client here would connect anew without a word.
    pub async fn keeps_alive(&self) -> Result<bool, Fault> {
        let key = self.key.as_ref().map(|key| format!("authorization: Bearer {}\r\n", key.reveal()));
        connection::answers_twice(&self.base, "/v1/models", &key.unwrap_or_default(), self.timeout).await
    }

    /// The name that it is asked for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn below(base: String, model: &str, timeout: Duration) -> Result<Self, Problem> {
        let client = http::local()
            .connect_timeout(CONNECT_WAIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Problem::doing("prepare an HTTP client", error))?;
        Ok(Self { client, base, model: model.to_owned(), key: None, timeout })
    }

    /// The status of `/health`. vLLM answers 200 as soon as it listens, and 503 once its engine is dead;
    /// neither says that it can generate.
    pub async fn health(&self) -> Result<u16, Fault> {
        let wait = self.timeout.min(HEALTH_WAIT);
        let request = self.request(Method::GET, "/health").timeout(wait);
        let answer = self.send(request, wait).await?;
        Ok(answer.status().as_u16())
    }

    /// The names that are served.
    pub async fn models(&self) -> Result<Models, Fault> {
        let raw = self.get("/v1/models").await?;
        Models::parse(&raw.expect_ok()?)
    }

    /// Asks for an answer in one body.
    pub async fn answer(&self, request: &Request) -> Result<Answer, Fault> {
        let body = request.body(&self.model, Delivery::Whole);
        let raw = self.post(request.path(), body.to_string()).await?;
        Answer::parse(&raw.expect_ok()?)
    }

    /// Asks for a streamed answer and reads it to its end, stamping each chunk on arrival with the
    /// monotonic clock. The connection is there already, unless this is the first request.
    pub async fn stream(&self, request: &Request) -> Result<Streamed, Fault> {
        match self.stream_until(request, |_| false).await? {
            Heard::Whole(streamed) => Ok(streamed),
            Heard::Part(_) => Err(Fault::Cut { why: "nobody listened".to_owned(), chunks: 0 }),
        }
    }

    /// The same, and hangs up once `enough` says so of the times at which chunks came.
    pub async fn stream_until(
        &self,
        request: &Request,
        enough: impl Fn(&[Duration]) -> bool,
    ) -> Result<Heard, Fault> {
        let body = request.body(&self.model, Delivery::Streamed).to_string();
        let request = self.json(request.path(), body);
        let mut transcript = Transcript::default();
        let sent = Instant::now();
        let answer = self.send(request, self.timeout).await?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            let body = self.whole(answer).await?;
            return Err(refusal(status, &body));
        }
        if self.read_stream(answer, &mut transcript, sent, enough).await? == Read::Enough {
            return Ok(Heard::Part(transcript.sample()));
        }
        transcript.finish().map(Heard::Whole)
    }

    /// Asks for an answer and takes it as it comes, whatever its status.
    pub async fn exchange(&self, path: &str, ask: Ask) -> Result<Exchange, Fault> {
        let request = match ask {
            Ask::Get | Ask::Skip(_) => self.request(Method::GET, path),
            Ask::Post(body) => self.json(path, body.to_string()),
            Ask::Raw(body) => self.json(path, body.to_owned()),
        };
        let answer = self.send(request, self.timeout).await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = self.bytes(answer).await?;
        Ok(Exchange { status, content_type, body })
    }

    /// How much the engine does for everybody. Absent where it does not tell.
    pub async fn load(&self) -> Option<Load> {
        let metrics = self.get("/metrics").await.ok()?.expect_ok().ok()?;
        Load::parse(&metrics)
    }

    /// The same API with less patience for any one request.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: self.timeout.min(timeout), ..self }
    }

    /// Gets what is at `path`.
    pub async fn get(&self, path: &str) -> Result<Raw, Fault> {
        let request = self.request(Method::GET, path);
        self.raw(request).await
    }

    /// Posts `body` as JSON, well-formed or not.
    pub async fn post(&self, path: &str, body: String) -> Result<Raw, Fault> {
        self.raw(self.json(path, body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(self.timeout);
        match &self.key {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        }
    }

    fn json(&self, path: &str, body: String) -> RequestBuilder {
        self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json").body(body)
    }

    async fn raw(&self, request: RequestBuilder) -> Result<Raw, Fault> {
        let answer = self.send(request, self.timeout).await?;
        let status = answer.status().as_u16();
        let body = self.whole(answer).await?;
        Ok(Raw { status, body })
    }

    async fn send(&self, request: RequestBuilder, wait: Duration) -> Result<Response, Fault> {
        request.send().await.map_err(|error| {
            // A connection that is not accepted in time tells as much as one that is refused.
            if error.is_connect() {
                let address = self.base.trim_start_matches("http://").to_owned();
                Fault::Unreachable { address, why: http::root_of(&error) }
            } else {
                broken(&error, wait, 0)
            }
        })
    }

    async fn whole(&self, answer: Response) -> Result<String, Fault> {
        let body = self.bytes(answer).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn bytes(&self, mut answer: Response) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(|e| broken(&e, self.timeout, 0))? {
            if body.len() + bytes.len() > MAX_BODY_BYTES {
                return Err(Fault::Malformed(format!("a body of more than {MAX_BODY_BYTES} bytes")));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// Reads to the end of the body, not only to `[DONE]`: only then can the connection be used again.
    async fn read_stream(
        &self,
        mut answer: Response,
        transcript: &mut Transcript,
        sent: Instant,
        enough: impl Fn(&[Duration]) -> bool,
    ) -> Result<Read, Fault> {
        let mut parser = sse::Parser::default();
        let mut read = 0;
        while let Some(bytes) =
            answer.chunk().await.map_err(|e| broken(&e, self.timeout, transcript.chunks().len()))?
        {
            let at = sent.elapsed();
            read += bytes.len();
            if read > MAX_STREAM_BYTES {
                return Err(Fault::Malformed(format!("a stream of more than {MAX_STREAM_BYTES} bytes")));
            }
            let events = parser.push(&bytes).map_err(|problem| Fault::Malformed(problem.to_string()))?;
            for event in events {
                transcript.take(&event.data, at)?;
            }
            if enough(transcript.chunks()) {
                return Ok(Read::Enough);
            }
        }
        Ok(Read::ToTheEnd)
    }
}

impl Raw {
    /// The body of an answer with status 200.
    fn expect_ok(self) -> Result<String, Fault> {
        match self.status {
            200 => Ok(self.body),
            status => Err(refusal(status, &self.body)),
        }
    }
}

/// The completion that makes a server ready: answered with status 200, at least one token counted, and
/// ended for a reason. `/health` shows none of this.
pub async fn first_completion(api: &Api) -> Result<Answer, Fault> {
    let request = Request::complete("The capital of France is", FIRST_COMPLETION_TOKENS);
    let answer = api.answer(&request).await?;
    if answer.usage.completion_tokens == 0 {
        return Err(Fault::Malformed("a completion of no tokens".to_owned()));
    }
    if answer.finish_reason.is_empty() {
        return Err(Fault::Malformed("a completion that ended for no reason".to_owned()));
    }
    Ok(answer)
}

/// Why an answer did not come, or not to its end, after so many chunks.
fn broken(error: &reqwest::Error, after: Duration, chunks: usize) -> Fault {
    if error.is_timeout() {
        Fault::Late { after, chunks }
    } else {
        let why = http::root_of(error);
        Fault::Cut { why, chunks }
    }
}

fn refusal(status: u16, body: &str) -> Fault {
    Fault::Refused { status, message: complaint(body) }
}

/// The key that vLLM asks for on everything under `/v1`: `--api-key`, or the variable that stands for it.
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
