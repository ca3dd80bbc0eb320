//! A model hub over HTTP: what a revision is, which files it has, and their bytes.

pub(crate) mod pieces;
mod settings;

pub use settings::{Reach, Settings, Token};

use super::os::{http, signals::Interrupt};
use crate::domain::{
    digest::GitHash,
    hub::{self, HubError, Listed, Listing},
    problem::{Kind, Problem},
    size::ByteSize as Size,
};
use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, header};
use std::{
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

/// Whether enough comes: a connection that drips is worse than a new one.
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
            // A host without certificates can still talk to a hub that needs none.
            if settings.endpoint.starts_with("http://") {
                build(http::public().tls_certs_only([]))
            } else {
                Err(error)
            }
        });
        let client = client.map_err(|error| {
            Problem::doing("prepare an HTTP client", http::root_of(&error))
                .help("install the system's certificates: on Debian the package `ca-certificates`")
        })?;
        Ok(Self { client, settings: settings.clone() })
    }

    /// The commit that a revision is now.
    pub async fn commit(&self, repo: &str, revision: &str) -> Result<GitHash, HubError> {
        // A branch's name may have slashes, which are not part of the path here.
        let revision = hub::encoded(Path::new(revision)).replace('/', "%2F");
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
        let revision = hub::encoded(Path::new(revision)).replace('/', "%2F");
        let endpoint = &self.settings.endpoint;
        let mut next =
            Some(format!("{endpoint}/api/models/{repo}/tree/{revision}?recursive=true&expand=false"));
        let mut listing = Listing::default();
        for _ in 0..MAX_PAGES {
            let Some(address) = next else { return Ok(listing.files()) };
            let (page, link) = self.whole(&address, MAX_PAGE).await?;
            listing.add(&page)?;
            next = link.as_deref().and_then(hub::next_page).map(str::to_owned);
            // Our token goes with it: it must stay with the same hub.
            if next.as_ref().is_some_and(|next| !next.starts_with(&format!("{endpoint}/"))) {
                return Err(HubError::Malformed("a listing that goes on at another host".to_owned()));
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
        let mut flow = self.open(source, path, range.start, Size(range.end), size).await?;
        let mut content = Vec::new();
        while (content.len() as u64) < wanted {
            let bytes = flow.next().await?;
            let bytes = bytes.ok_or_else(|| HubError::Cut("fewer bytes than announced".to_owned()))?;
            content.extend_from_slice(&bytes);
        }
        content.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(content)
    }

    /// The bytes of a file of length `size` in `from..to`, to be read as they come.
    pub(crate) async fn open(
        &self,
        source: &Source,
        path: &Path,
        from: u64,
        to: Size,
        size: Size,
    ) -> Result<BodyStream, HubError> {
        let Source { repo, revision } = source;
        let address = format!("{}/{repo}/resolve/{revision}/{}", self.settings.endpoint, hub::encoded(path));
        let mut request = self.request(&address);
        let whole = from == 0 && to == size;
        if !whole {
            request = request.header(header::RANGE, format!("bytes={from}-{}", to.0 - 1));
        }
        let response = self.send(request).await?;
        let skip = begin(&response, whole, from, size)?;
        let patience = self.settings.patience;
        let pace =
            Pace { since: Instant::now(), bytes: 0, after: patience.slow_after, below: patience.slow_below };
        Ok(BodyStream { response, skip, silence: patience.silence, pace })
    }

    /// Asks until it succeeds, the fault will not pass, or the patience ends.
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

    /// Where it is, for messages. An address may carry a password, which is left out.
    pub(crate) fn address(&self) -> String {
        let url = reqwest::Url::parse(&self.settings.endpoint).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    async fn whole(&self, address: &str, most: usize) -> Result<(Vec<u8>, Option<String>), HubError> {
        let whole = self.settings.patience.whole;
        timeout(whole, self.body(address, most)).await.unwrap_or(Err(HubError::Late(whole)))
    }

    async fn body(&self, address: &str, most: usize) -> Result<(Vec<u8>, Option<String>), HubError> {
        let mut response = self.send(self.request(address)).await?;
        let link =
            response.headers().get(header::LINK).and_then(|link| link.to_str().ok()).map(str::to_owned);
        let silence = self.settings.patience.silence;
        let mut body = Vec::new();
        while let Some(bytes) = within(silence, response.chunk()).await? {
            if body.len() + bytes.len() > most {
                return Err(HubError::Malformed(format!("an answer of more than {}", Size(most as u64))));
            }
            body.extend_from_slice(&bytes);
        }
        Ok((body, link))
    }

    fn request(&self, address: &str) -> reqwest::RequestBuilder {
        let request = self.client.get(address);
        match &self.settings.token {
            Some(token) => request.header(header::AUTHORIZATION, token.header()),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, HubError> {
        let response = within(self.settings.patience.silence, request.send()).await?;
        match HubError::of_status(response.status().as_u16(), retry_after(&response)) {
            Some(fault) => Err(fault),
            None => Ok(response),
        }
    }
}

/// How asking ended without an answer.
#[derive(Debug)]
pub(crate) enum HubFailure {
    /// A person wants it to stop.
    Interrupted,
    /// The last fault.
    Failed(HubError),
}

impl HubFailure {
    /// The problem of somebody who asked for `what`.
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
        let missing = matches!(self, Self::Failed(HubError::Missing));
        let problem = self.problem(what);
        if !missing {
            return problem;
        }
        problem
            .because("it knows the revision, and does not list its files: the route `tree` is not there (HTTP 404)")
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

/// How many bytes of the answer come before the wanted ones. A fault if it is of another file.
fn begin(response: &Response, whole: bool, from: u64, size: Size) -> Result<u64, HubError> {
    let changed = |there: u64| HubError::Changed(format!("{there} bytes instead of {}", size.0));
    if response.status() == StatusCode::PARTIAL_CONTENT && !whole {
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let (first, there) = range
            .and_then(parse_range)
            .ok_or_else(|| HubError::Malformed("a part of a file without saying which".to_owned()))?;
        if there != size.0 {
            return Err(changed(there));
        }
        if first != from {
            return Err(HubError::Malformed(format!("the bytes from {first} instead of {from}")));
        }
        return Ok(0);
    }
    match response.content_length() {
        Some(there) if there != size.0 => Err(changed(there)),
        _ => Ok(from),
    }
}

/// The first byte and the whole length in `bytes A-B/LENGTH`.
fn parse_range(range: &str) -> Option<(u64, u64)> {
    let (places, length) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((places.split_once('-')?.0.parse().ok()?, length.parse().ok()?))
}

/// What the answer says of when to come again.
fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    hub::retry_after(header(header::RETRY_AFTER)?, header(header::DATE))
}

async fn within<T>(limit: Duration, answer: impl Future<Output = reqwest::Result<T>>) -> Result<T, HubError> {
    match timeout(limit, answer).await {
        Err(_) => Err(HubError::Late(limit)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_timeout() => Err(HubError::Late(limit)),
        Ok(Err(error)) if error.is_connect() => Err(HubError::Unreachable(http::root_of(&error))),
        Ok(Err(error)) if error.is_redirect() => Err(HubError::Malformed(http::root_of(&error))),
        Ok(Err(error)) => Err(HubError::Cut(http::root_of(&error))),
    }
}
