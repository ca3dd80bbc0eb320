//! This machine's memory, processors and GPUs.

pub(crate) mod conditions;
pub mod gpu;
pub mod limits;
pub mod page_cache;
pub mod process;
pub mod uptime;
pub mod usage;

use super::process::control_group::{self, Manager};
use crate::domain::{
    machine::facts::Facts,
    problem::{Kind, Problem},
    size::ByteSize,
    store::layout::Scope,
};
use process::memory_line;
use rustix::process::{Resource, getrlimit};
use std::{fs, path::Path, thread};

/// The facts of this host for a plan. A host without GPU or driver is a fact, not a problem. Units are those
/// of this scope's service manager.
pub fn facts(scope: Scope) -> Result<Facts, Problem> {
    let cpus = thread::available_parallelism().map_err(|e| Problem::doing("count the CPUs", e))?;
    let mut gpus = gpu::facts();
    let manager = Manager::of(scope);
    for process in gpus.found.iter_mut().flat_map(|gpu| &mut gpu.processes) {
        let pid = i32::try_from(process.pid).ok();
        process.unit = pid.and_then(|pid| manager.unit(&control_group::membership(pid)));
    }
    Ok(Facts {
        gpus: gpus.found,
        driver: gpus.driver,
        gpus_unknown: gpus.unknown,
        cpus: u32::try_from(cpus.get()).unwrap_or(u32::MAX),
        cpu_features: cpu_features(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        numa_nodes: numa_nodes(Path::new("/sys/devices/system/node")),
        shared_memory: space("/dev/shm").map(|(size, _)| size),
        disk_free: disk_free(Path::new(STATE)),
        open_files: getrlimit(Resource::Nofile).maximum,
        locked_memory: getrlimit(Resource::Memlock).maximum.map(ByteSize),
        wsl: fs::read_to_string("/proc/sys/kernel/osrelease")
            .is_ok_and(|release| release.to_lowercase().contains("microsoft")),
        ..memory()?
    })
}

/// The facts about memory alone.
fn memory() -> Result<Facts, Problem> {
    let path = "/proc/meminfo";
    let meminfo = fs::read_to_string(path).map_err(|e| Problem::doing(format!("read `{path}`"), e))?;
    let amount = |key| {
        memory_line(&meminfo, key)
            .ok_or_else(|| Problem::new(Kind::Unexpected, format!("`{path}` has no line `{key}`")))
    };
    // Where no cgroup can be read none limits.
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limited = cgroup_limit(Path::new("/sys/fs/cgroup"), &membership);
    let limit = limited.unwrap_or(ByteSize(u64::MAX));
    let total = amount("MemTotal")?;
    Ok(Facts {
        ram_total: total.min(limit),
        ram_available: amount("MemAvailable")?.min(limit),
        swap_total: memory_line(&meminfo, "SwapTotal").unwrap_or_default(),
        // A hierarchy of the first version has a huge number where nothing limits.
        cgroup_limit: limited.filter(|limit| *limit < total),
        ..Facts::default()
    })
}

/// The name that the kernel gave this boot.
pub(crate) fn boot() -> Result<String, Problem> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let name = fs::read_to_string(path).map_err(|e| super::os::fs::failed("read", path, e))?;
    Ok(name.trim().to_owned())
}

/// All RAM of this host, and the RAM that can be had by pushing out nothing but cache.
pub(crate) fn ram() -> Result<(ByteSize, ByteSize), Problem> {
    let Facts { ram_total, ram_available, .. } = memory()?;
    Ok((ram_total, ram_available))
}

/// The default root.
const STATE: &str = "/var/lib/awqdeploy";

/// Size and free bytes of a file system.
fn space(path: impl rustix::path::Arg) -> Option<(ByteSize, ByteSize)> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| ByteSize(blocks.saturating_mul(found.f_frsize));
    Some((bytes(found.f_blocks), bytes(found.f_bavail)))
}

/// Free bytes where this directory is, or would be made.
fn disk_free(path: &Path) -> Option<ByteSize> {
    path.ancestors().find_map(|directory| space(directory).map(|(_, free)| free))
}

/// The instructions without which the CPU build of vLLM does not start, or is slow.
const CPU_FEATURES: [&str; 5] = ["avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"];

/// The flags in `/proc/cpuinfo` that vLLM asks for.
pub fn cpu_features(cpuinfo: &str) -> Vec<String> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    let has = |name: &str| flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|flag| flag == name));
    CPU_FEATURES.into_iter().filter(|name| has(name)).map(str::to_owned).collect()
}

fn numa_nodes(path: &Path) -> u32 {
    let names = super::os::fs::names(path).unwrap_or_default();
    let is_node =
        |name: &&String| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok());
    u32::try_from(names.iter().filter(is_node).count()).unwrap_or(0)
}

/// The least memory limit of the cgroup that `membership` (the text of `/proc/self/cgroup`) names,
/// and of all above it, in the hierarchies below `root`. `None` where nothing limits.
pub fn cgroup_limit(root: &Path, membership: &str) -> Option<ByteSize> {
    least(root, membership, "memory", ["memory.max", "memory.limit_in_bytes"]).map(ByteSize)
}

/// The least limit of processes and threads, found as [`cgroup_limit`] finds that of memory.
pub fn tasks_limit(root: &Path, membership: &str) -> Option<u64> {
    least(root, membership, "pids", ["pids.max", "pids.max"])
}

/// The least number in a controller's files, whose names differ between the unified hierarchy and those of old.
fn least(root: &Path, membership: &str, controller: &str, [unified, of_old]: [&str; 2]) -> Option<u64> {
    let limits = membership.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next().unwrap_or_default();
        let group = parts.next().unwrap_or_default().trim_start_matches('/');
        let (hierarchy, file) = match controllers {
            "" => (root.to_owned(), unified),
            _ => (root.join(controller), of_old),
        };
        let counts = controllers.split(',').any(|name| name.is_empty() || name == controller);
        let start = hierarchy.join(group);
        start
            .ancestors()
            .take_while(|directory| counts && directory.starts_with(&hierarchy))
            // `max`, and a missing file, stand for no limit.
            .filter_map(|directory| fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok())
            .collect::<Vec<_>>()
    });
    limits.min()
}
