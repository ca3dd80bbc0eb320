//! The NVIDIA GPUs, asked through NVML. The library is loaded at run time: without a driver there
//! is none.

use crate::domain::{facts::Gpu, size::Bytes};
use nvml_wrapper::{Device, Nvml, error::NvmlError};

/// What NVML says, or why it says nothing.
#[derive(Debug, Default)]
pub struct Gpus {
    /// All GPUs, in NVML's order.
    pub found: Vec<Gpu>,
    /// The driver's version.
    pub driver: Option<String>,
    /// Why the GPUs could not be asked.
    pub unknown: Option<String>,
}

/// Asks NVML. Never a problem: a host without GPUs is one that a plan can be made for, on the CPU.
pub fn facts() -> Gpus {
    let nvml = match Nvml::init() {
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
    let memory = device.memory_info()?;
    let capability = device.cuda_compute_capability()?;
    let unsigned = |number: i32| u32::try_from(number).unwrap_or(0);
    Ok(Gpu {
        name: device.name()?,
        memory_total: Bytes(memory.total),
        memory_free: Bytes(memory.free),
        compute_capability: (unsigned(capability.major), unsigned(capability.minor)),
        // The best that GPU and slot can do together: what is current drops while idle. Virtual
        // GPUs do not tell; the slowest link is then the honest guess.
        pcie_generation: device.max_pcie_link_gen().unwrap_or(1),
        pcie_width: device.max_pcie_link_width().unwrap_or(1),
    })
}
