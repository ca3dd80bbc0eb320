//! Decides whose files root believes. A path is as trustworthy as everybody who could change what it leads
//! to.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// The permission of the group to write. Whoever may write to a folder may replace any of its entries.
const GROUP_WRITES: u32 = 0o020;
const ANYBODY_WRITES: u32 = 0o002;
/// The sticky bit: only the owner of an entry, or the folder's own, may rename or remove it.
const STICKY: u32 = 0o1000;

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPart {
    /// A folder.
    Folder,
    /// A symbolic link. The steps of its target follow.
    Link,
    /// A file, or anything else.
    File,
}

/// The members of a file's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The owner alone, as most systems make a group for each user: the group's permissions are the owner's.
    OwnersAlone,
    /// Others, or unknown.
    Shared,
}

/// One step of the way from `/` to a path: each folder, each link, and each folder of the link's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The path of the step, behind all links before it.
    pub path: PathBuf,
    /// The kind of the step.
    pub met: PathPart,
    /// The number of the owner.
    pub owner: u32,
    /// The permissions, with the sticky bit.
    pub mode: u32,
    /// The members of its group.
    pub group: Group,
}

/// The users whose files are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// Root, and the user who runs the program.
    own: BTreeSet<u32>,
    /// The user who became root by `sudo`.
    caller: Option<u32>,
}

/// The user who controls what a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root or the user who runs the program, and nobody else.
    Own,
    /// The caller too.
    Callers {
        /// The number of the user who called `sudo`.
        caller: u32,
    },
}

/// Why a path is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// A stranger owns a step.
    Stranger {
        /// The path of the step.
        path: PathBuf,
        /// The owner.
        owner: u32,
    },
    /// Others than the owner may write to a step.
    Writable {
        /// The path of the step.
        path: PathBuf,
        /// The permissions.
        mode: u32,
    },
}

impl Owners {
    /// Root, and the user who runs the program: `us`.
    pub fn of(us: u32) -> Self {
        Self { own: [0, us].into(), caller: None }
    }

    /// Adds the user who became root by `sudo`.
    #[must_use]
    pub fn and_caller(self, caller: Option<u32>) -> Self {
        let caller = caller.filter(|caller| !self.own.contains(caller));
        Self { caller, ..self }
    }

    /// Adds the number that stands for every owner whom this user namespace does not know. They are the
    /// host's: nobody inside can act as one of them.
    #[must_use]
    pub fn and_outside(mut self, number: Option<u32>) -> Self {
        self.own.extend(number);
        self
    }
}

/// Judges the steps of a path.
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
        // In a sticky folder an entry stays in place while its owner is trusted, which the next step shows. A
        // path that ends in one is not trusted.
        let passed = *met == PathPart::Folder && mode & STICKY != 0 && number + 1 < way.len();
        // The group of a caller who is alone in it may write to the caller's files. No group may write to root's.
        let own_group = *group == Group::OwnersAlone && owners.caller == Some(*owner);
        let others_write = if own_group { ANYBODY_WRITES } else { GROUP_WRITES | ANYBODY_WRITES };
        // A link's own permissions mean nothing.
        if *met != PathPart::Link && mode & others_write != 0 && !passed {
            return Err(Distrust::Writable { path: path.clone(), mode: *mode });
        }
    }
    Ok(whose)
}

/// The members of a file's group, by the host's own `passwd` and `group`: other directories are not asked.
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
            // An entry that cannot be read is not believed.
            _ => true,
        }
    });
    (!known).then_some(overflow)
}

impl Distrust {
    /// The path of the step that is not believed.
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
