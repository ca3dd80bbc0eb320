//! The facts of a host. `awqdeploy facts` prints them, `plan --facts FILE` replays them.

use super::{calibration::Calibration, start::Start};
use crate::domain::{
    problem::{Kind, Problem},
    size::ByteSize,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The schema of the document of a host's facts.
pub(crate) const SCHEMA: &str = "awqdeploy/facts/v1";
const SCHEMA_FAMILY: &str = "awqdeploy/facts/v";

/// The host as the plan sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    pub ram_total: ByteSize,
    /// `MemAvailable` of /proc/meminfo.
    pub ram_available: ByteSize,
    /// Logical CPUs this process may use.
    pub cpus: u32,
    /// The features of the CPU that the CPU build of vLLM asks for: `avx512f`.
    #[serde(default)]
    pub cpu_features: Vec<String>,
    /// NUMA nodes. 0: not told.
    #[serde(default)]
    pub numa_nodes: u32,
    /// `SwapTotal` of /proc/meminfo. Pinned memory cannot use it.
    #[serde(default)]
    pub swap_total: ByteSize,
    /// The least memory limit of the cgroups that this process is in. It is in `ram_total` already.
    #[serde(default)]
    pub cgroup_limit: Option<ByteSize>,
    /// Size of /dev/shm, through which ranks talk.
    #[serde(default)]
    pub shared_memory: Option<ByteSize>,
    /// Free space where awqdeploy keeps its state by default.
    #[serde(default)]
    pub disk_free: Option<ByteSize>,
    /// The hard limit of open files. Absent: none, or not told.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// The hard limit of locked memory. Absent: none, or not told.
    #[serde(default)]
    pub locked_memory: Option<ByteSize>,
    /// Whether it is Windows' subsystem for Linux, which cannot pin memory.
    #[serde(default)]
    pub wsl: bool,
    /// The calibrations by the generations of this host, the newest of each setting. Left out where there are
    /// none, so that facts without it stay readable to programs that do not know it.
    #[serde(rename = "experience", default, skip_serializing_if = "Vec::is_empty")]
    pub calibrations: Vec<Calibration>,
    /// The memory that the generations of this host took, the newest of each setting. Left out like `experience`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<Start>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The name that NVML gives it.
    pub name: String,
    /// The name that no other GPU has: `GPU-8932f937-…`. Left out where nobody told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Total VRAM.
    pub memory_total: ByteSize,
    /// The part that the driver keeps for itself, and that CUDA's total lacks. Left out where it is zero, or
    /// the facts are older than this field.
    #[serde(default, skip_serializing_if = "ByteSize::is_zero")]
    pub memory_reserved: ByteSize,
    /// VRAM that no process holds now.
    pub memory_free: ByteSize,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// PCIe generation of the link at its best.
    pub pcie_generation: u32,
    /// Lanes of the link at its best.
    pub pcie_width: u32,
    /// The highest clock of its memory, MHz. Left out where the driver does not tell, or the facts are older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock: Option<u32>,
    /// The width of the bus to its memory, bits. Left out likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bus: Option<u32>,
    /// Links to other GPUs (`NVLink`) that are up.
    #[serde(default)]
    pub nvlinks: u32,
    /// Whether it is cut into instances (MIG), which this program does not handle.
    #[serde(default)]
    pub mig: bool,
    /// The rates that a probe measured. Left out where nobody asked for it, so that facts without it stay
    /// readable to programs that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredRates>,
    /// The processes that hold its memory now, as far as the driver tells.
    #[serde(default)]
    pub processes: Vec<GpuProcess>,
}

/// Bytes per second that a GPU reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasuredRates {
    /// A copy from pinned RAM.
    pub copy: f64,
    /// Reads of pinned RAM in place, as offloaded experts are read. Absent where no vLLM was at hand to map it.
    pub read: Option<f64>,
    /// A copy within VRAM, reading and writing counted.
    pub memory: f64,
}

/// A process that holds VRAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuProcess {
    /// The number of the process, in the driver's eyes.
    pub pid: u32,
    /// The name, where it can be seen from here.
    #[serde(default)]
    pub name: Option<String>,
    /// The systemd unit that it belongs to: `vllm.service`. The service manager is the system's or (`--user`)
    /// the caller's own. Absent where it reports none. To the system a user's processes are
    /// `user@1000.service`'s.
    #[serde(default)]
    pub unit: Option<String>,
    /// The VRAM that it holds. 0 where the driver does not tell.
    pub memory: ByteSize,
}

impl fmt::Display for GpuProcess {
    /// "`python3` (4711, vllm.service)"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, unit, .. } = self;
        match name {
            Some(name) => write!(f, "`{name}` ({pid}")?,
            None => write!(f, "process ({pid}")?,
        }
        match unit {
            Some(unit) => write!(f, ", {unit})"),
            None => f.write_str(")"),
        }
    }
}

impl Gpu {
    /// The VRAM as CUDA counts it, and so vLLM.
    pub fn usable(&self) -> ByteSize {
        self.memory_total.less(self.memory_reserved)
    }

    /// Bytes per second that its memory can carry: two transfers a clock over its bus. `None` where the driver does not tell
    /// both, or tells what no memory does.
    pub(crate) fn memory_bandwidth(&self) -> Option<f64> {
        let (clock, bus) = (f64::from(self.memory_clock?), f64::from(self.memory_bus?));
        Some(clock * 1e6 * 2.0 * bus / 8.0).filter(|bytes| (1e10..1e14).contains(bytes))
    }

    /// Whether it shares one memory with the processors (Grace Blackwell, Jetson).
    pub(crate) fn is_unified(&self) -> bool {
        const SHARED: [&str; 4] = ["GB10", "Thor", "Orin", "Tegra"];
        self.memory_total.is_zero() || SHARED.iter().any(|name| self.name.contains(name))
    }

    /// The VRAM that processes of other units hold.
    pub(crate) fn held_by_others(&self, unit: &str) -> ByteSize {
        self.others(unit).map(|process| process.memory).sum()
    }

    /// The processes of other units.
    pub(crate) fn others<'a>(&'a self, unit: &'a str) -> impl Iterator<Item = &'a GpuProcess> {
        self.processes.iter().filter(move |process| process.unit.as_deref() != Some(unit))
    }
}

impl Facts {
    /// The memory of this GPU as CUDA counts it: of one that shares the processors' memory, that.
    pub(crate) fn capacity(&self, gpu: &Gpu) -> ByteSize {
        match gpu.usable() {
            ByteSize(0) => self.ram_total,
            usable if gpu.is_unified() => usable.min(self.ram_total),
            usable => usable,
        }
    }

    /// Whether NVLink connects the first `ranks` GPUs.
    pub(crate) fn nvlinked(&self, ranks: u32) -> bool {
        self.gpus.iter().take(ranks as usize).all(|gpu| gpu.nvlinks > 0)
    }

    /// Adds what a probe measured of each GPU, in the same order.
    ///
    /// # Errors
    /// Where it measured another number of GPUs, or something that no GPU does.
    pub fn with_rates(mut self, rates: &[MeasuredRates]) -> Result<Self, Problem> {
        let (seen, listed) = (rates.len(), self.gpus.len());
        if seen != listed {
            let what = format!("the probe saw {seen} GPUs, and the driver lists {listed}");
            return Err(Problem::new(Kind::Unexpected, what)
                .help("a variable such as `CUDA_VISIBLE_DEVICES` hides some, or shows others twice"));
        }
        for (gpu, rates) in self.gpus.iter_mut().zip(rates) {
            let memory = (1e8..1e14).contains(&rates.memory);
            let link = |rate: f64| (1e8..1e12).contains(&rate);
            if !(memory && link(rates.copy) && rates.read.is_none_or(link)) {
                let what = format!("the probe measured impossible rates of `{}`: {rates:?}", gpu.name);
                return Err(Problem::new(Kind::Unexpected, what).help("try it again while nothing else runs"));
            }
            gpu.measured = Some(*rates);
        }
        Ok(self)
    }

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
