//! The rules that concern the host alone, whatever is deployed on it.

use super::super::prediction;
use crate::domain::{
    findings::{Finding, Severity},
    machine::facts::Facts,
    size::ByteSize,
};

/// The major version of the driver that vLLM 0.26.0 needs (CUDA 13).
const DRIVER: u64 = 580;
/// The least compute capability of any quantisation.
const LEAST_CAPABILITY: (u32, u32) = (7, 0);
/// The hard limit of open files. vLLM raises its own limit up to it and warned at 20,000.
const OPEN_FILES: u64 = 65_536;
/// The size of /dev/shm. Ranks talk through rings of 16 MiB chunks, and NCCL has its own.
const SHARED_MEMORY: ByteSize = ByteSize::gib(1);
/// Disk space for a 4-bit model of 80 billion parameters, and the runtime.
const DISK: ByteSize = ByteSize::gib(60);
/// The rate of the link, bytes per second, that 5 tokens/s with 32 GiB of experts in RAM need.
const LINK: f64 = 4.5e9;

/// Finds everything that is known to be wrong, or slow, with this host.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let findings = [gpus(facts), driver(facts), memory(facts), limits(facts)];
    let mut findings: Vec<_> = findings.into_iter().flatten().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Whether nothing can be deployed on the host as it is.
pub fn is_fatal(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Fatal)
}

fn gpus(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |code: &str, message: String| findings.push(Finding::new(code, message).with_remedy());
    if facts.gpus.is_empty() {
        let why = facts.gpus_unknown.as_deref().unwrap_or("the driver lists none");
        find("host-without-gpu", format!("there is no GPU that vLLM could use: {why}"));
    }
    for (index, gpu) in facts.gpus.iter().enumerate() {
        let name = format!("GPU {index} (`{}`)", gpu.name);
        if gpu.mig {
            find("gpu-in-instances", format!("{name} is cut into instances (MIG)"));
        }
        if gpu.compute_capability < LEAST_CAPABILITY {
            let (major, minor) = gpu.compute_capability;
            find("gpu-too-old", format!("{name} has compute capability {major}.{minor}"));
        }
        if prediction::expert_rate(gpu) < LINK {
            let (generation, width) = (gpu.pcie_generation, gpu.pcie_width);
            find("link-slow", format!("{name} is connected by PCIe {generation} x{width}"));
        }
        if !gpu.processes.is_empty() {
            let held: ByteSize = gpu.processes.iter().map(|process| process.memory).sum();
            let holders: Vec<_> =
                gpu.processes.iter().map(crate::domain::machine::facts::GpuProcess::to_string).collect();
            find("vram-in-use", format!("{held} of {name} are held by {}", holders.join(", ")));
        }
    }
    let sizes = facts.gpus.iter().map(|gpu| gpu.memory_total);
    if let (Some(least), Some(most)) = (sizes.clone().min(), sizes.max())
        && least < most
    {
        find("gpus-differ", format!("the GPUs differ: the smallest has {least}, the largest {most}"));
    }
    findings
}

fn driver(facts: &Facts) -> Vec<Finding> {
    let major = |driver: &String| driver.split('.').next().and_then(|major| major.parse::<u64>().ok());
    let old = facts.driver.as_ref().filter(|driver| major(driver).is_some_and(|major| major < DRIVER));
    let finding = old.map(|driver| {
        Finding::new(
            "driver-old",
            format!("the NVIDIA driver is `{driver}`, and vLLM from 0.20 on needs {DRIVER}"),
        )
        .with_remedy()
    });
    finding.into_iter().collect()
}

fn memory(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |code: &str, message: String| findings.push(Finding::new(code, message).with_remedy());
    if facts.wsl {
        find("host-is-wsl", "this is WSL, which cannot pin memory: weights cannot be offloaded".to_owned());
    }
    if let Some(limit) = facts.cgroup_limit {
        find("memory-limited", format!("a cgroup limits the memory to {limit}"));
    }
    if let Some(size) = facts.shared_memory.filter(|size| *size < SHARED_MEMORY)
        && facts.gpus.len() > 1
    {
        find("shared-memory-small", format!("`/dev/shm` has {size}, and ranks talk through it"));
    }
    findings
}

fn limits(facts: &Facts) -> Vec<Finding> {
    let files = facts.open_files.filter(|limit| *limit < OPEN_FILES).map(|limit| {
        Finding::new("open-files-limited", format!("at most {limit} files can be open at once")).with_remedy()
    });
    let disk = facts.disk_free.filter(|free| *free < DISK).map(|free| {
        Finding::new("disk-nearly-full", format!("{free} are free for models and runtimes")).with_remedy()
    });
    files.into_iter().chain(disk).collect()
}
