//! Another host that has the same contents in its store, reached by SSH.

use crate::domain::{
    digest::Sha256Digest,
    problem::{Kind, Problem},
};
use std::{ops::Range, path::PathBuf};

/// The root of the other host's awqdeploy, where the address names none.
const ROOT: &str = "/var/lib/awqdeploy";
/// How long a connection may take to come about, in seconds.
const CONNECT: u32 = 10;
const SCHEME: &str = "ssh://";

/// An address like `ssh://[USER@]HOST[:PORT][/ROOT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshPeer {
    /// `HOST` or `USER@HOST`, as `ssh` takes it.
    destination: String,
    port: Option<u16>,
    root: PathBuf,
}

impl SshPeer {
    /// Reads an address. Nothing for what does not begin with `ssh://`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that is none, or that `ssh` would take for an option.
    pub fn parse(text: &str) -> Result<Option<Self>, Problem> {
        let Some(rest) = text.strip_prefix(SCHEME) else { return Ok(None) };
        let wrong = |why: &str| {
            Problem::new(Kind::Usage, format!("`{}` is no address of a host: {why}", text.escape_debug()))
                .help("write it as `ssh://HOST`, `ssh://USER@HOST:PORT` or `ssh://HOST/its/root`")
        };
        let (authority, root) = match rest.split_once('/') {
            Some((authority, root)) if !root.trim_matches('/').is_empty() => (authority, format!("/{root}")),
            Some((authority, _)) => (authority, ROOT.to_owned()),
            None => (rest, ROOT.to_owned()),
        };
        if root.contains(char::is_control) {
            return Err(wrong("its root has a character that no path has"));
        }
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            // An IPv6 address is in brackets, and its colons are its own.
            Some((host, port)) if !port.contains(']') => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, Some(port.ok_or_else(|| wrong("its port is no number of one"))?))
            }
            _ => (place, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = |word: &str, also: &str| {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || also.contains(letter);
            !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain)
        };
        if !plain(host, ".-_:%") {
            return Err(wrong("it names no host"));
        }
        if user.is_some_and(|user| !plain(user, ".-_")) {
            return Err(wrong("its user has a character that no name has"));
        }
        let destination = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        Ok(Some(Self { destination, port, root: root.into() }))
    }

    /// The arguments of `ssh` that print these bytes of a content. Where the content is not there they print nothing.
    pub fn command(&self, content: Sha256Digest, range: &Range<u64>) -> Vec<String> {
        let blob = self.root.join("store/blobs").join(content.to_string());
        let blob = quoted(&blob.to_string_lossy());
        // `tail` counts from 1, and seeks in a file.
        let (from, length) = (range.start + 1, range.end - range.start);
        let read = format!("test -r {blob} || exit 0; tail -c +{from} {blob} | head -c {length}");
        let mut words = vec!["-oBatchMode=yes".to_owned(), format!("-oConnectTimeout={CONNECT}")];
        words.extend(self.port.map(|port| format!("-p{port}")));
        words.extend(["--".to_owned(), self.destination.clone(), read]);
        words
    }
}

impl std::fmt::Display for SshPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.destination)
    }
}

/// A word as a shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
