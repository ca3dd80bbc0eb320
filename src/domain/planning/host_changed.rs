//! Checks whether an earlier plan could still run.

use super::{plan::Plan, preflight::driver};
use crate::domain::{findings::refusal::Refusal, machine::facts::Facts, vllm::version::Version};

/// Checks whether an earlier plan for this host could still run on it. Free memory is not asked for: the
/// running server holds its share.
pub(crate) fn still_fits(plan: &Plan, facts: &Facts) -> Result<(), Refusal> {
    let changed =
        |message: String| Refusal::new("host-changed", message, "bring the host back to what it was");
    let ram = facts.ram_total;
    if plan.memory.ram > ram {
        return Err(changed(format!("it needs {} of RAM, and this host has {ram}", plan.memory.ram)));
    }
    let Some(needed) = plan.memory.vram() else {
        return Ok(());
    };
    let ranks = plan.memory.gpus() as usize;
    let enough = facts.gpus.iter().filter(|gpu| facts.capacity(gpu) >= needed).count();
    if enough < ranks {
        let why = facts.gpus_unknown.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        return Err(changed(format!("it needs {ranks} GPUs with {needed}, and this host has {enough}{why}")));
    }
    match Version::of(&plan.runtime.vllm) {
        Some(version) => driver(facts, version),
        None => Ok(()),
    }
}
