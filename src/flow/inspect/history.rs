//! `history` and `why`: past activations, from their journals and evidence.

use std::collections::BTreeMap;

use crate::{
    domain::{
        activation::machine::{Activation, End, State},
        generation_id::GenerationId,
        problem::{Kind, Problem},
        validation::report::Report,
    },
    flow::{context::Context, event::Event},
    host::store::{Evidence, Recorded},
};

/// All activations, oldest first.
pub fn history(context: &Context) -> Result<Vec<Recorded>, Problem> {
    let recorded = context.store.activations()?;
    // An activation whose first line never reached the disk did nothing.
    Ok(recorded.into_iter().filter(|recorded| !recorded.journal.is_empty()).collect())
}

/// The profile of each generation on record that can be read. One that was freed has none.
pub fn profiles(context: &Context) -> Result<BTreeMap<GenerationId, String>, Problem> {
    let generations = context.store.generations()?;
    Ok(generations.into_iter().map(|generation| (generation.id, generation.plan.profile)).collect())
}

/// The last time that a generation was to serve.
#[derive(Clone, Debug)]
pub(crate) struct Why {
    /// The activation.
    pub(crate) recorded: Recorded,
    /// The profile.
    pub(crate) profile: String,
    /// The candidate's validation, if it got so far.
    pub(crate) report: Option<Report>,
    /// The end of the service's log, where it was kept.
    pub(crate) log: Option<String>,
}

/// The evidence of the last activation of a generation; by default of the last one that did not end well. A
/// log that cannot be read is reported: it is for root alone, and the rest is not.
pub(crate) fn why(context: &Context, generation: Option<GenerationId>) -> Result<Why, Problem> {
    let wanted = |recorded: &Recorded| {
        let Some(Activation { to, state, .. }) = recorded.last() else { return false };
        match generation {
            Some(generation) => *to == generation,
            None => !matches!(state, State::Done { end: End::Committed }),
        }
    };
    let recorded = history(context)?.into_iter().rfind(wanted).ok_or_else(|| match generation {
        Some(generation) => Problem::new(Kind::Usage, format!("generation {generation} was never activated"))
            .help("`awqdeploy history` lists all activations"),
        None => Problem::new(Kind::Usage, "no activation failed"),
    })?;
    let to = recorded.last().map_or(GenerationId(0), |activation| activation.to);
    let log = context.store.kept_log(recorded.number).unwrap_or_else(|problem| {
        context.tell(Event::Warning(problem.in_one_line()));
        None
    });
    Ok(Why {
        profile: context.store.generation(to)?.plan.profile,
        report: context.store.report(recorded.number, Evidence::Candidate)?,
        log,
        recorded,
    })
}
