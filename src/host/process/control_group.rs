//! Finds the processes of a unit: those of its control group, as its manager reports it. A name proves
//! nothing: each user's own manager, and each container's, has units of the same names.

use crate::domain::store::layout::Scope;
use std::fs;

/// A unit's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup(String);

impl ControlGroup {
    /// The group that a manager's `ControlGroup` property names. Nothing where the unit has none.
    pub fn named(path: &str) -> Option<Self> {
        // The root is no unit's group.
        let path = path.trim_end_matches('/');
        path.starts_with('/').then(|| Self(path.to_owned()))
    }

    /// Whether this process belongs to the group, or to one below it. A process that is gone does not.
    pub(crate) fn has(&self, pid: i32) -> bool {
        self.is_in(&membership(pid))
    }

    /// Whether the group is, or is above, the one in the text of a `/proc/PID/cgroup`.
    pub fn is_in(&self, membership: &str) -> bool {
        let Self(group) = self;
        groups(membership).any(|path| {
            path.strip_prefix(group.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }

    /// The processes of the group.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let names = crate::host::os::fs::names("/proc".as_ref()).unwrap_or_default();
        names.iter().filter_map(|name| name.parse().ok()).filter(|pid| self.has(*pid)).collect()
    }
}

/// A service manager, by the place of its units' control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    root: String,
    user: Option<u32>,
}

impl Manager {
    /// The manager of this scope: the system's, or that of the user who calls.
    pub(crate) fn of(scope: Scope) -> Self {
        let user = match scope {
            Scope::System => None,
            Scope::User => Some(rustix::process::getuid().as_raw()),
        };
        Self::beside(&membership(1), user)
    }

    /// The manager of the system or of this user, where `first` is the `/proc/PID/cgroup` of the system's
    /// manager. In a container without a namespace of its own all groups are below the container's.
    pub fn beside(first: &str, user: Option<u32>) -> Self {
        let group = groups(first).next().unwrap_or_default();
        let root = ["/init.scope", "/system.slice"].iter().find_map(|own| group.strip_suffix(own));
        Self { root: root.unwrap_or(group).trim_end_matches('/').to_owned(), user }
    }

    /// The unit that this manager reports for the text of a `/proc/PID/cgroup`: the outermost one, after
    /// slices. Units below it belong to others: a user's manager, a container, the service itself.
    pub fn unit(&self, membership: &str) -> Option<String> {
        groups(membership).find_map(|path| {
            let below = path.strip_prefix(self.root.as_str()).filter(|below| below.starts_with('/'))?;
            let (unit, below) = outermost(below)?;
            let Some(user) = self.user else { return Some(unit.to_owned()) };
            let (unit, _) = outermost(below).filter(|_| unit == format!("user@{user}.service"))?;
            Some(unit.to_owned())
        })
    }
}

/// The first group on this path that is no slice, where it is a unit, and the rest of the path.
fn outermost(path: &str) -> Option<(&str, &str)> {
    let mut rest = path;
    loop {
        let (part, below) = rest.split_once('/').unwrap_or((rest, ""));
        // systemd puts `_` before a name that the kernel has given to a file, as `memory.service`.
        let name = part.strip_prefix('_').unwrap_or(part);
        match name.rsplit_once('.') {
            Some((_, "slice")) => {}
            Some((named, "service" | "scope")) if !named.is_empty() => return Some((name, below)),
            _ if part.is_empty() && !below.is_empty() => {}
            _ => return None,
        }
        rest = below;
    }
}

/// Whether the text of a `/proc/PID/cgroup` names a service, other than a user's manager itself: whatever
/// runs there belongs to that service.
pub fn is_a_service(membership: &str) -> bool {
    groups(membership).any(|path| {
        let mut parts = path.rsplit('/').filter_map(|part| part.rsplit_once('.'));
        let unit = parts.find(|(_, kind)| matches!(*kind, "service" | "scope"));
        unit.is_some_and(|(name, kind)| kind == "service" && !name.starts_with("user@"))
    })
}

/// The text of this process's `/proc/PID/cgroup`.
pub(crate) fn own() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The text of a process's `/proc/PID/cgroup`.
pub(crate) fn membership(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// The groups by which systemd tracks units: that of the one hierarchy (`0::`), or where there are many, that
/// of its own.
fn groups(membership: &str) -> impl Iterator<Item = &str> {
    membership.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then_some(path)
    })
}
