//! Whom root believes. A path is worth what everybody is worth who could change what it leads to.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// Whoever may write to a folder may put something else in any name's place.
const GROUP_WRITES: u32 = 0o020;
const ANYBODY_WRITES: u32 = 0o002;
/// In such a folder only the owner of an entry, or the folder's own, may rename or remove it.
const STICKY: u32 = 0o1000;

/// What was met on the way to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPart {
    /// A folder.
    Folder,
    /// A symbolic link. Its target follows on the way.
    Link,
    /// A file, or whatever else.
    File,
}

/// Who is in a file's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Its owner alone, as most systems make a group for each user: the group's permissions are the owner's.
    OwnersAlone,
    /// Others, or nobody knows.
    Shared,
}

/// One step of the way from `/` to a path: each folder, each link, and each folder of the link's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it is, behind all links before it.
    pub path: PathBuf,
    /// What it is.
    pub met: PathPart,
    /// The number of its owner.
    pub owner: u32,
    /// Its permissions, with the sticky bit.
    pub mode: u32,
    /// Who is in its group.
    pub group: Group,
}

/// Whose files are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Root, and whoever acts.
    own: BTreeSet<u32>,
    /// Whoever became root by `sudo`.
    caller: Option<u32>,
}

/// Whose what a way leads to is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody can change it but root, and whoever acts.
    Own,
    /// The caller can, too.
    Callers {
        /// The number of the user who called `sudo`.
        caller: u32,
    },
}

/// Why something is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// A stranger owns a part of the way.
    Stranger {
        /// That part.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Others than its owner may write to a part of the way.
    Writable {
        /// That part.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Owners {
    /// Root, and whoever acts: `us`.
    pub fn of(us: u32) -> Self {
        Self { own: [0, us].into(), caller: None }
    }

    /// The same, and whoever became root by `sudo`.
    #[must_use]
    pub fn and_caller(self, caller: Option<u32>) -> Self {
        let caller = caller.filter(|caller| !self.own.contains(caller));
        Self { caller, ..self }
    }

    /// The same, and the number that stands for every owner whom this user namespace does not know. They are the
    /// host's: nobody inside can act as one of them.
    #[must_use]
    pub fn and_outside(mut self, number: Option<u32>) -> Self {
        self.own.extend(number);
        self
    }
}

/// Whose what this way leads to is, or why it is not believed.
///
/// # Errors
/// The first part of the way that a stranger owns, or may write to.
pub fn judge(way: &[Step], owners: &Owners) -> Result<Owner, Distrust> {
    let mut whose = Owner::Own;
    for (number, Step { path, met, owner, mode, group }) in way.iter().enumerate() {
        match owners.caller {
            _ if owners.own.contains(owner) => {}
            Some(caller) if caller == *owner => whose = Owner::Callers { caller },
            _ => return Err(Distrust::Stranger { path: path.clone(), owner: *owner }),
        }
        // What is in a sticky folder stays in its place while its owner is trusted, which the next step shows. Whoever
        // ends in one could be given anything.
        let passed = *met == PathPart::Folder && mode & STICKY != 0 && number + 1 < way.len();
        // The caller is trusted as a person. What is root's is to be so plainly.
        let own_group = *group == Group::OwnersAlone && owners.caller == Some(*owner);
        let others_write = if own_group { ANYBODY_WRITES } else { GROUP_WRITES | ANYBODY_WRITES };
        // A link's own permissions mean nothing.
        if *met != PathPart::Link && mode & others_write != 0 && !passed {
            return Err(Distrust::Writable { path: path.clone(), mode: *mode });
        }
    }
    Ok(whose)
}

/// Who is in the group of a file, by the host's own `passwd` and `group`: what another directory knows is not asked.
pub fn group(owner: u32, group: u32, passwd: &str, groups: &str) -> Group {
    let users: Vec<(&str, u32, u32)> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .collect();
    let Some((name, ..)) = users.iter().find(|(_, user, of)| (*user, *of) == (owner, group)) else {
        return Group::Shared;
    };
    let others = users.iter().any(|(_, user, of)| *of == group && *user != owner);
    let named = groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == group).then(|| (name, fields.next().unwrap_or_default()))
    });
    let mut named = named.peekable();
    let alone = named.peek().is_some()
        && named.all(|(of, members)| {
            of == *name && members.split(',').all(|member| member.is_empty() || member == *name)
        });
    if alone && !others { Group::OwnersAlone } else { Group::Shared }
}

/// The number that the kernel shows for owners whom a user namespace does not know, if there are any: one that is
/// known is a user inside. `map` is `/proc/self/uid_map`.
pub fn outside(map: &str, overflow: u32) -> Option<u32> {
    let known = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), Some(Ok(_)), Some(Ok(length))) => {
                (inside..inside.saturating_add(length)).contains(&u64::from(overflow))
            }
            // What cannot be read is not believed.
            _ => true,
        }
    });
    (!known).then_some(overflow)
}

impl Distrust {
    /// The part of the way that is meant.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Stranger { path, .. } | Self::Writable { path, .. } => path,
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger { path, owner } => write!(f, "`{}` belongs to user {owner}", path.display()),
            Self::Writable { path, mode } => {
                write!(
                    f,
                    "`{}` can be written to by others than its owner (mode {:o})",
                    path.display(),
                    mode & 0o7777
                )
            }
        }
    }
}
