//! The rules of a service that runs: what it shows, beside what was planned and asked for.

use super::{
    before::rule,
    rule::{Concerns, Rule, Severity},
};

/// In the order of their numbers.
pub(super) const AFTER: &[Rule] = &[
    rule(
        Severity::Fatal,
        Concerns::Engine,
        [
            "A01",
            "offload-not-as-planned",
            "offload was planned, and the log shows none, or 5 % less (`tolerances.offload`)",
            "look for `offload` in the engine's log; pin a vLLM that was measured",
            "vLLM 0.20.2, offloader/base.py:123 and offloader/uva.py:59",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Engine,
        [
            "A02",
            "weights-not-as-planned",
            "weights on a GPU differ from the plan by more than 2 % of a rank's weights (`tolerances.weights`)",
            "layers may have stayed in 16 bits: compare `config.json` with the files",
            "measured: GPTQ without its headers is 41.72 GiB instead of 39.2",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Engine,
        [
            "A03",
            "cache-smaller-than-planned",
            "the KV cache has 5 % fewer tokens than planned (`tolerances.kv-cache`)",
            "lower `limits.max-model-len` or `max-num-seqs`, or free VRAM",
            "measured on an H100: 868,352 tokens in 29.05 GiB",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Engine,
        [
            "A04",
            "fallback-kernel",
            "quantised experts run with another kernel than Marlin",
            "choose a smaller tensor-parallel size, or another vLLM",
            "measured: all three formats log `MARLIN`",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Engine,
        [
            "A05",
            "vram-not-as-planned",
            "the service's processes hold more VRAM than vLLM was told to use, by more than 5 % (`tolerances.vram`)",
            "lower `memory.gpu-memory-utilization`: what it takes beside its share grows with use",
            "NVML by process; an H100 held 73.5 GiB where 0.92 of its memory are 72.8",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Engine,
        [
            "A06",
            "ram-not-as-planned",
            "the service's processes hold more RAM than planned, by more than 25 % (`tolerances.ram`)",
            "raise `memory.ram` before `MemoryMax=` ends the engine",
            "/proc/PID/status, RssAnon and RssShmem; 1.0 times the offload and 4 GiB were measured",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Service,
        [
            "A07",
            "memory-limit-not-in-force",
            "the kernel limits the service's RAM less than its unit asks for",
            "boot with the memory controller: `systemd.unified_cgroup_hierarchy=1`, without `cgroup_disable=memory`",
            "systemd.resource-control(5): without its controller a limit is ignored; so seen in a lent machine",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Service,
        [
            "A08",
            "tasks-limit-not-in-force",
            "the kernel limits the service's processes and threads less than its unit asks for",
            "boot with the pids controller: `systemd.unified_cgroup_hierarchy=1`",
            "systemd.resource-control(5): without its controller a limit is ignored",
        ],
    ),
    rule(
        Severity::Warning,
        Concerns::Service,
        [
            "A09",
            "open-files-not-in-force",
            "the service may open fewer files than its unit asks for",
            "raise the hard limit of the service manager: `LimitNOFILE=` of `user@.service`, or the container's `nofile`",
            "/proc/PID/limits; setrlimit(2): only root raises a hard limit",
        ],
    ),
];
