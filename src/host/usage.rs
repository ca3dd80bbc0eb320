//! What the processes of a service hold, asked of the kernel and of the driver.

use super::{gpu, machine};
use crate::domain::{actual::Held, size::Bytes};

/// What the processes of this systemd service (without its suffix) hold now. Nothing where there are none, or
/// nobody tells.
pub fn of(service: &str) -> Held {
    let unit = format!("{service}.service");
    let vram: Vec<Bytes> = gpu::facts()
        .found
        .iter()
        .map(|gpu| gpu.held_by(&unit))
        .filter(|held| *held > Bytes::default())
        .collect();
    let ram: Bytes = machine::processes_of(&unit).into_iter().map(machine::resident).sum();
    Held { vram, ram: (ram > Bytes::default()).then_some(ram) }
}
