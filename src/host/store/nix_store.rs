//! The parts of the Nix store that we need. A rollback runs no Nix, so that a host may lose it.
//!
//! Nix's collector removes every store path that no root leads to. A root is a link below `gcroots/auto` of
//! Nix's state directory to a link of ours, which leads into the store (as `nix-store --add-root` makes
//! them). It holds as long as our link is there; Nix removes it after that. Profiles are of no use here:
//! `nix-collect-garbage -d` removes their older generations, and with them what a rollback needs.
//!
//! Only root may make a root. For everybody else Nix's daemon does, when something new is held.

use crate::{
    domain::{
        digest::Sha256Digest,
        problem::{Kind, Problem},
    },
    host::{
        os::fs,
        process::exec::{self, Finished},
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
    time::Duration,
};

/// How long Nix may take to hash a runtime. One of 8 GiB took a minute.
const PATIENCE: Duration = Duration::from_mins(30);

/// The answer of Nix about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStatus {
    /// The path is as it was built.
    Whole,
    /// The path is damaged, in Nix's words.
    Damaged(String),
    /// There is no Nix to ask.
    Unasked,
}

/// The length of the digest that every name in the store begins with.
const DIGEST_LENGTH: usize = 32;

/// A path of a Nix store, which Nix keeps or removes as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePath {
    /// The parent of `store` and `var`: `/nix`.
    nix: PathBuf,
    path: PathBuf,
}

impl StorePath {
    /// The store path that this file or folder is or lies in; nothing where it is in no Nix store. Links are
    /// not followed.
    pub fn of(path: &Path) -> Option<Self> {
        let mut components = path.components();
        let mut nix = PathBuf::new();
        loop {
            match components.next()? {
                Component::Normal(name) if name == "store" && nix.file_name() == Some(OsStr::new("nix")) => {
                    let Component::Normal(object) = components.next()? else { return None };
                    let path = nix.join("store").join(object);
                    return is_object(object).then_some(Self { nix, path });
                }
                component => nix.push(component),
            }
        }
    }

    /// The store path of a file or folder, after all links.
    pub(crate) fn behind(path: &Path) -> Option<Self> {
        Self::of(&std::fs::canonicalize(path).ok()?)
    }

    /// The path itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `link` lead to this path, and Nix's collector keep the path, with all that it refers to, for as
    /// long as the link is there. Idempotent: it repairs a lost root.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where Nix cannot be told, or has removed the path already.
    pub fn hold(&self, link: &Path) -> Result<(), Problem> {
        if std::fs::read_link(link).ok().as_deref() != Some(&self.path) {
            fs::make_directory(link.parent().unwrap_or(link))?;
            fs::point(link, &self.path)?;
        }
        self.root(link)
    }

    /// Makes Nix's collector keep the path, for a link that is there already.
    ///
    /// # Errors
    /// As [`StorePath::hold`].
    pub(crate) fn root(&self, link: &Path) -> Result<(), Problem> {
        let roots = self.nix.join("var/nix/gcroots/auto");
        if !leads_to(&roots, link) {
            self.make_root(&roots, link)?;
        }
        // A collector that began before it saw the root may have removed the path.
        if self.path.exists() {
            return Ok(());
        }
        Err(Problem::new(Kind::Unverified, format!("`{}` is gone from the Nix store", self.path.display()))
            .help("build it again: run the same `nix run` once more"))
    }

    /// Asks Nix whether this path, and all that it refers to, is as it was built. Nix reads every byte.
    ///
    /// # Errors
    /// Where Nix does not come to an end.
    pub(crate) fn verify(&self) -> Result<PathStatus, Problem> {
        let ask = |arguments: &[&OsStr]| exec::run_within(PATIENCE, "nix-store", arguments, &BTreeMap::new());
        let Ok(Some(listed)) = ask(&["--query".as_ref(), "--requisites".as_ref(), self.path.as_os_str()])
        else {
            return Ok(PathStatus::Unasked);
        };
        let Ok(paths) = listed.success() else { return Ok(PathStatus::Unasked) };
        let verify = OsStr::new("--verify-path");
        let arguments: Vec<&OsStr> = std::iter::once(verify).chain(paths.lines().map(OsStr::new)).collect();
        let verified = ask(&arguments)?.ok_or_else(|| {
            Problem::doing("verify what Nix built", format!("no end after {} s", PATIENCE.as_secs()))
        })?;
        Ok(if verified.status.success() {
            PathStatus::Whole
        } else {
            PathStatus::Damaged(verified.stderr.trim().to_owned())
        })
    }

    /// Makes a root where that is allowed; else asks Nix's daemon, which makes one for any user.
    fn make_root(&self, roots: &Path, link: &Path) -> Result<(), Problem> {
        let root = roots
            .join(format!("awqdeploy-{}", Sha256Digest::of(link.as_os_str().as_encoded_bytes()).short()));
        let Err(problem) = fs::make_directory(roots).and_then(|()| fs::point(&root, link)) else {
            return Ok(());
        };
        // Nix before 2.4 needs to be told that the link is not one of its own.
        let add = ["--indirect", "--add-root"].map(OsStr::new);
        let arguments = [&add[..], &[link.as_os_str(), "--realise".as_ref(), self.path.as_os_str()]].concat();
        let asked = exec::run("nix-store", &arguments, &BTreeMap::new()).and_then(Finished::success);
        asked.map(drop).map_err(|refused| {
            let what =
                format!("Nix cannot be told to keep `{}`: {}", self.path.display(), problem.in_one_line());
            Problem::new(Kind::Unverified, what).because(refused.in_one_line()).help(format!(
                "`nix-collect-garbage` would take the rollback target; make `{}` writable, or let Nix's daemon run and \
                 `nix-store` be found; or install vLLM without Nix: leave out `--runtimes`",
                roots.display()
            ))
        })
    }
}

/// Whether a root leads to this link.
fn leads_to(roots: &Path, link: &Path) -> bool {
    // A folder that cannot be read shows when a root is made there.
    let names = fs::names(roots).unwrap_or_default();
    names.into_iter().any(|name| std::fs::read_link(roots.join(name)).is_ok_and(|target| target == link))
}

/// Whether a name is `DIGEST-NAME`, with the digest in Nix's own 32 digits.
fn is_object(name: &OsStr) -> bool {
    let digit =
        |digit: u8| digit.is_ascii_digit() || (digit.is_ascii_lowercase() && !b"eotu".contains(&digit));
    let Some(name) = name.to_str().map(str::as_bytes) else { return false };
    name.len() > DIGEST_LENGTH + 1
        && name[..DIGEST_LENGTH].iter().copied().all(digit)
        && name[DIGEST_LENGTH] == b'-'
}
