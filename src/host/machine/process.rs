//! One process of this host, as the kernel shows it.

use crate::domain::size::ByteSize;
use std::fs;

/// The name of a process, where it can be seen from here.
pub(in crate::host) fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// The RAM of a process without files, which the kernel can take back: its own pages, and shared ones.
pub(in crate::host) fn resident(pid: u32) -> ByteSize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    anonymous(&status)
}

/// The sum of two lines of a `/proc/PID/status`. Nothing for a kernel thread, or a process that has ended.
pub fn anonymous(status: &str) -> ByteSize {
    ["RssAnon", "RssShmem"].into_iter().filter_map(|key| memory_line(status, key)).sum()
}

/// A line of `/proc/meminfo`: `MemTotal:       24689764 kB`.
pub fn memory_line(meminfo: &str, key: &str) -> Option<ByteSize> {
    let mut values = meminfo.lines().filter_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        value.trim().strip_suffix("kB")?.trim().parse().ok()
    });
    values.next().map(|kibibytes: u64| ByteSize(kibibytes.saturating_mul(1024)))
}
