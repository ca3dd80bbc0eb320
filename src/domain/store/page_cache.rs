//! Decides how much of the host's page cache a model's files may have: before its engine is started, and
//! beside it.
//!
//! What lies in the page cache loads at the speed of RAM. Reading ahead is worth it while the old server
//! still runs, but never worth pushing a running one out.

use crate::domain::size::ByteSize;

/// The RAM that reading ahead leaves alone: for the running engine's own growth, and the system.
const MARGIN: ByteSize = ByteSize::gib(2);

/// How much of a model to read ahead while another engine runs. `available` is the RAM that can be had by
/// pushing out nothing but cache (the kernel's `MemAvailable`).
pub fn ahead(model: ByteSize, available: ByteSize) -> ByteSize {
    model.min(available.less(MARGIN))
}

/// How to prepare a rollback once the candidate has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// Do nothing: both models' files have room beside the candidate.
    BothStay,
    /// Let go of the candidate's files, which are in its memory now, and read so much of the old ones again.
    Read(ByteSize),
}

/// How to prepare a rollback, where the host has `total` RAM and the candidate's engine takes `engine` of it.
pub fn back(total: ByteSize, engine: ByteSize, candidate: ByteSize, old: ByteSize) -> Back {
    let room = total.less(engine + MARGIN);
    if candidate + old <= room { Back::BothStay } else { Back::Read(old.min(room)) }
}
