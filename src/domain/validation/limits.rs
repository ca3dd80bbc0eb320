//! The limits that a unit asks for, beside those that its processes run under.
//!
//! systemd starts a service whose limits it cannot set: without the memory controller `MemoryMax=` is a wish, and a
//! container's or a user's manager raises no limit of open files above its own.

use crate::domain::{findings::Finding, size::ByteSize};

/// Limits of a service. `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// RAM of all its processes, in bytes.
    pub memory: Option<ByteSize>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Open files of its main process.
    pub open_files: Option<u64>,
}

impl Limits {
    /// What a unit's text asks for: `MemoryMax=`, `TasksMax=` and `LimitNOFILE=`.
    pub fn asked_by(unit: &str) -> Self {
        let setting = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str| setting(key)?.parse().ok();
        Self {
            memory: number("MemoryMax").map(ByteSize),
            tasks: number("TasksMax"),
            open_files: number("LimitNOFILE"),
        }
    }

    /// What of it the service did not get.
    pub fn not_given(self, given: Self) -> Vec<Finding> {
        let more = |asked: Option<u64>, given: Option<u64>| {
            asked.is_some_and(|asked| given.is_none_or(|given| given > asked))
        };
        let fewer = |asked: Option<u64>, given: Option<u64>| {
            asked.zip(given).is_some_and(|(asked, given)| given < asked)
        };
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
        let in_force = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
        let number = |limit: Option<u64>| in_force(limit.map(|limit| limit.to_string()));
        let size = |limit: Option<ByteSize>| in_force(limit.map(|limit| limit.to_string()));
        let found = |wrong: bool, code: &str, key: &str, asked: String, given: String| {
            let message = format!("`{key}=` is {asked} in the unit, and in force is {given}");
            wrong.then(|| Finding::new(code, message).with_remedy())
        };
        [
            found(
                more(bytes(self.memory), bytes(given.memory)),
                "memory-limit-not-in-force",
                "MemoryMax",
                size(self.memory),
                size(given.memory),
            ),
            found(
                more(self.tasks, given.tasks),
                "tasks-limit-not-in-force",
                "TasksMax",
                number(self.tasks),
                number(given.tasks),
            ),
            found(
                fewer(self.open_files, given.open_files),
                "open-files-not-in-force",
                "LimitNOFILE",
                number(self.open_files),
                number(given.open_files),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
