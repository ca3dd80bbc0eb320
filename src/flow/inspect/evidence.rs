//! `report` and `compare`: what is known of a generation, gathered from its activation's evidence.

use crate::{
    domain::{
        activation::{
            journal::{self, Entry, Phase},
            machine::End,
        },
        generation::Generation,
        generation_id::GenerationId,
        problem::{Kind, Problem},
        validation::report::Report,
    },
    flow::context::World,
    host::store::{Evidence, Recorded},
};

/// Everything that is known of how one generation was proven, or was not.
#[derive(Clone, Debug)]
pub(crate) struct GenerationEvidence {
    /// The generation.
    pub(crate) generation: Generation,
    /// The number of the activation that it tells of.
    pub(crate) activation: u64,
    /// That activation's journal.
    pub(crate) journal: Vec<Entry>,
    /// Its validation, if it got so far.
    pub(crate) report: Option<Report>,
    /// The validation of what was returned to after it.
    pub(crate) returned: Option<Report>,
    /// What it was compared with: what was measured just before, else the newest good validation of that
    /// profile.
    pub(crate) baseline: Option<Report>,
}

/// The newest account of this generation, by default of what is current.
pub(crate) fn of_generation(
    world: &World,
    generation: Option<GenerationId>,
) -> Result<GenerationEvidence, Problem> {
    let generation = match generation {
        Some(generation) => generation,
        None => world.store.deployed()?.id,
    };
    let recorded = world.store.activations()?.into_iter().rev();
    let mut aimed = recorded.filter(|recorded| recorded.last().is_some_and(|last| last.to == generation));
    match aimed.next() {
        Some(recorded) => gather(world, recorded),
        None => Err(Problem::new(Kind::Usage, format!("generation {generation} was never activated"))
            .help("`awqdeploy generations` lists them")),
    }
}

/// The newest account of a profile that was proven.
pub(crate) fn of_profile(world: &World, profile: &str) -> Result<GenerationEvidence, Problem> {
    for recorded in world.store.activations()?.into_iter().rev() {
        let committed = recorded.last().is_some_and(|last| last.end() == Some(&End::Committed));
        // One whose records are damaged proves nothing of it.
        let account = committed.then(|| gather(world, recorded).ok()).flatten();
        if let Some(account) = account.filter(|account| account.generation.plan.profile == profile) {
            return Ok(account);
        }
    }
    Err(Problem::new(Kind::Usage, format!("`{profile}` was never proven on this host"))
        .help(format!("deploy it once: `awqdeploy deploy {profile}`")))
}

fn gather(world: &World, recorded: Recorded) -> Result<GenerationEvidence, Problem> {
    let Recorded { number, journal, .. } = recorded;
    let to = journal.last().map(|entry| entry.activation.to);
    let to =
        to.ok_or_else(|| Problem::new(Kind::Unexpected, format!("activation {number} has no journal")))?;
    let generation = world.store.generation(to)?;
    let live = world.store.report(number, Evidence::Baseline)?;
    let baseline = match (&generation.plan.gates.baseline, live) {
        (Some(_), Some(live)) => Some(live),
        (Some(baseline), None) => world.store.last_passed(&baseline.profile)?,
        (None, _) => None,
    };
    Ok(GenerationEvidence {
        generation,
        activation: number,
        journal,
        report: world.store.report(number, Evidence::Candidate)?,
        returned: world.store.report(number, Evidence::Returned)?,
        baseline,
    })
}

impl GenerationEvidence {
    /// The steps, in order.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        journal::phases(&self.journal)
    }

    /// Seconds in which nothing served: see [`journal::downtime`].
    pub(crate) fn downtime(&self) -> Option<f64> {
        journal::downtime(&self.journal)
    }

    /// Seconds that the engine took to be ready. Absent if it never was.
    pub(crate) fn start_up(&self) -> Option<f64> {
        journal::start_up(&self.journal)
    }
}
