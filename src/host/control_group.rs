//! Which processes a unit has: those of its control group, as its manager reports it. A name proves nothing: each user's
//! own manager, and each container's, has units of the same names.

use std::fs;

/// A unit's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup(String);

impl ControlGroup {
    /// What a manager's `ControlGroup` property says. Nothing where the unit has none.
    pub fn named(path: &str) -> Option<Self> {
        // The root is nobody's unit.
        let path = path.trim_end_matches('/');
        path.starts_with('/').then(|| Self(path.to_owned()))
    }

    /// Whether this process belongs to it, or to a group below it. One that is gone does not.
    pub fn has(&self, pid: i32) -> bool {
        self.is_in(&membership(pid))
    }

    /// Whether it is, or is above, what the text of a `/proc/PID/cgroup` names.
    pub fn is_in(&self, membership: &str) -> bool {
        let Self(group) = self;
        groups(membership).any(|path| {
            path.strip_prefix(group.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }

    /// All its processes.
    pub fn processes(&self) -> Vec<i32> {
        let names = super::fs::names("/proc".as_ref()).unwrap_or_default();
        names.iter().filter_map(|name| name.parse().ok()).filter(|pid| self.has(*pid)).collect()
    }
}

/// Whether the text of a `/proc/PID/cgroup` names a service, other than a user's manager itself: whatever runs there is
/// that service's.
pub fn is_a_service(membership: &str) -> bool {
    groups(membership).any(|path| {
        let mut parts = path.rsplit('/').filter_map(|part| part.rsplit_once('.'));
        let unit = parts.find(|(_, kind)| matches!(*kind, "service" | "scope"));
        unit.is_some_and(|(name, kind)| kind == "service" && !name.starts_with("user@"))
    })
}

/// The same of this process.
pub(super) fn own() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The text of a process's `/proc/PID/cgroup`.
pub(super) fn membership(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// The groups by which systemd keeps account: that of the one hierarchy (`0::`), and where there are many, that of its
/// own.
fn groups(membership: &str) -> impl Iterator<Item = &str> {
    membership.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        matches!(controllers, "" | "name=systemd").then_some(path)
    })
}
