//! How fast GPUs read: their own memory, and RAM over the link. What was measured, else what the driver tells, else
//! tables.

use crate::domain::machine::facts::{Gpu, MeasuredRates};

/// Share of the data sheet's bandwidth that a copy reaches: 2.95 of 3.35 TB/s on the H100.
const REACHED_BANDWIDTH: f64 = 0.88;

/// Bytes per second of one lane of PCIe by its generation, from the first to the fifth.
const LANES: [f64; 5] = [0.25e9, 0.5e9, 0.985e9, 1.969e9, 3.938e9];
/// Share of the wire that reads in place reach: 49.3 of 63.0 GB/s on an H100 (PCIe 5 x16). For PCIe 4 x16 that is 24.7 GB/s, where
/// 20 to 26 are reported; who reported less (vLLM issue 54593) did not measure the link.
const READ: f64 = 0.782;
/// Share of the wire that a plain copy reaches: 55.0 of 63.0 GB/s is the most that was measured.
const COPIED: f64 = 0.873;

/// Bytes per second of the wire. Five x8 and four x16 are the same.
pub(crate) fn wire(gpu: &Gpu) -> f64 {
    let generation = gpu.pcie_generation.clamp(1, 5) as usize;
    LANES[generation - 1] * f64::from(gpu.pcie_width.clamp(1, 16))
}

/// Bytes per second at which a GPU reads the routed experts from pinned RAM: what a probe measured, else by the wire.
pub fn expert_rate(gpu: &Gpu) -> f64 {
    let by_wire = wire(gpu) * READ;
    match gpu.measured {
        Some(MeasuredRates { read: Some(read), .. }) => read,
        Some(MeasuredRates { copy, .. }) => by_wire.min(copy),
        None => by_wire,
    }
}

/// Bytes per second of a plain copy from pinned RAM.
pub(super) fn copy(gpu: &Gpu) -> f64 {
    gpu.measured.map_or(wire(gpu) * COPIED, |measured| measured.copy)
}

/// Bytes per second of a GPU's own memory: those that are reached, and those of its data sheet. `None` where nobody knows.
pub(super) fn memory(gpu: &Gpu) -> Option<(f64, f64)> {
    let sheet = gpu.memory_bandwidth().or_else(|| by_name(&gpu.name));
    match gpu.measured {
        Some(MeasuredRates { memory, .. }) => {
            Some((memory, sheet.unwrap_or(memory / REACHED_BANDWIDTH).max(memory)))
        }
        None => sheet.map(|sheet| (sheet * REACHED_BANDWIDTH, sheet)),
    }
}

/// The data sheet's memory bandwidth of a GPU by the name that NVML gives it, in bytes per second.
fn by_name(name: &str) -> Option<f64> {
    let found = CARDS.iter().find(|(card, _)| *card == name);
    found.map(|(_, gigabytes)| f64::from(*gigabytes) * 1e9)
}

const CARDS: [(&str, u32); 68] = [
    ("NVIDIA A10", 600),
    ("NVIDIA A100 80GB PCIe", 1935),
    ("NVIDIA A100-PCIE-40GB", 1555),
    ("NVIDIA A100-PCIE-80GB", 1935),
    ("NVIDIA A100-SXM4-40GB", 1555),
    ("NVIDIA A100-SXM4-80GB", 2039),
    ("NVIDIA A10G", 600),
    ("NVIDIA A30", 933),
    ("NVIDIA A40", 696),
    ("NVIDIA B200", 8000),
    ("NVIDIA GB10", 273),
    ("NVIDIA GH200 480GB", 4000),
    ("NVIDIA GeForce RTX 2080 Ti", 616),
    ("NVIDIA GeForce RTX 3060", 360),
    ("NVIDIA GeForce RTX 3060 Ti", 448),
    ("NVIDIA GeForce RTX 3070", 448),
    ("NVIDIA GeForce RTX 3080", 760),
    ("NVIDIA GeForce RTX 3080 Laptop GPU", 448),
    ("NVIDIA GeForce RTX 3080 Ti", 912),
    ("NVIDIA GeForce RTX 3090", 936),
    ("NVIDIA GeForce RTX 3090 Ti", 1008),
    ("NVIDIA GeForce RTX 4060", 272),
    ("NVIDIA GeForce RTX 4060 Ti", 288),
    ("NVIDIA GeForce RTX 4070", 504),
    ("NVIDIA GeForce RTX 4070 Laptop GPU", 256),
    ("NVIDIA GeForce RTX 4070 SUPER", 504),
    ("NVIDIA GeForce RTX 4070 Ti", 504),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", 672),
    ("NVIDIA GeForce RTX 4080", 717),
    ("NVIDIA GeForce RTX 4080 Laptop GPU", 432),
    ("NVIDIA GeForce RTX 4080 SUPER", 736),
    ("NVIDIA GeForce RTX 4090", 1008),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 576),
    ("NVIDIA GeForce RTX 5060 Ti", 448),
    ("NVIDIA GeForce RTX 5070", 672),
    ("NVIDIA GeForce RTX 5070 Ti", 896),
    ("NVIDIA GeForce RTX 5080", 960),
    ("NVIDIA GeForce RTX 5090", 1792),
    ("NVIDIA GeForce RTX 5090 Laptop GPU", 896),
    ("NVIDIA H100 80GB HBM3", 3350),
    ("NVIDIA H100 NVL", 3938),
    ("NVIDIA H100 PCIe", 2039),
    ("NVIDIA H20", 4000),
    ("NVIDIA H200", 4800),
    ("NVIDIA L20", 864),
    ("NVIDIA L4", 300),
    ("NVIDIA L40", 864),
    ("NVIDIA L40S", 864),
    ("NVIDIA RTX 2000 Ada Generation", 224),
    ("NVIDIA RTX 4000 Ada Generation", 360),
    ("NVIDIA RTX 4500 Ada Generation", 432),
    ("NVIDIA RTX 5000 Ada Generation", 576),
    ("NVIDIA RTX 6000 Ada Generation", 960),
    ("NVIDIA RTX A2000 12GB", 288),
    ("NVIDIA RTX A400", 96),
    ("NVIDIA RTX A4000", 448),
    ("NVIDIA RTX A4500", 640),
    ("NVIDIA RTX A5000", 768),
    ("NVIDIA RTX A6000", 768),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 1792),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1597),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 1792),
    ("NVIDIA TITAN RTX", 672),
    ("NVIDIA Thor", 273),
    ("Quadro RTX 8000", 672),
    ("Tesla T4", 320),
    ("Tesla V100-SXM2-16GB", 900),
    ("Tesla V100-SXM2-32GB", 900),
];
