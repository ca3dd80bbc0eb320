//! Compares what a hub lists now with what was locked.

use super::{Content, Listed};
use crate::domain::{lockfile::LockedFile, size::ByteSize, spelling};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How a file on the hub differs from the locked one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Deviation {
    /// The file is gone.
    Gone,
    /// The file has another length.
    Size {
        /// The present length.
        now: ByteSize,
    },
    /// The file has the same length and another content.
    Content,
    /// The file was not there then.
    New,
}

/// The files that deviate.
pub(crate) type Deviations = BTreeMap<PathBuf, Deviation>;

/// The locked files that this listing does not have as they were locked. A file that git keeps and whose
/// name in git is not locked is only compared by its length: its content is seen when it is fetched.
pub(crate) fn deviations(files: &[LockedFile], listing: &[Listed]) -> Deviations {
    let listing: BTreeMap<&Path, &Listed> =
        listing.iter().map(|listed| (listed.path.as_path(), listed)).collect();
    files
        .iter()
        .filter_map(|file| {
            let deviation = match listing.get(file.path.as_path()) {
                None => Some(Deviation::Gone),
                Some(listed) => deviation(file, listed),
            };
            Some((file.path.clone(), deviation?))
        })
        .collect()
}

/// The [`deviations`], and the files that were not there when the model was locked.
pub(crate) fn changes(files: &[LockedFile], listing: &[Listed]) -> Deviations {
    let mut changes = deviations(files, listing);
    let locked: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let new = listing.iter().filter(|listed| !locked.contains(listed.path.as_path()));
    changes.extend(new.map(|listed| (listed.path.clone(), Deviation::New)));
    changes
}

fn deviation(file: &LockedFile, listed: &Listed) -> Option<Deviation> {
    if listed.size != file.size {
        return Some(Deviation::Size { now: listed.size });
    }
    let same = match listed.content {
        Content::Sha256(sha256) => sha256 == file.sha256,
        Content::Git(hash) => file.git_sha1.is_none_or(|locked| locked == hash),
    };
    (!same).then_some(Deviation::Content)
}

impl Deviation {
    /// The deviation in words that follow a file's name.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Gone => "is gone".to_owned(),
            Self::Size { now } => format!("has {} bytes now", now.0),
            Self::Content => "has another content".to_owned(),
            Self::New => "is new".to_owned(),
        }
    }
}

/// The deviations, a line each.
pub(crate) fn lines(deviations: &Deviations) -> String {
    let line =
        |(path, deviation): (&PathBuf, &Deviation)| format!("`{}` {}", path.display(), deviation.words());
    spelling::lines(deviations.iter().map(line))
}
