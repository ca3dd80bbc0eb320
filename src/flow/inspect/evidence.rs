//! `report` and `compare`: gathers the evidence about a generation from its activation.

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
    flow::context::Context,
    host::store::{Evidence, Recorded},
};

/// The evidence of how one generation was proven, or was not.
#[derive(Clone, Debug)]
pub(crate) struct GenerationEvidence {
    /// The generation.
    pub(crate) generation: Generation,
    /// The number of its activation.
    pub(crate) activation: u64,
    /// The journal of that activation.
    pub(crate) journal: Vec<Entry>,
    /// The validation, if it got so far.
    pub(crate) report: Option<Report>,
    /// The validation of the rollback target.
    pub(crate) returned: Option<Report>,
    /// The baseline: measured just before, else the newest good validation of that profile.
    pub(crate) baseline: Option<Report>,
}

/// The newest evidence of this generation, by default of the current one.
pub(crate) fn of_generation(
    context: &Context,
    generation: Option<GenerationId>,
) -> Result<GenerationEvidence, Problem> {
    let generation = match generation {
        Some(generation) => generation,
        None => context.store.deployed()?.id,
    };
    let recorded = context.store.activations()?.into_iter().rev();
    let mut aimed = recorded.filter(|recorded| recorded.last().is_some_and(|last| last.to == generation));
    match aimed.next() {
        Some(recorded) => gather(context, recorded),
        None => Err(Problem::new(Kind::Usage, format!("generation {generation} was never activated"))
            .help("`awqdeploy generations` lists them")),
    }
}

/// The newest evidence of a proven generation of a profile.
pub(crate) fn of_profile(context: &Context, profile: &str) -> Result<GenerationEvidence, Problem> {
    for recorded in context.store.activations()?.into_iter().rev() {
        let committed = recorded.last().is_some_and(|last| last.end() == Some(&End::Committed));
        // An activation with damaged records proves nothing.
        let account = committed.then(|| gather(context, recorded).ok()).flatten();
        if let Some(account) = account.filter(|account| account.generation.plan.profile == profile) {
            return Ok(account);
        }
    }
    Err(Problem::new(Kind::Usage, format!("`{profile}` was never proven on this host"))
        .help(format!("deploy it once: `awqdeploy deploy {profile}`")))
}

fn gather(context: &Context, recorded: Recorded) -> Result<GenerationEvidence, Problem> {
    let Recorded { number, journal, .. } = recorded;
    let to = journal.last().map(|entry| entry.activation.to);
    let to =
        to.ok_or_else(|| Problem::new(Kind::Unexpected, format!("activation {number} has no journal")))?;
    let generation = context.store.generation(to)?;
    let live = context.store.report(number, Evidence::Baseline)?;
    let baseline = match (&generation.plan.gates.baseline, live) {
        (Some(_), Some(live)) => Some(live),
        (Some(baseline), None) => context.store.last_passed(&baseline.profile)?,
        (None, _) => None,
    };
    Ok(GenerationEvidence {
        generation,
        activation: number,
        journal,
        report: context.store.report(number, Evidence::Candidate)?,
        returned: context.store.report(number, Evidence::Returned)?,
        baseline,
    })
}

impl GenerationEvidence {
    /// The steps, in order.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        journal::phases(&self.journal)
    }

    /// Seconds without a running server: see [`journal::downtime`].
    pub(crate) fn downtime(&self) -> Option<f64> {
        journal::downtime(&self.journal)
    }

    /// Seconds until the engine was ready. Absent if it never was.
    pub(crate) fn start_up(&self) -> Option<f64> {
        journal::start_up(&self.journal)
    }
}
