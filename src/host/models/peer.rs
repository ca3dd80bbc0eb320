//! Repairs from another host's store, or from any folder that has the same contents.

use super::{
    repair::{PieceSource, bytes},
    source_folder::Folder,
};
use crate::{
    domain::{
        hub::peer::SshPeer,
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
    },
    host::process::exec,
};
use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The longest that a piece may take.
const LONGEST: Duration = Duration::from_mins(5);

/// A source that a person named.
#[derive(Debug)]
pub struct Peer(Way);

#[derive(Debug)]
enum Way {
    /// A model's folder, a hub's cache, or the root of an awqdeploy on this host.
    Folder(PathBuf),
    Ssh {
        peer: SshPeer,
        /// Why it is not asked any more.
        given_up: Mutex<Option<String>>,
    },
}

impl Peer {
    /// A folder, or a host by `ssh://[USER@]HOST[:PORT][/ROOT]`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an address that is none, or a folder that is not there.
    pub fn of(text: &str) -> Result<Self, Problem> {
        if let Some(peer) = SshPeer::parse(text)? {
            return Ok(Self(Way::Ssh { peer, given_up: Mutex::default() }));
        }
        let folder = Path::new(text);
        if folder.is_dir() {
            return Ok(Self(Way::Folder(folder.to_owned())));
        }
        Err(Problem::new(Kind::Usage, format!("there is no folder `{}`", folder.display()))
            .help("name a folder that has the files, or another host as `ssh://HOST`"))
    }
}

impl PieceSource for Peer {
    fn name(&self) -> String {
        match &self.0 {
            Way::Folder(folder) => format!("`{}`", folder.display()),
            Way::Ssh { peer, .. } => format!("`{peer}`"),
        }
    }

    fn read(
        &self,
        model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        match &self.0 {
            Way::Folder(folder) => {
                let blob = folder.join("store/blobs").join(file.sha256.to_string());
                if let Some(bytes) = bytes(&blob, &range)? {
                    return Ok(Some(bytes));
                }
                Folder::open(folder, &model.repo, &model.revision)?.read(model, file, range)
            }
            Way::Ssh { peer, given_up } => {
                let given_up = || given_up.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(why) = given_up().clone() {
                    return Err(Problem::new(Kind::Unverified, why));
                }
                over_ssh(peer, file, &range).inspect_err(|problem| {
                    given_up().get_or_insert_with(|| problem.in_one_line());
                })
            }
        }
    }
}

fn over_ssh(peer: &SshPeer, file: &LockedFile, range: &Range<u64>) -> Result<Option<Vec<u8>>, Problem> {
    let length = range.end - range.start;
    let said = exec::bytes_within(LONGEST, length, "ssh", &peer.command(file.sha256, range))?;
    let failed = |why: &str| Problem::new(Kind::Unverified, format!("`ssh {peer}`: {why}"));
    match said {
        None => Err(failed(&format!("a piece took over {} min", LONGEST.as_secs() / 60))),
        Some(said) if !said.status.success() => {
            let why = said.stderr.trim().lines().next_back().unwrap_or_default().to_owned();
            Err(failed(if why.is_empty() { "it failed" } else { &why }))
        }
        // A content that is not there, or is shorter than it should be.
        Some(said) if (said.stdout.len() as u64) < length => Ok(None),
        Some(said) => Ok(Some(said.stdout)),
    }
}
