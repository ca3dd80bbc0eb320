//! Asks the kernel and the driver what the processes of a service hold.

use super::gpu;
use crate::{
    domain::{size::ByteSize, validation::observed::Held},
    host::{machine, process::owned::OwnedProcesses},
};

/// The memory that these processes hold now. Nothing where there are none, or it is unknown.
pub(crate) fn of(whose: &OwnedProcesses) -> Held {
    let ours = whose.processes();
    let vram: Vec<ByteSize> = gpu::facts()
        .found
        .iter()
        .map(|gpu| {
            gpu.processes
                .iter()
                .filter(|process| ours.contains(&process.pid))
                .map(|process| process.memory)
                .sum()
        })
        .filter(|held| *held > ByteSize::default())
        .collect();
    let ram: ByteSize = ours.into_iter().map(machine::process::resident).sum();
    Held { vram, ram: (ram > ByteSize::default()).then_some(ram) }
}
