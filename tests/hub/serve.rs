//! The hub's answers.

use super::{
    Delivery, Fault, Odd, Seen, Shared,
    content::{Content, Entry, Repo},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, Response, StatusCode, header},
    serve::ListenerExt as _,
};
use futures_util::stream;
use serde_json::{Value, json};
use std::{
    io,
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Bytes handed to a connection at once.
const CHUNK: usize = 256 << 10;

type Answer = Response<Body>;

/// Which of the two ports a request came to.
#[derive(Clone)]
struct Port {
    cdn: bool,
    shared: Arc<Shared>,
}

/// Serves both ports until dropped.
pub(super) async fn both(hub: TcpListener, cdn: TcpListener, shared: Arc<Shared>) {
    let app = |cdn| Router::new().fallback(answer).with_state(Port { cdn, shared: Arc::clone(&shared) });
    let hub = tokio::net::TcpListener::from_std(hub).unwrap().tap_io(|io| drop(io.set_nodelay(true)));
    // A connection of the CDN that ends early ends with RST instead of FIN.
    let cdn = tokio::net::TcpListener::from_std(cdn).unwrap().tap_io(|io| drop(io.set_zero_linger()));
    let (hub, cdn) =
        tokio::join!(axum::serve(hub, app(false)).into_future(), axum::serve(cdn, app(true)).into_future());
    hub.and(cdn).unwrap();
}

async fn answer(State(port): State<Port>, request: Request) -> Answer {
    let text = |name| request.headers().get(name)?.to_str().ok().map(str::to_owned);
    let uri = request.uri();
    let seen = Seen {
        method: request.method().to_string(),
        path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        cdn: port.cdn,
        range: text(header::RANGE),
        authorization: text(header::AUTHORIZATION),
    };
    port.shared.state.lock().unwrap().seen.push(seen.clone());
    let path = decoded(uri.path());
    let found = match path.strip_prefix("/api/models/") {
        Some(rest) => api(&port, rest, &seen, uri.query().unwrap_or_default()),
        None => content(&port, &path, &request, &seen),
    };
    found.unwrap_or_else(|status| plain(status, "", None))
}

/// `OWNER/NAME/revision/REV` and `OWNER/NAME/tree/REV`.
fn api(port: &Port, rest: &str, seen: &Seen, query: &str) -> Result<Answer, StatusCode> {
    let mut parts = rest.splitn(4, '/');
    let (owner, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (what, revision) = (parts.next().unwrap_or("revision"), parts.next().unwrap_or("main"));
    let name = format!("{owner}/{name}");
    let (repo, fault, page) = lookup(port, &name, what)?;
    if let Some(answer) = fault.as_ref().and_then(refusal) {
        return Ok(answer);
    }
    if repo.token.is_some() && seen.authorization.is_none() && what == "revision" {
        // The real hub shows the listing of a gated repository to all, and its files to some.
        return Ok(json_answer(&described(&name, &repo)));
    }
    let repo = repo.at(revision).ok_or(StatusCode::NOT_FOUND)?;
    match what {
        "revision" => Ok(json_answer(&described(&name, &repo))),
        "tree" => Ok(tree(port, &name, &repo, query, page)),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

fn lookup(port: &Port, name: &str, path: &str) -> Result<(Repo, Option<Fault>, usize), StatusCode> {
    let mut state = port.shared.state.lock().unwrap();
    let fault = state.traps.iter_mut().find_map(|trap| trap.spring(name, path));
    let page = state.page;
    // The real hub says 401 for a repository that is not there, so that nobody learns which are private.
    let repo = state.repos.get(name).cloned().ok_or(StatusCode::UNAUTHORIZED)?;
    Ok((repo, fault, page))
}

fn described(name: &str, repo: &Repo) -> Value {
    let siblings: Vec<Value> = repo.files.keys().map(|path| json!({ "rfilename": path })).collect();
    json!({
        "id": name, "modelId": name, "sha": repo.commit, "private": false, "disabled": false, "tags": [],
        "gated": if repo.token.is_some() { json!("manual") } else { json!(false) }, "siblings": siblings,
    })
}

/// One page of the listing; the next one is named by the header `Link`.
fn tree(port: &Port, name: &str, repo: &Repo, query: &str, page: usize) -> Answer {
    let from: usize =
        query.split('&').find_map(|pair| pair.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
    let entries: Vec<Value> = repo.files.iter().skip(from).take(page).map(listed).collect();
    let mut answer = json_answer(&entries);
    if from + page < repo.files.len() {
        let cursor = from + page;
        let fault = lookup(port, name, "next").ok().and_then(|(_, fault, _)| fault);
        let host = match fault {
            None => format!("http://{}", port.shared.hub),
            Some(Fault::Relative) => String::new(),
            Some(_) => format!("http://{}", port.shared.cdn),
        };
        let next = format!(
            "<{host}/api/models/{name}/tree/{}?recursive=true&cursor={cursor}>; rel=\"next\"",
            repo.commit
        );
        answer.headers_mut().insert(header::LINK, next.parse().unwrap());
    }
    answer
}

fn listed((path, entry): (&String, &Entry)) -> Value {
    let Entry { size, git, lfs, .. } = entry;
    let mut value = json!({ "type": "file", "oid": git, "size": size, "path": path });
    if let Some(oid) = lfs {
        value["lfs"] = json!({ "oid": oid, "size": size, "pointerSize": 135 });
    }
    value
}

/// `/OWNER/NAME/resolve/REV/PATH`, on either port.
fn content(port: &Port, path: &str, request: &Request, seen: &Seen) -> Result<Answer, StatusCode> {
    let (name, rest) = path[1..].split_once("/resolve/").ok_or(StatusCode::NOT_FOUND)?;
    let (revision, path) = rest.split_once('/').ok_or(StatusCode::NOT_FOUND)?;
    let large = |repo: &Repo| repo.files.get(path).is_some_and(|entry| entry.lfs.is_some());
    // A request that is redirected meets its fault at the CDN.
    let redirected = !port.cdn && port.shared.delivery == Delivery::Cdn && {
        let state = port.shared.state.lock().unwrap();
        state.repos.get(name).is_some_and(large)
    };
    let traps = if redirected || request.method() == Method::HEAD { "" } else { path };
    let (repo, fault, _) = lookup(port, name, traps)?;
    let repo = repo.at(revision).ok_or(StatusCode::NOT_FOUND)?;
    let entry = repo.files.get(path).ok_or(StatusCode::NOT_FOUND)?;
    if !port.cdn
        && let Some(token) = &repo.token
    {
        let want = format!("Bearer {token}");
        match &seen.authorization {
            None => return Err(StatusCode::UNAUTHORIZED),
            Some(sent) if *sent != want => return Err(StatusCode::FORBIDDEN),
            Some(_) => {}
        }
    }
    if let Some(answer) = fault.as_ref().and_then(refusal) {
        return Ok(answer);
    }
    let mut answer = if redirected {
        let to = format!("http://{}/{name}/resolve/{revision}/{path}?signature=abc", port.shared.cdn);
        let mut answer = plain(StatusCode::FOUND, "", None);
        answer.headers_mut().insert(header::LOCATION, to.parse().unwrap());
        answer
    } else {
        body(port, entry, request, fault)
    };
    headers(answer.headers_mut(), &repo, entry, redirected);
    Ok(answer)
}

fn headers(headers: &mut HeaderMap, repo: &Repo, entry: &Entry, redirected: bool) {
    let quoted = format!("\"{}\"", entry.etag());
    headers.insert("x-repo-commit", repo.commit.parse().unwrap());
    headers.insert(header::ACCEPT_RANGES, "bytes".parse().unwrap());
    if redirected {
        headers.insert("x-linked-etag", quoted.parse().unwrap());
        headers.insert("x-linked-size", entry.size.into());
    } else {
        headers.insert(header::ETAG, quoted.parse().unwrap());
    }
}

/// The bytes that were asked for, or what the fault makes of them.
fn body(port: &Port, entry: &Entry, request: &Request, fault: Option<Fault>) -> Answer {
    let shorter = if let Some(Fault::Shorter { by }) = fault { by } else { 0 };
    let size = entry.bytes.len() - shorter;
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let wanted = range.filter(|_| fault != Some(Fault::WholeFile)).and_then(|range| parse(range, size));
    if range.is_some() && wanted.is_none() && fault != Some(Fault::WholeFile) {
        return plain(StatusCode::RANGE_NOT_SATISFIABLE, "", None);
    }
    let (mut from, mut to) = wanted.unwrap_or((0, size));
    let odd = match fault {
        Some(Fault::Ranges(odd)) if wanted.is_some() => Some(odd),
        _ => None,
    };
    match odd {
        Some(Odd::Refused) => return plain(StatusCode::RANGE_NOT_SATISFIABLE, "", None),
        Some(Odd::Elsewhere) => (from, to) = (0, to - from),
        _ => {}
    }
    let mut answer = Response::builder().header(header::CONTENT_LENGTH, to - from);
    if wanted.is_some() && odd != Some(Odd::Slice) {
        answer = answer.status(StatusCode::PARTIAL_CONTENT);
        let length = if odd == Some(Odd::Lengthless) { "*".to_owned() } else { size.to_string() };
        if odd != Some(Odd::Unnamed) {
            answer = answer.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
        }
    }
    if fault == Some(Fault::Coded) {
        answer = answer.header(header::CONTENT_ENCODING, "gzip");
    }
    let head = request.method() == Method::HEAD;
    let bytes = if head {
        Body::empty()
    } else {
        Body::from_stream(flow(Arc::clone(&port.shared), entry.bytes.clone(), from, to, fault))
    };
    answer.body(bytes).unwrap()
}

/// `bytes=A-B` and `bytes=A-` as a half-open range.
fn parse(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.parse().ok()?;
    let to = if to.is_empty() { size } else { to.parse::<u64>().ok()? + 1 };
    (from < size).then(|| (from, to.min(size)))
}

fn flow(
    shared: Arc<Shared>,
    bytes: Content,
    from: u64,
    to: u64,
    fault: Option<Fault>,
) -> impl stream::Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(from, move |at| {
        let (shared, bytes, fault) = (Arc::clone(&shared), bytes.clone(), fault.clone());
        async move {
            if at >= to {
                return Ok(None);
            }
            let mut most = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
            let sent = at - from;
            match &fault {
                Some(Fault::Cut { after }) => {
                    if sent >= *after {
                        return Err(io::Error::other("told to end early"));
                    }
                    most = most.min(usize::try_from(after - sent).unwrap());
                }
                Some(Fault::Stall { after }) => {
                    if sent >= *after {
                        tokio::time::sleep(Duration::from_hours(1)).await;
                    }
                    most = most.min(usize::try_from(after - sent).unwrap());
                }
                Some(Fault::Drip { bytes, every }) => {
                    tokio::time::sleep(*every).await;
                    most = most.min(*bytes);
                }
                _ => {}
            }
            let mut chunk = bytes.read(at, most)?;
            let end = at + chunk.len() as u64;
            if let Some(Fault::Flip { at: flipped }) = fault
                && (at..end).contains(&flipped)
            {
                chunk[usize::try_from(flipped - at).unwrap()] ^= 1;
            }
            shared.sent.fetch_add(end - at, Ordering::Relaxed);
            Ok(Some((Bytes::from(chunk), end)))
        }
    })
}

fn json_answer(value: &impl serde::Serialize) -> Answer {
    let text = serde_json::to_string(value).unwrap();
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::from(text)).unwrap()
}

fn plain(status: StatusCode, text: &'static str, retry_after: Option<u64>) -> Answer {
    let mut answer = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        answer = answer.header(header::RETRY_AFTER, seconds);
    }
    // `hf` tells a repository that is not there from one that it may not see by this.
    if status == StatusCode::UNAUTHORIZED {
        answer = answer.header("x-error-code", "RepoNotFound");
    }
    answer.body(Body::from(text)).unwrap()
}

/// The answer of a fault that gives a status in place of the file.
fn refusal(fault: &Fault) -> Option<Answer> {
    match fault {
        Fault::Status { status, retry_after } => {
            Some(plain(StatusCode::from_u16(*status).unwrap(), "told to", *retry_after))
        }
        Fault::RateLimit { seconds } => {
            let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "told to", None);
            let limit = format!("\"resolvers\";r=0;t={seconds}");
            answer.headers_mut().insert("ratelimit", limit.parse().unwrap());
            Some(answer)
        }
        Fault::Closed { seconds } => {
            let (now, form) = (jiff::Timestamp::now(), "%a, %d %b %Y %H:%M:%S GMT");
            let until = now + jiff::SignedDuration::from_secs(*seconds);
            let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "told to", None);
            for (name, moment) in [(header::DATE, now), (header::RETRY_AFTER, until)] {
                answer.headers_mut().insert(name, moment.strftime(form).to_string().parse().unwrap());
            }
            Some(answer)
        }
        _ => None,
    }
}

/// Percent-encoded paths, as clients send those with spaces.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: String = rest.by_ref().take(2).map(char::from).collect();
        bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'%'));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
