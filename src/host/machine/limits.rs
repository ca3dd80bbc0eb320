//! The limits that a process runs under, as the kernel tells them.

use super::{cgroup_limit, tasks_limit};
use crate::{
    domain::{size::ByteSize, validation::limits::Limits},
    host::process::control_group,
};
use std::{fs, path::Path};

/// Where control groups are mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// A limit of memory that is none: the kernel's largest, cut down to whole pages of up to 64 KiB.
const NO_LIMIT: ByteSize = ByteSize(i64::MAX as u64 - 0xffff);

/// The limits of this process and of its control groups. Nothing if it has ended.
pub(crate) fn of_process(pid: u32) -> Option<Limits> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let groups = control_group::membership(i32::try_from(pid).ok()?);
    let root = Path::new(CONTROL_GROUPS);
    Some(Limits {
        memory: cgroup_limit(root, &groups).filter(|limit| *limit < NO_LIMIT),
        tasks: tasks_limit(root, &groups),
        open_files: open_files(&limits),
    })
}

/// The soft limit of open files in the text of a `/proc/PID/limits`.
pub fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
