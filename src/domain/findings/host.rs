//! The rules of hosts, whatever is planned for them.

use super::{
    before::rule,
    rule::{Concerns, Rule, Severity},
};

const fn host(severity: Severity, text: [&'static str; 5]) -> Rule {
    rule(severity, Concerns::Host, text)
}

const fn host_note(text: [&'static str; 5]) -> Rule {
    host(Severity::Note, text)
}

/// Asked by `doctor`.
pub(super) const HOST: &[Rule] = &[
    host(
        Severity::Warning,
        [
            "P03",
            "host-without-gpu",
            "the driver lists no GPU",
            "only `runtime.device = \"cpu\"` and rehearsals work here",
            "NVML",
        ],
    ),
    host(
        Severity::Fatal,
        [
            "P09",
            "gpu-too-old",
            "a GPU before compute capability 7.0",
            "use a newer GPU",
            "vLLM's requirements",
        ],
    ),
    host(
        Severity::Warning,
        [
            "P20",
            "driver-old",
            "a driver before 580",
            "install driver 580 or later, or pin vLLM below 0.20",
            "NVIDIA's table of CUDA releases",
        ],
    ),
    host(
        Severity::Fatal,
        [
            "P25",
            "gpu-in-instances",
            "a GPU is cut into instances (MIG)",
            "disable MIG on it: `nvidia-smi -mig 0`",
            "NVML; instances are not modelled here",
        ],
    ),
    host_note([
        "P15",
        "vram-in-use",
        "processes hold VRAM",
        "the service that is replaced gives its share back; stop the others",
        "NVML",
    ]),
    host_note([
        "P26",
        "gpus-differ",
        "GPUs of different sizes",
        "plans count on the smallest: vLLM splits evenly",
        "vLLM's tensor parallelism",
    ]),
    host_note([
        "P27",
        "link-slow",
        "a PCIe link on which offloaded experts are read slower than 4.5 GB/s",
        "keep all weights in VRAM on it, or expect less than 5 tokens/s",
        "byte model, measured on an H100",
    ]),
    host(
        Severity::Warning,
        [
            "P07",
            "host-is-wsl",
            "Windows' subsystem for Linux",
            "boot Linux itself where weights must be offloaded",
            "vLLM 0.20.2, platforms/interface.py:681",
        ],
    ),
    host_note([
        "P08",
        "memory-limited",
        "a cgroup limits the memory of this program",
        "plans count on no more than that",
        "kernel: memory.max",
    ]),
    host(
        Severity::Warning,
        [
            "P28",
            "shared-memory-small",
            "several GPUs and less than 1 GiB of `/dev/shm`",
            "remount it larger, or start the container with more",
            "NCCL and vLLM's message ring",
        ],
    ),
    host_note([
        "P29",
        "open-files-limited",
        "fewer than 65,536 open files",
        "none for a system service of a whole machine, whose unit raises it; for `--user` raise `LimitNOFILE=` of `user@.service`, in a container its `nofile`",
        "vLLM: Found ulimit of 20000 and failed to automatically increase",
    ]),
    host(
        Severity::Warning,
        [
            "P30",
            "disk-nearly-full",
            "less than 60 GiB are free for the store",
            "make room, or name another place with `--root`",
            "size of the published checkpoints",
        ],
    ),
];
