//! A model hub over HTTP: the commit of a revision, the list of its files, and their bytes.

pub(crate) mod pieces;
mod settings;

pub(crate) use settings::MOST_CONNECTIONS;
pub use settings::{Reach, Settings, Share, Token, Turns};

use super::os::{http, signals::Interrupt};
use crate::domain::{
    digest::GitHash,
    hub::{self, HubError, Listed, Listing, Patience},
    problem::{Kind, Problem},
    size::ByteSize as Size,
};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use std::{
    collections::BTreeSet,
    future::Future,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// The most bytes of one page of a listing. 1000 files take some 300 KiB.
const MAX_PAGE: usize = 16 << 20;
/// The most pages of one listing: more files than any model has.
const MAX_PAGES: usize = 100;

/// How long an answer that is no file may come slowly.
const SLOW_ANSWER: Duration = Duration::from_secs(10);
/// The beginning of rustls' message about a certificate.
const UNTRUSTED: &str = "invalid peer certificate";

/// The part of a file that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The wanted bytes.
    Part,
    /// All of it, from a server that does not know how to give a part.
    Whole,
}

/// A repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `owner/name`.
    pub repo: String,
    /// A commit, where it is known; else a branch or tag.
    pub revision: String,
}

/// A client of one hub, for the event loop of one thread.
#[derive(Clone, Debug)]
pub struct Hub {
    client: Client,
    settings: Settings,
}

/// The bytes of a file as they come.
#[derive(Debug)]
pub(crate) struct BodyStream {
    response: Response,
    /// Bytes before the wanted ones, from a server that knows no ranges.
    skip: u64,
    silence: Duration,
    pace: Pace,
}

/// The rate of a connection: one that drips is worse than a new one.
#[derive(Debug)]
struct Pace {
    since: Instant,
    bytes: u64,
    after: Duration,
    below: Size,
}

impl Hub {
    /// A client of the hub that the settings name.
    pub fn new(settings: &Settings) -> Result<Self, Problem> {
        let build =
            |builder: reqwest::ClientBuilder| builder.connect_timeout(settings.patience.connect).build();
        let client = build(http::public()).or_else(|error| {
            // Without certificates a host can still talk to a hub that needs none.
            if settings.endpoint.starts_with("http://") {
                build(http::public().tls_certs_only([]))
            } else {
                Err(error)
            }
        });
        let client = client.map_err(|error| {
            Problem::doing("prepare an HTTP client", http::root_of(&error))
                .help(
                    "install the system's certificates (on Debian the package `ca-certificates`); where `SSL_CERT_FILE` \
                     or `SSL_CERT_DIR` is set, look whether certificates in PEM are there",
                )
        })?;
        Ok(Self { client, settings: settings.clone() })
    }

    /// The present commit of a revision.
    pub async fn commit(&self, repo: &str, revision: &str) -> Result<GitHash, HubError> {
        // A branch's name may have slashes, which are not part of the path here.
        let revision = hub::encoded_name(revision);
        let address = format!("{}/api/models/{repo}/revision/{revision}", self.settings.endpoint);
        hub::commit(&self.whole(&address, MAX_PAGE).await?.0)
    }

    /// All files of a repository.
    pub async fn list(&self, source: &Source) -> Result<Vec<Listed>, HubError> {
        let whole = self.settings.patience.whole;
        timeout(whole, self.pages(source)).await.unwrap_or(Err(HubError::Late(whole)))
    }

    async fn pages(&self, source: &Source) -> Result<Vec<Listed>, HubError> {
        let Source { repo, revision } = source;
        let place = format!("/api/models/{repo}/tree/{}", hub::encoded_name(revision));
        let mut next = format!("{place}?recursive=true&expand=false");
        let (mut listing, mut asked) = (Listing::default(), BTreeSet::new());
        for _ in 0..MAX_PAGES {
            let address = format!("{}{next}", self.settings.endpoint);
            asked.insert(next);
            let (page, link) = self.whole(&address, MAX_PAGE).await?;
            listing.add(&page)?;
            let Some(link) = link.as_deref().and_then(hub::next_page) else {
                return match listing.files() {
                    none if none.is_empty() => {
                        Err(HubError::Malformed("a listing without a single file".to_owned()))
                    }
                    files => Ok(files),
                };
            };
            // Our token goes nowhere else: whatever host the link names, the next request goes to the hub
            // that we asked.
            next = hub::page_of(link, &place)
                .ok_or_else(|| HubError::Malformed("a listing that goes on as something else".to_owned()))?;
            if asked.contains(&next) {
                return Err(HubError::Malformed("a listing that goes round in circles".to_owned()));
            }
        }
        Err(HubError::Malformed(format!("a listing of more than {MAX_PAGES} pages")))
    }

    /// These bytes of a file of length `size`, held in memory.
    pub(crate) async fn read(
        &self,
        source: &Source,
        path: &Path,
        range: Range<u64>,
        size: Size,
    ) -> Result<Vec<u8>, HubError> {
        let wanted = range.end - range.start;
        let open = |ask| self.open(source, path, range.clone(), size, ask);
        let mut flow = match open(Ask::Part).await {
            Err(HubError::NoPart(_)) => open(Ask::Whole).await?,
            flow => flow?,
        };
        let mut content = Vec::new();
        while (content.len() as u64) < wanted {
            let bytes = flow.next().await?;
            let bytes = bytes.ok_or_else(|| HubError::Cut("fewer bytes than announced".to_owned()))?;
            content.extend_from_slice(&bytes);
        }
        content.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(content)
    }

    /// The bytes of a file of length `size` in this range, to be read as they come. More may follow.
    pub(crate) async fn open(
        &self,
        source: &Source,
        path: &Path,
        range: Range<u64>,
        size: Size,
        ask: Ask,
    ) -> Result<BodyStream, HubError> {
        let Source { repo, revision } = source;
        let revision = hub::encoded_name(revision);
        let address = format!("{}/{repo}/resolve/{revision}/{}", self.settings.endpoint, hub::encoded(path));
        let whole = ask == Ask::Whole || (range.start == 0 && range.end == size.0);
        let part = (!whole).then(|| format!("bytes={}-{}", range.start, range.end - 1));
        let response = self.send(&address, part.as_deref()).await?;
        let skip = begin(&response, whole, range.start, size)?;
        Ok(BodyStream {
            response,
            skip,
            silence: self.settings.patience.silence,
            pace: Pace::of(&self.settings),
        })
    }

    /// Asks until it succeeds, the error is a lasting one, or the patience ends.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T, HubError>>>(
        &self,
        interrupt: &Interrupt,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, HubFailure> {
        for failures in 1.. {
            let answer = tokio::select! {
                answer = ask() => answer,
                () = interrupt.arrival() => return Err(HubFailure::Interrupted),
            };
            let fault = match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let patience = self.settings.patience;
            let pause = patience.pause(failures, fault.retry_after(), fastrand::f64());
            // A hub that hardly answers takes as long as several that do not.
            let failures = if matches!(fault, HubError::Late(_)) { failures * 2 } else { failures };
            let Some(pause) = pause.filter(|_| fault.passes() && failures < patience.tries) else {
                return Err(HubFailure::Failed(fault));
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = interrupt.arrival() => return Err(HubFailure::Interrupted),
            }
        }
        Err(HubFailure::Interrupted)
    }

    /// The address for messages. Its password, if any, is left out.
    pub(crate) fn address(&self) -> String {
        let url = Url::parse(&self.settings.endpoint).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    async fn whole(&self, address: &str, most: usize) -> Result<(Vec<u8>, Option<String>), HubError> {
        let whole = self.settings.patience.whole;
        timeout(whole, self.body(address, most)).await.unwrap_or(Err(HubError::Late(whole)))
    }

    async fn body(&self, address: &str, most: usize) -> Result<(Vec<u8>, Option<String>), HubError> {
        let mut response = self.send(address, None).await?;
        let link =
            response.headers().get(header::LINK).and_then(|link| link.to_str().ok()).map(str::to_owned);
        let silence = self.settings.patience.silence;
        let mut pace =
            Pace { after: self.settings.patience.slow_after.min(SLOW_ANSWER), ..Pace::of(&self.settings) };
        let mut body = Vec::new();
        while let Some(bytes) = within(silence, response.chunk()).await? {
            pace.take(bytes.len() as u64)?;
            if body.len() + bytes.len() > most {
                return Err(HubError::Malformed(format!("an answer of more than {}", Size(most as u64))));
            }
            body.extend_from_slice(&bytes);
        }
        Ok((body, link))
    }

    fn request(&self, address: &str, range: Option<&str>, token: Option<&Token>) -> RequestBuilder {
        let request = self.client.get(address).header(header::ACCEPT_ENCODING, "identity");
        let request = range.iter().fold(request, |request, range| request.header(header::RANGE, *range));
        token.iter().fold(request, |request, token| request.header(header::AUTHORIZATION, token.header()))
    }

    async fn send(&self, address: &str, range: Option<&str>) -> Result<Response, HubError> {
        let silence = self.settings.patience.silence;
        let token = self.settings.token.as_ref();
        let response = within(silence, self.request(address, range, token).send()).await?;
        let (status, wait) = (response.status().as_u16(), retry_after(&response));
        let fault = if Self::is_elsewhere(response.url(), address) {
            HubError::of_status_elsewhere(status, wait)
        } else {
            HubError::of_status(status, wait)
        };
        match fault {
            None => Ok(response),
            Some(HubError::Denied(401)) if token.is_some() => {
                // A hub refuses an unknown token even where it needs none.
                let without = within(silence, self.request(address, Some("bytes=0-0"), None).send()).await?;
                let public =
                    without.status().is_success() || without.status() == StatusCode::RANGE_NOT_SATISFIABLE;
                Err(if public { HubError::StaleToken } else { HubError::Denied(401) })
            }
            Some(HubError::Malformed(_)) if status == 416 && range.is_some() => {
                Err(HubError::NoPart("HTTP 416".to_owned()))
            }
            Some(fault) => Err(fault),
        }
    }

    /// Whether the answer is from an address to which the hub redirected us: another host, or a path that is
    /// none of a hub's.
    fn is_elsewhere(answered: &Url, address: &str) -> bool {
        let Ok(asked) = Url::parse(address) else { return false };
        let is_hubs = ["/api/models/", "/resolve/", "/api/resolve-cache/"]
            .iter()
            .any(|part| answered.path().contains(part));
        answered.origin() != asked.origin() || (*answered != asked && !is_hubs)
    }
}

/// Why asking ended without an answer.
#[derive(Debug)]
pub(crate) enum HubFailure {
    /// A person wants it to stop.
    Interrupted,
    /// The last fault.
    Failed(HubError),
}

impl HubFailure {
    /// The problem with asking for `what`.
    pub(crate) fn problem(self, what: impl std::fmt::Display) -> Problem {
        match self {
            Self::Interrupted => Problem::new(Kind::Interrupted, "stopped before anything was changed"),
            Self::Failed(fault) => {
                let help = fault.help();
                Problem::new(Kind::Unverified, format!("cannot {what}")).because(fault).help(help)
            }
        }
    }
}

impl HubFailure {
    /// The problem of somebody who asked a hub, which knows the revision, for the files of it.
    pub(crate) fn while_listing(self, what: impl std::fmt::Display) -> Problem {
        let answer = match &self {
            Self::Failed(fault) => fault.without_route().map(str::to_owned),
            Self::Interrupted => None,
        };
        let problem = self.problem(what);
        let Some(answer) = answer else { return problem };
        problem
            .because(format!(
                "it knows the revision, and does not list its files: the route `tree` is not there ({answer})"
            ))
            .help(
                "a proxy that serves only some of a hub's routes does so: ask the hub itself (`HF_ENDPOINT`), or name a \
                 folder that has the files as `path` in the profile's `[model]`",
            )
    }
}

impl BodyStream {
    /// The next bytes; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HubError> {
        loop {
            let Some(mut bytes) = within(self.silence, self.response.chunk()).await? else {
                return Ok(None);
            };
            self.pace.take(bytes.len() as u64)?;
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            let rest = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
    }
}

impl Pace {
    fn of(settings: &Settings) -> Self {
        let Patience { slow_after, slow_below, .. } = settings.patience;
        let Share { rate, connections, .. } = settings.share;
        // A connection that is slow by our own wish is not given up.
        let own = rate.map(|rate| Size(rate.0 / u64::from(connections.max(1)) / 4));
        let below = own.map_or(slow_below, |own| own.min(slow_below));
        Self { since: Instant::now(), bytes: 0, after: slow_after, below }
    }

    fn take(&mut self, bytes: u64) -> Result<(), HubError> {
        self.bytes += bytes;
        if self.since.elapsed() < self.after {
            return Ok(());
        }
        let enough = self.bytes as f64 >= self.below.0 as f64 * self.since.elapsed().as_secs_f64();
        (self.since, self.bytes) = (Instant::now(), 0);
        if enough { Ok(()) } else { Err(HubError::Late(self.after)) }
    }
}

/// The number of bytes before the wanted ones. An error if the answer is of another file, or another part.
fn begin(response: &Response, whole: bool, from: u64, size: Size) -> Result<u64, HubError> {
    let changed = |there: u64| HubError::Changed(format!("{there} bytes instead of {}", size.0));
    let header = |name| response.headers().get(name)?.to_str().ok();
    if let Some(coding) = header(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        let coding: String = coding.chars().filter(char::is_ascii_graphic).take(20).collect();
        return Err(HubError::Malformed(format!("a file coded as `{coding}`, which was not asked for")));
    }
    if whole {
        return match response.content_length() {
            Some(there) if there != size.0 => Err(changed(there)),
            _ => Ok(from),
        };
    }
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let Some((first, there)) = header(header::CONTENT_RANGE).and_then(parse_range) else {
            return Err(HubError::NoPart("it does not say which part it is".to_owned()));
        };
        return match there {
            Some(there) if there != size.0 => Err(changed(there)),
            _ if first != from => Err(HubError::NoPart(format!("the bytes from {first} instead of {from}"))),
            _ => Ok(0),
        };
    }
    match response.content_length() {
        Some(there) if there != size.0 => {
            Err(HubError::NoPart(format!("{there} bytes that are not said to be a part")))
        }
        _ => Ok(from),
    }
}

/// The first byte and the whole length in `bytes A-B/LENGTH`. The length may be unknown: `*`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (places, length) = range.strip_prefix("bytes ")?.split_once('/')?;
    let length = if length == "*" { None } else { Some(length.parse().ok()?) };
    Some((places.split_once('-')?.0.parse().ok()?, length))
}

/// The wait that the answer asks for.
fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let asked = header("retry-after").and_then(|text| hub::retry_after(text, header("date")));
    asked.max(header("ratelimit").and_then(hub::rate_limit))
}

async fn within<T>(limit: Duration, answer: impl Future<Output = reqwest::Result<T>>) -> Result<T, HubError> {
    match timeout(limit, answer).await {
        Err(_) => Err(HubError::Late(limit)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_timeout() => Err(HubError::Late(limit)),
        Ok(Err(error)) if http::root_of(&error).contains(UNTRUSTED) => {
            Err(HubError::Untrusted(http::root_of(&error)))
        }
        Ok(Err(error)) if error.is_connect() => Err(HubError::Unreachable(http::root_of(&error))),
        Ok(Err(error)) if error.is_redirect() => Err(HubError::Malformed(http::root_of(&error))),
        Ok(Err(error)) => Err(HubError::Cut(http::root_of(&error))),
    }
}
