//! A model hub: reads and checks what its HTTP interface says of repositories.
//!
//! Shapes as `huggingface_hub` 1.x reads them: `/api/models/REPO/revision/REV` and
//! `/api/models/REPO/tree/REV?recursive=true`.

pub mod patience;
pub mod peer;
pub mod schedule;
mod throttle;
pub mod upstream;

pub(crate) use patience::rate_limit;
pub use patience::{Patience, Quiet, retry_after};
pub use throttle::Throttle;

use super::{
    digest::{GitHash, GitName, Sha256Digest},
    lockfile::{self, LONGEST_FILE},
    size::ByteSize,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The folder of a repository in the cache of `huggingface_hub`: `models--OWNER--NAME`.
pub(crate) fn cache_folder(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}

/// The name that git gives these bytes as a file's content.
pub fn git_name(bytes: &[u8]) -> GitHash {
    let mut name = GitName::new(ByteSize(bytes.len() as u64));
    name.update(bytes);
    name.finish()
}

/// One file of a repository, as the hub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Below the repository's root; relative and plain.
    pub path: PathBuf,
    /// The length.
    pub size: ByteSize,
    /// The content, by the hub's name for it.
    pub content: Content,
}

/// The hub's name for a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A large file, kept by LFS or Xet.
    Sha256(Sha256Digest),
    /// A small one, kept by git.
    Git(GitHash),
}

/// Why the hub did not give what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubError {
    /// No connection: the address does not resolve, nobody listens, TLS does not agree.
    Unreachable(String),
    /// The answer stopped for so long, or nearly so.
    Late(Duration),
    /// The connection ended before the answer did.
    Cut(String),
    /// No certificate authority here vouches for the hub's certificate.
    Untrusted(String),
    /// 401 or 403: the repository is gated, private, or not there.
    Denied(u16),
    /// 401 with our token, although everybody else may read it.
    StaleToken,
    /// 401, 403, 404 or 410 from an address to which the hub redirected us, and which has expired. The hub
    /// gives another one.
    Expired(u16),
    /// 404 or 410: there is no such repository, revision or file.
    Missing,
    /// 429 or 5xx: not now.
    NotNow {
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The file is not the locked one: it has another length or another hash.
    Changed(String),
    /// A part was asked for, and the answer is not that part. The whole file can be asked for instead.
    NoPart(String),
    /// An answer that cannot be understood.
    Malformed(String),
}

/// How much of a hub an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Whatever is asked of it.
    Hub,
    /// Any file of the repository.
    Repository,
    /// This file.
    File,
}

/// How an answer is described that is nothing but a status.
const STATUS: &str = "the status";

impl HubError {
    /// The error that a status stands for; nothing for success.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        match status {
            200..=299 => None,
            401 | 403 => Some(Self::Denied(status)),
            404 | 410 => Some(Self::Missing),
            // Later it would not know the request either.
            501 => Some(Self::Malformed(format!("{STATUS} 501"))),
            408 | 429 | 500..=599 => Some(Self::NotNow { status, retry_after }),
            status => Some(Self::Malformed(format!("{STATUS} {status}"))),
        }
    }

    /// How a hub, or a proxy before it, answers that has no such route; nothing for another error.
    pub fn without_route(&self) -> Option<&str> {
        match self {
            Self::Missing => Some("HTTP 404 or 410"),
            Self::Malformed(what) if what.starts_with(STATUS) => Some(what),
            _ => None,
        }
    }

    /// The error that a status stands for at an address to which the hub redirected us; nothing for success.
    pub(crate) fn of_status_elsewhere(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        match status {
            401 | 403 | 404 | 410 => Some(Self::Expired(status)),
            status => Self::of_status(status, retry_after),
        }
    }

    /// Whether the same request may well succeed later.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Late(_)
            | Self::Cut(_)
            | Self::Expired(_)
            | Self::NoPart(_)
            | Self::NotNow { .. } => true,
            Self::Untrusted(_)
            | Self::Denied(_)
            | Self::StaleToken
            | Self::Missing
            | Self::Changed(_)
            | Self::Malformed(_) => false,
        }
    }

    /// How much of a hub this error is about.
    pub fn concerns(&self) -> Concern {
        match self {
            Self::Unreachable(_)
            | Self::Late(_)
            | Self::Untrusted(_)
            | Self::StaleToken
            | Self::NotNow { .. } => Concern::Hub,
            Self::Denied(_) => Concern::Repository,
            Self::Cut(_)
            | Self::Expired(_)
            | Self::Missing
            | Self::Changed(_)
            | Self::NoPart(_)
            | Self::Malformed(_) => Concern::File,
        }
    }

    /// How long the hub asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::NotNow { retry_after, .. } = self { *retry_after } else { None }
    }

    /// The remedy.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Denied(_) => {
                "accept the model's terms on its page and set `HF_TOKEN`; the hub answers the same for a \
                 repository that does not exist, so look at its name too"
            }
            Self::Missing => {
                "the repository, the revision or the file is gone: name another under `alternatives` in the \
                 profile's `[model]`, or a folder that has the files as its `path`"
            }
            Self::Untrusted(_) => {
                "name the file with the certificate of its authority in `SSL_CERT_FILE`, or a folder of them in \
                 `SSL_CERT_DIR`"
            }
            Self::StaleToken => {
                "the token is no longer valid, and this repository needs none: unset `HF_TOKEN`, or make another; it \
                 may stand in the file `HF_TOKEN_PATH` or `HF_HOME/token`, too"
            }
            Self::Changed(_) => {
                "look at what changed upstream; if it is meant, lock it anew with `awqdeploy lock PROFILE`"
            }
            Self::Malformed(_) => "is `HF_ENDPOINT` a hub? A proxy's own page looks like this too",
            Self::Unreachable(_) => {
                "look at the network, then run it again: a proxy is taken from `HTTPS_PROXY`, another hub from \
                 `HF_ENDPOINT`"
            }
            Self::Late(_) | Self::Cut(_) | Self::Expired(_) | Self::NoPart(_) | Self::NotNow { .. } => {
                "run it again; a fetch goes on where it stopped"
            }
        }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "no connection: {why}"),
            Self::Late(after) => write!(f, "too little came in {} s", after.as_secs()),
            Self::Cut(why) => write!(f, "the connection ended early: {why}"),
            Self::Denied(status) => write!(f, "access denied (HTTP {status})"),
            Self::Missing => f.write_str("not there (HTTP 404)"),
            Self::Untrusted(why) => write!(f, "its certificate is not trusted: {why}"),
            Self::StaleToken => f.write_str("the hub refuses the token that is set (HTTP 401)"),
            Self::Expired(status) => {
                write!(f, "the address that the hub gave for it is not good any more (HTTP {status})")
            }
            Self::NoPart(what) => write!(f, "not the part that was asked for: {what}"),
            Self::NotNow { status, retry_after: Some(wait) } => {
                write!(f, "not now (HTTP {status}); it asks to wait {} s", wait.as_secs())
            }
            Self::NotNow { status, .. } => write!(f, "not now (HTTP {status})"),
            Self::Changed(how) => write!(f, "not what was locked: {how}"),
            Self::Malformed(what) => write!(f, "not a hub's answer: {what}"),
        }
    }
}

impl std::error::Error for HubError {}

#[derive(Deserialize)]
struct RawRevision {
    sha: String,
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    oid: String,
    size: u64,
}

/// The commit in the description of a revision.
pub fn commit(json: &[u8]) -> Result<GitHash, HubError> {
    let RawRevision { sha } =
        serde_json::from_slice(json).map_err(|error| HubError::Malformed(error.to_string()))?;
    sha.parse().map_err(HubError::Malformed)
}

/// The files on one page of a listing.
///
/// # Errors
/// [`HubError::Malformed`], also for a name that would lie outside the model's folder.
pub fn listing(json: &[u8]) -> Result<Vec<Listed>, HubError> {
    let entries: Vec<RawEntry> =
        serde_json::from_slice(json).map_err(|error| HubError::Malformed(error.to_string()))?;
    entries.into_iter().filter(|entry| entry.kind == "file").map(listed).collect()
}

/// The most files of one listing: more than any model has.
pub const MOST_FILES: usize = 100_000;
/// The most bytes of all pages of one listing: such files take some 30 MB.
pub(crate) const MOST_LISTED: ByteSize = ByteSize::mib(64);

/// A listing page by page, within its limits.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    files: Vec<Listed>,
    /// Their names, and the folders that these lie in.
    names: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// The bytes read so far.
    read: u64,
}

impl Listing {
    /// Adds a page.
    ///
    /// # Errors
    /// For what is no listing, and for one without end.
    pub fn add(&mut self, page: &[u8]) -> Result<(), HubError> {
        self.read = self.read.saturating_add(page.len() as u64);
        if self.read > MOST_LISTED.0 {
            return Err(HubError::Malformed(format!("a listing of more than {MOST_LISTED}")));
        }
        let files = listing(page)?;
        if self.files.len() + files.len() > MOST_FILES {
            return Err(HubError::Malformed(format!("a listing of more than {MOST_FILES} files")));
        }
        for file in files {
            self.name(&file.path)?;
            self.files.push(file);
        }
        Ok(())
    }

    /// Takes a name that no other file has, nor a folder of another's.
    fn name(&mut self, path: &Path) -> Result<(), HubError> {
        let odd = |path: &Path, what: &str| {
            Err(HubError::Malformed(format!("it lists `{}` {what}", path.display())))
        };
        if !self.names.insert(path.to_owned()) {
            return odd(path, "twice");
        }
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if self.names.contains(folder) {
                return odd(folder, "as a file and as a folder");
            }
            if !self.folders.insert(folder.to_owned()) {
                break;
            }
        }
        if self.folders.contains(path) { odd(path, "as a file and as a folder") } else { Ok(()) }
    }

    /// All files.
    pub fn files(self) -> Vec<Listed> {
        self.files
    }
}

fn listed(raw: RawEntry) -> Result<Listed, HubError> {
    let RawEntry { path, size, oid, lfs, .. } = raw;
    if let Some(why) = lockfile::why_not_plain(&path) {
        return Err(HubError::Malformed(format!("it lists a file `{}`: {why}", path.escape_debug())));
    }
    let odd = |what: String| HubError::Malformed(format!("of `{path}`: {what}"));
    let (size, content) = match lfs {
        Some(lfs) => (lfs.size, Content::Sha256(lfs.oid.parse().map_err(odd)?)),
        None => (size, Content::Git(oid.parse().map_err(odd)?)),
    };
    if size > LONGEST_FILE.0 {
        return Err(odd(format!("a length of {size} bytes")));
    }
    Ok(Listed { path: path.into(), size: ByteSize(size), content })
}

/// The address of the next page in a header `Link`.
pub fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (address, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(|parameter| parameter.trim() == r#"rel="next""#).then_some(address)
    })
}

/// The part of a link that leads to the next page of the listing at `place`: its path and query, without the
/// host, and without what a mirror has before the hub's own paths. Nothing for any other link.
pub(crate) fn page_of(link: &str, place: &str) -> Option<String> {
    let without_host = match link.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => link,
    };
    if let Some(query) = without_host.strip_prefix('?') {
        return Some(format!("{place}?{query}"));
    }
    let at = without_host.find("/api/models/")?;
    let page = &without_host[at..];
    let (path, _) = page.split_once('?')?;
    let (asked, _) = place.split_once("/tree/")?;
    // The revision may be spelt in another way, or be the commit behind it.
    (path.starts_with(&format!("{asked}/tree/")) && !path.contains("..")).then(|| page.to_owned())
}

/// A name that is one part of a path, in an address: a branch may have slashes.
pub(crate) fn encoded_name(name: &str) -> String {
    encoded(Path::new(name)).replace('/', "%2F")
}

/// The path of a file in an address, each part percent-encoded (RFC 3986, unreserved characters stay).
pub fn encoded(path: &Path) -> String {
    let mut address = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            address.push(char::from(*byte));
        } else {
            address.push('%');
            address.push_str(&hex::encode_upper([*byte]));
        }
    }
    address
}
