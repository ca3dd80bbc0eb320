//! Budgets a pipeline, stage by stage.

use super::{Budget, room::RAM_SERVER};
use crate::domain::{
    checkpoint::Checkpoint,
    machine::facts::Facts,
    planning::grid::Grid,
    profile::{Offload, Profile},
    size::ByteSize,
};
use std::cmp::Reverse;

impl Budget {
    /// Budgets the memory of a pipeline: that of the stage with least room, and RAM of all. One flag says how much each
    /// rank moves to RAM, so that all move what one of them needs.
    pub(super) fn in_stages(checkpoint: &Checkpoint, profile: &Profile, facts: &Facts, grid: Grid) -> Self {
        let stages = grid.stages(checkpoint, profile);
        let planned = |policy: Offload| -> Vec<Self> {
            stages.iter().map(|stage| Self::on_gpus(stage, profile, facts, grid, policy)).collect()
        };
        let alone = planned(profile.memory().offload);
        let most = alone.iter().map(|budget| budget.offload).max().unwrap_or_default();
        let budgets = if most.0 > 0 { planned(Offload::Fixed(most)) } else { alone };
        let once = RAM_SERVER + profile.arguments().settings().cache_in_ram;
        let ram = budgets.iter().map(|budget| budget.ram.less(once)).sum::<ByteSize>() + once;
        let room = |budget: &Self| (budget.missing, Reverse(budget.kv_cache_tokens));
        let fullest = budgets.into_iter().max_by_key(room).unwrap_or_default();
        let Grid { tensor, pipeline } = grid;
        Self { tensor_parallel_size: tensor, pipeline_parallel_size: pipeline, ram, ..fullest }
    }
}

/// One stage: what plans had before there were more.
pub(super) const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) const fn is_one(stages: &u32) -> bool {
    *stages <= 1
}
