//! How much of the host's page cache a model's files may have: before its engine is started, and beside it.
//!
//! What lies in the page cache loads at the speed of RAM. Reading ahead is worth it while somebody still serves,
//! and is never worth pushing out what runs.

use crate::domain::size::ByteSize;

/// RAM that reading ahead leaves alone: for the running engine's own growth, and the system.
const MARGIN: ByteSize = ByteSize::gib(2);

/// How much of a model to read ahead while another engine runs, where so much RAM could be had without pushing
/// anything but cache out (the kernel's `MemAvailable`).
pub fn ahead(model: ByteSize, available: ByteSize) -> ByteSize {
    model.min(available.less(MARGIN))
}

/// What to do for the way back once the candidate has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// Both models' files have room beside the candidate: nothing was pushed out.
    BothStay,
    /// Let go of the candidate's files, which are in its memory now, and read so much of the old ones again.
    Read(ByteSize),
}

/// What to do for the way back, where the host has `total` RAM and the candidate's engine takes `engine` of it.
pub fn back(total: ByteSize, engine: ByteSize, candidate: ByteSize, old: ByteSize) -> Back {
    let room = total.less(engine + MARGIN);
    if candidate + old <= room { Back::BothStay } else { Back::Read(old.min(room)) }
}
