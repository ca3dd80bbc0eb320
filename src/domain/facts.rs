//! What is known of the host. Printed by `awqdeploy facts`, replayed by `plan --facts FILE`.

use super::{
    problem::{Kind, Problem},
    size::Bytes,
};
use serde::{Deserialize, Serialize};

/// What the document of a host's facts says of itself.
pub const SCHEMA: &str = "awqdeploy/facts/v1";
const SCHEMA_FAMILY: &str = "awqdeploy/facts/v";

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
    /// Reads what `awqdeploy facts` printed. A document without a schema is one of the first version.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let unreadable = |e| {
            Problem::new(Kind::Usage, "it does not hold a host's facts")
                .because(e)
                .help("`awqdeploy facts > FILE` on that host writes them")
        };
        let mut value: serde_json::Value = serde_json::from_str(text).map_err(unreadable)?;
        let schema = value.as_object_mut().and_then(|object| object.remove("schema"));
        match schema.as_ref().map(|schema| schema.as_str().unwrap_or_default()) {
            None | Some(SCHEMA) => serde_json::from_value(value).map_err(unreadable),
            Some(other) => {
                let what = format!("its schema is `{other}`, and this program reads `{SCHEMA}`");
                let version = other.strip_prefix(SCHEMA_FAMILY).and_then(|text| text.parse::<u32>().ok());
                let help = match version {
                    Some(2..) => "a newer awqdeploy wrote it: plan with that one, or write it anew with this",
                    _ => "name a file that `awqdeploy facts > FILE` wrote",
                };
                Err(Problem::new(Kind::Usage, what).help(help))
            }
        }
    }

    /// The facts of a machine with four 16 GB GPUs and 126 GiB of RAM, as JSON: what a rehearsal
    /// plans for.
    pub const EXAMPLE: &str = include_str!("known/four-16gb.json");
}
