//! Budgets with what earlier starts on this host showed. What runs stays as it is: a server that was planned by
//! formulas, and proven, is planned the same again.

use super::room::Room;
use crate::domain::{
    checkpoint::Checkpoint,
    machine::{
        facts::Facts,
        start::{ShownMemory, StartSetting},
    },
    planning::{grid::Grid, setting::Weights},
    profile::{Offload, Profile},
    size::ByteSize,
};

/// One GPU with the weights that leave it, and the start that corrects it.
pub(super) struct Placed {
    pub(super) room: Room,
    pub(super) offload: ByteSize,
    pub(super) setting: Option<StartSetting>,
    pub(super) shown: Option<ShownMemory>,
}

/// Places the weights of a rank: none in RAM where all fits, else as many as formulas say, and what was shown asks
/// for.
pub(super) fn placed(
    checkpoint: &Checkpoint,
    profile: &Profile,
    facts: &Facts,
    grid: Grid,
    policy: Offload,
) -> Placed {
    let corrected = |weights: Weights| {
        let setting = StartSetting::of(checkpoint, profile, facts, grid, weights);
        let shown = setting.as_ref().and_then(|setting| setting.newest(&facts.starts));
        let room = Room::of(checkpoint, profile, facts, grid, shown.as_ref());
        Placed { room, offload: ByteSize::default(), setting, shown }
    };
    let resident = corrected(Weights::InVram);
    let least = resident.room.kv_cache_needed;
    let movable = resident.room.offloadable > ByteSize::default();
    match policy {
        Offload::Fixed(offload) if offload > ByteSize::default() => {
            Placed { offload, ..corrected(Weights::InRam) }
        }
        Offload::Auto if movable && resident.room.short(least) > ByteSize::default() => {
            let moved = corrected(Weights::InRam);
            let formulas = Room::of(checkpoint, profile, facts, grid, None);
            let by_formulas = formulas.offload(formulas.short(formulas.kv_cache_wanted) + formulas.unsure);
            let by_start = moved.room.offload(moved.room.short(moved.room.kv_cache_needed));
            Placed { offload: by_formulas.max(by_start), ..moved }
        }
        _ => resident,
    }
}
