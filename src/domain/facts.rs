//! What is known of the host. Printed by `awqdeploy facts`, replayed by `plan --facts FILE`.

use super::size::Bytes;
use serde::{Deserialize, Serialize};

/// The host as the plan sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// All GPUs, in NVML's order.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// NVIDIA driver version, where there is one.
    #[serde(default)]
    pub driver: Option<String>,
    /// Why the GPUs could not be asked, where they could not: "no NVIDIA driver".
    #[serde(default)]
    pub gpus_unknown: Option<String>,
    /// `MemTotal` of /proc/meminfo.
    pub ram_total: Bytes,
    /// `MemAvailable` of /proc/meminfo.
    pub ram_available: Bytes,
    /// Logical CPUs this process may use.
    pub cpus: u32,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// As NVML names it.
    pub name: String,
    /// Total VRAM.
    pub memory_total: Bytes,
    /// VRAM that no process holds now.
    pub memory_free: Bytes,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// PCIe generation of the link at its best.
    pub pcie_generation: u32,
    /// Lanes of the link at its best.
    pub pcie_width: u32,
}

impl Facts {
    /// The facts of a machine with four 16 GB GPUs and 126 GiB of RAM, as JSON: what a rehearsal
    /// plans for.
    pub const EXAMPLE: &str = include_str!("known/four-16gb.json");
}
