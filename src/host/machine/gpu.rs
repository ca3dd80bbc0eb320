//! The NVIDIA GPUs, asked through NVML. The library is loaded at run time: without a driver there
//! is none.

use super::process;
use crate::{
    domain::{
        machine::facts::{Gpu, GpuProcess},
        problem::Problem,
        size::ByteSize,
    },
    host::{os::watchdog, process::control_group::ControlGroup},
};
use nvml_wrapper::{
    Device, Nvml, enum_wrappers::device::Clock, enums::device::UsedGpuMemory, error::NvmlError,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long the driver may take to free the memory of a process that is gone.
const FREE_PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// No GPU has more of these links.
const MOST_NVLINKS: u32 = 18;

/// The answers of NVML, or why there are none.
#[derive(Debug, Default)]
pub(crate) struct Gpus {
    /// All GPUs, in NVML's order.
    pub(crate) found: Vec<Gpu>,
    /// The driver's version.
    pub(crate) driver: Option<String>,
    /// Why the GPUs could not be asked.
    pub(crate) unknown: Option<String>,
}

/// Asks NVML. Never a problem: for a host without GPUs a plan can be made for the CPU.
pub(crate) fn facts() -> Gpus {
    let nvml = match library() {
        Ok(nvml) => nvml,
        Err(error) => {
            return Gpus { unknown: Some(why(&error)), ..Gpus::default() };
        }
    };
    let driver = nvml.sys_driver_version().ok();
    match all(&nvml) {
        Ok(found) => Gpus { found, driver, unknown: None },
        Err(error) => Gpus { found: Vec::new(), driver, unknown: Some(why(&error)) },
    }
}

/// Folders of the driver's library that the loader may not search: a program that Nix built does not search
/// the distribution's folders.
const LIBRARIES: [&str; 4] = [
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
];

pub(super) fn library() -> Result<Nvml, NvmlError> {
    let found = Nvml::init();
    let is_missing =
        |error: &NvmlError| matches!(error, NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound);
    if !found.as_ref().is_err_and(is_missing) {
        return found;
    }
    let elsewhere = LIBRARIES.iter().find(|library| Path::new(library).exists());
    elsewhere.map_or(found, |library| Nvml::builder().lib_path(library.as_ref()).init())
}

/// The number of the GPU of this UUID, written in full.
pub(crate) fn number(uuid: &str) -> Option<u32> {
    let nvml = library().ok()?;
    let device = nvml.device_by_uuid(uuid).ok()?;
    device.index().ok()
}

/// Waits until no process of this control group holds memory of a GPU. The driver frees it some time after its holder
/// is gone.
pub fn wait_until_free(group: Option<&ControlGroup>) -> Result<(), Problem> {
    let Some(group) = group else { return Ok(()) };
    let began = Instant::now();
    loop {
        let gpus = facts().found;
        let holders: Vec<String> = gpus
            .iter()
            .flat_map(|gpu| &gpu.processes)
            .filter(|process| i32::try_from(process.pid).is_ok_and(|pid| group.has(pid)))
            .map(ToString::to_string)
            .collect();
        if holders.is_empty() {
            return Ok(());
        }
        if began.elapsed() > FREE_PATIENCE {
            let after = FREE_PATIENCE.as_secs();
            return Err(Problem::doing(
                "wait for the GPUs' memory",
                format!("still held after {after} s by {}", holders.join(", ")),
            ));
        }
        watchdog::pause(LOOK_EVERY);
    }
}

fn why(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded => {
            "no NVIDIA driver".to_owned()
        }
        error => format!("NVML says: {error}"),
    }
}

fn all(nvml: &Nvml) -> Result<Vec<Gpu>, NvmlError> {
    (0..nvml.device_count()?).map(|index| one(&nvml.device_by_index(index)?)).collect()
}

fn one(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    // GPUs that share the processors' memory do not tell it.
    let memory = match device.memory_info() {
        Err(NvmlError::NotSupported) => (0, 0, 0),
        told => told.map(|memory| (memory.total, memory.reserved, memory.free))?,
    };
    let capability = device.cuda_compute_capability()?;
    let unsigned = |number: i32| u32::try_from(number).unwrap_or(0);
    Ok(Gpu {
        name: device.name()?,
        uuid: device.uuid().ok(),
        memory_total: ByteSize(memory.0),
        memory_reserved: ByteSize(memory.1),
        memory_free: ByteSize(memory.2),
        compute_capability: (unsigned(capability.major), unsigned(capability.minor)),
        // The best that GPU and slot can do together, since the present link drops while idle. Virtual GPUs
        // do not tell; the slowest link is then the safe guess.
        pcie_generation: device.max_pcie_link_gen().unwrap_or(1),
        pcie_width: device.max_pcie_link_width().unwrap_or(1),
        memory_clock: device.max_clock_info(Clock::Memory).ok(),
        memory_bus: device.memory_bus_width().ok(),
        nvlinks: nvlinks(device),
        mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
        measured: None,
        processes: processes(device),
    })
}

fn nvlinks(device: &Device<'_>) -> u32 {
    let up = |link: &u32| device.link_wrapper_for(*link).is_active().unwrap_or(false);
    u32::try_from((0..MOST_NVLINKS).filter(up).count()).unwrap_or(0)
}

/// The processes that compute on a GPU or draw with it. None where the driver does not tell.
fn processes(device: &Device<'_>) -> Vec<GpuProcess> {
    let compute = device.running_compute_processes().unwrap_or_default();
    let graphics = device.running_graphics_processes().unwrap_or_default();
    let mut found: Vec<GpuProcess> = Vec::new();
    for process in compute.into_iter().chain(graphics) {
        // A process that does both is in both lists with all that it holds.
        if found.iter().any(|known| known.pid == process.pid) {
            continue;
        }
        let memory = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => ByteSize(bytes),
            UsedGpuMemory::Unavailable => ByteSize::default(),
        };
        // The unit depends on the service manager that asks.
        found.push(GpuProcess { pid: process.pid, name: process::name(process.pid), unit: None, memory });
    }
    found
}
