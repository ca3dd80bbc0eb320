//! This machine's memory, processors and GPUs.

use super::gpu;
use crate::domain::{
    facts::Facts,
    problem::{Kind, Problem},
    size::Bytes,
};
use std::{fs, path::Path, thread};

/// What the plan needs to know of this host. A host without GPU or driver is a fact, not a problem.
pub fn facts() -> Result<Facts, Problem> {
    let path = "/proc/meminfo";
    let meminfo = fs::read_to_string(path).map_err(|e| Problem::doing(format!("read `{path}`"), e))?;
    let amount = |key| {
        memory_line(&meminfo, key)
            .ok_or_else(|| Problem::new(Kind::Unexpected, format!("`{path}` has no line `{key}`")))
    };
    // Where no cgroup can be read none limits.
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_limit(Path::new("/sys/fs/cgroup"), &membership).unwrap_or(Bytes(u64::MAX));
    let cpus = thread::available_parallelism().map_err(|e| Problem::doing("count the CPUs", e))?;
    let gpus = gpu::facts();
    Ok(Facts {
        gpus: gpus.found,
        driver: gpus.driver,
        gpus_unknown: gpus.unknown,
        ram_total: amount("MemTotal")?.min(limit),
        ram_available: amount("MemAvailable")?.min(limit),
        cpus: u32::try_from(cpus.get()).unwrap_or(u32::MAX),
    })
}

/// A line of `/proc/meminfo`: `MemTotal:       24689764 kB`.
pub fn memory_line(meminfo: &str, key: &str) -> Option<Bytes> {
    let mut values = meminfo.lines().filter_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        value.trim().strip_suffix("kB")?.trim().parse().ok()
    });
    values.next().map(|kibibytes: u64| Bytes(kibibytes.saturating_mul(1024)))
}

/// The least memory limit of the cgroup that `membership` (the text of `/proc/self/cgroup`) names,
/// and of all above it, in the hierarchies below `root`. `None` where nothing limits.
pub fn cgroup_limit(root: &Path, membership: &str) -> Option<Bytes> {
    let limits = membership.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next().unwrap_or_default();
        let group = parts.next().unwrap_or_default().trim_start_matches('/');
        let (hierarchy, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ => (root.join("memory"), "memory.limit_in_bytes"),
        };
        let counts = controllers.split(',').any(|name| name.is_empty() || name == "memory");
        let start = hierarchy.join(group);
        start
            .ancestors()
            .take_while(|directory| counts && directory.starts_with(&hierarchy))
            // `max`, and a missing file, say that nothing limits here.
            .filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok())
            .map(Bytes)
            .collect::<Vec<_>>()
    });
    limits.min()
}
