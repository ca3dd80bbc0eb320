//! Walks the steps to a path on this host, and judges whether it is believed.

use super::reading::{failed, names};
use crate::domain::{
    problem::{Kind, Problem},
    store::trust::{self, Distrust, Group, Owner, Owners, PathPart, Step},
};
use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// The most links that the kernel follows.
const MOST_LINKS: usize = 40;
/// Permission of the group to write.
const GROUP_WRITES: u32 = 0o020;
/// The variable of the caller's number, set by `sudo` and `run0`.
const CALLER: &str = "SUDO_UID";
/// The file with the number that the kernel shows for unknown owners.
const OVERFLOW: &str = "/proc/sys/kernel/overflowuid";

/// Root, and the user who runs the program: programs of a service and secrets must be theirs alone.
pub fn ours() -> Owners {
    let number = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let overflow = number(OVERFLOW).trim().parse().ok();
    let outside = overflow.and_then(|overflow| trust::outside(&number("/proc/self/uid_map"), overflow));
    Owners::of(rustix::process::geteuid().as_raw()).and_outside(outside)
}

/// Root, the user who runs the program, and the one who became root by `sudo`: files that these name may lie
/// in their own folders.
pub(crate) fn ours_and_callers() -> Owners {
    let caller = env::var(CALLER).ok().and_then(|number| number.parse().ok());
    ours().and_caller(caller.filter(|_| is_root()))
}

/// Whether this process has rights that its caller has not.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The owner of this path. Nothing where it does not exist, and only trusted users could make it.
///
/// What is believed is still so when it is opened: nobody else could have changed any part of its way.
///
/// # Errors
/// [`Kind::Refused`] that names the part of the way that a stranger owns or may write to.
pub fn believe(path: &Path, owners: &Owners) -> Result<Option<Owner>, Problem> {
    let (way, end) = way(path).map_err(|e| failed("find the way to", path, e))?;
    let whose = trust::judge(&way, owners).map_err(|doubt| doubted(&doubt))?;
    Ok((end == End::There).then_some(whose))
}

/// The owner of a path that root is to read, wherever it was named: root, or the user who called `sudo`.
/// Other users read as themselves, and may read what they like.
///
/// # Errors
/// As [`believe`].
pub(crate) fn believe_as_root(path: &Path) -> Result<Option<Owner>, Problem> {
    if is_root() { believe(path, &ours_and_callers()) } else { Ok(Some(Owner::Own)) }
}

/// A problem for root with an interpreter that is to run vLLM, or with its environment of packages.
///
/// # Errors
/// As [`believe`].
pub(crate) fn believe_interpreter(python: &Path) -> Result<(), Problem> {
    believe_as_root(python)?;
    let Some(environment) = python.parent().and_then(Path::parent).filter(|_| is_root()) else {
        return Ok(());
    };
    believe_as_root(&environment.join("pyvenv.cfg"))?;
    let libraries = environment.join("lib");
    for library in names(&libraries)?.iter().filter(|name| name.starts_with("python")) {
        for folder in ["site-packages", "dist-packages"] {
            believe_as_root(&libraries.join(library).join(folder))?;
        }
    }
    Ok(())
}

/// Whether only root and the user who runs the program could change or replace a file.
pub(crate) fn is_ours(path: &Path) -> bool {
    matches!(believe(path, &ours()), Ok(Some(Owner::Own)))
}

fn doubted(doubt: &Distrust) -> Problem {
    let path = doubt.path().display();
    let help = match doubt {
        Distrust::Stranger { .. } => format!(
            "whoever owns it could change what is done here: `chown root:root {path}`, once nothing in it is a \
             stranger's; or name another place"
        ),
        Distrust::Writable { .. } => format!(
            "whoever may write to it could change what is done here: `chmod go-w {path}`, once nothing in it is a \
             stranger's; or name another place"
        ),
    };
    Problem::new(Kind::Refused, doubt.to_string()).help(help)
}

/// Whether the steps lead to something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    There,
    Missing,
}

/// The steps to a path: those of a link's target follow the link. Where something is missing, the steps end
/// in the folder that would hold it.
fn way(path: &Path) -> io::Result<(Vec<Step>, End)> {
    let path = std::path::absolute(path)?;
    let (mut here, mut links, mut end) = (PathBuf::from("/"), 0, End::There);
    let mut steps = vec![step(&here)?];
    let mut left: VecDeque<OsString> = parts(&path);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&part);
        let met = match step(&next) {
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {
                end = End::Missing;
                break;
            }
            met => met?,
        };
        let is_link = met.met == PathPart::Link;
        steps.push(met);
        if !is_link {
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links"));
        }
        let target = std::fs::read_link(&next)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
    }
    // After a step up, or to nothing, the last step is not where the path ends.
    steps.push(step(&here)?);
    Ok((steps, end))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.collect()
}

fn step(path: &Path) -> io::Result<Step> {
    let found = std::fs::symlink_metadata(path)?;
    let met = match found.file_type() {
        kind if kind.is_dir() => PathPart::Folder,
        kind if kind.is_symlink() => PathPart::Link,
        _ => PathPart::File,
    };
    let mode = found.mode() & 0o7777;
    // The group matters only where it may write.
    let group = if mode & GROUP_WRITES == 0 { Group::Shared } else { group(found.uid(), found.gid()) };
    Ok(Step { path: path.to_owned(), met, owner: found.uid(), mode, group })
}

fn group(owner: u32, group: u32) -> Group {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    trust::group(owner, group, &read("/etc/passwd"), &read("/etc/group"))
}
