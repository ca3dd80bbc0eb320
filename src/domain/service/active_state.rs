//! The state of a unit, in systemd's words.

use std::fmt;

/// systemd's `ActiveState=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActiveState {
    /// The service runs.
    Active,
    /// The service reads its configuration anew, and runs.
    Reloading,
    /// The service runs, and its mounts are renewed: since systemd 256.
    Refreshing,
    /// The service does not run.
    Inactive,
    /// The service does not run, and ended wrong.
    Failed,
    /// The service is on its way up.
    Activating,
    /// The service is on its way down.
    Deactivating,
    /// The service is being maintained: nothing starts.
    Maintenance,
    /// A state of a later systemd.
    Unknown(String),
}

impl ActiveState {
    const NAMED: [(Self, &str); 8] = [
        (Self::Active, "active"),
        (Self::Reloading, "reloading"),
        (Self::Refreshing, "refreshing"),
        (Self::Inactive, "inactive"),
        (Self::Failed, "failed"),
        (Self::Activating, "activating"),
        (Self::Deactivating, "deactivating"),
        (Self::Maintenance, "maintenance"),
    ];

    /// The state of this name in systemd.
    pub fn named(word: &str) -> Self {
        let known = Self::NAMED.into_iter().find(|(_, name)| *name == word);
        known.map_or_else(|| Self::Unknown(word.to_owned()), |(state, _)| state)
    }
}

impl fmt::Display for ActiveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unknown(word) = self {
            return f.write_str(word);
        }
        let name = Self::NAMED.iter().find(|(state, _)| state == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}
