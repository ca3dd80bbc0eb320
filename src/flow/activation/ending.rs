//! What follows the end of an activation, and what is known of it.

use super::outcome::{Activated, Ended, Outcome};
use crate::{
    domain::{
        activation::{
            journal::{Entry, plain_restart},
            machine::{Activation, End, way_back},
            request::{Action, ActivationRequest},
        },
        generation::{Generation, notice::Notice},
        generation_id::GenerationId,
        problem::Problem,
        validation::report::Report,
    },
    flow::{
        context::{ServiceManager, World},
        event::{Event, Observer},
        validate::generation,
    },
    host::{
        store::{Evidence, Recorded, Store, StoreWriter},
        systemd::journald,
    },
};

/// What follows the end of an activation: what serves again after one that went back is validated, unless that was
/// done, and the host's journal is told, whoever else listens.
pub(in crate::flow) fn close(
    world: &World,
    writer: &StoreWriter<'_>,
    ended: &Ended,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let validated = validate_returned(world, writer, ended, observer);
    // What cannot be read is told to whoever asks for it.
    let returned = writer.store().report(ended.number, Evidence::Returned).unwrap_or_default();
    world.tell(ended, returned.as_ref());
    validated
}

pub(crate) fn validate_returned(
    world: &World,
    writer: &StoreWriter<'_>,
    ended: &Ended,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let (End::RolledBack { .. }, Some(from)) = (&ended.end, ended.activation.from) else {
        return Ok(());
    };
    // One that is damaged is measured anew.
    if writer.store().report(ended.number, Evidence::Returned).unwrap_or_default().is_some() {
        return Ok(());
    }
    observer.see(Event::Stage(format!("validate generation {from}, which serves again")));
    let whose = world.service_manager.processes(&writer.store().generation(from)?.plan.service)?;
    generation::validate_returned(writer, ended.number, from, whose, observer)
}

/// How an activation that has ended went, with its evidence.
pub(in crate::flow) fn outcome(
    store: &Store,
    order: ActivationRequest,
    ended: Ended,
) -> Result<Outcome, Problem> {
    // Evidence that is damaged does not change how it ended.
    let report = store.report(ended.number, Evidence::Candidate).unwrap_or_default();
    let returned = match ended.end {
        End::RolledBack { .. } => store.report(ended.number, Evidence::Returned).unwrap_or_default(),
        _ => None,
    };
    let journal = store.activation(ended.number)?.journal;
    let plain_restart = match ended.activation.from {
        Some(from) => restart_before(store, ended.number, &journal, from)?,
        None => None,
    };
    Ok(Outcome {
        action: order.action,
        profile: store.generation(order.to)?.plan.profile,
        generation: order.to,
        activation: Some(Activated { ended, journal, report, returned, plain_restart }),
    })
}

/// Seconds that a plain restart of what served before takes, by what is on record until this activation.
pub(crate) fn restart_before(
    store: &Store,
    number: u64,
    journal: &[Entry],
    from: GenerationId,
) -> Result<Option<f64>, Problem> {
    // A damaged record tells nothing, and concerns itself.
    let earlier = store.activations_before(number)?.filter_map(Result::ok);
    Ok(plain_restart(journal, earlier.map(|recorded| recorded.journal), from))
}

/// What to go back to if `to` fails, which may not be there yet.
pub(in crate::flow) fn return_to(
    store: &Store,
    to: Option<GenerationId>,
) -> Result<Option<GenerationId>, Problem> {
    Ok(way_back(&store.returnable()?, store.current()?, to))
}

/// How an activation on record ended, if it has.
pub(in crate::flow) fn ended(number: u64, activation: &Activation) -> Option<Ended> {
    activation.end().map(|end| Ended { number, activation: activation.clone(), end: end.clone() })
}

/// How the activation of this record ended, if it has.
pub(in crate::flow) fn ended_on_record(recorded: &Recorded) -> Option<Ended> {
    ended(recorded.number, recorded.last()?)
}

/// What an activation was asked to do. Where that is damaged, its journal tells what it is about.
pub(in crate::flow) fn ordered(store: &Store, number: u64) -> Result<Option<ActivationRequest>, Problem> {
    store.order(number).or_else(|damaged| match store.activation(number)?.last() {
        Some(last) => Ok(Some(ActivationRequest { action: Action::Deploy, to: last.to })),
        None => Err(damaged),
    })
}

impl World {
    /// Tells the host's journal how an activation ended, and what became of what serves again, where that was
    /// validated. A rehearsal is nothing that a host should know of.
    pub(in crate::flow) fn tell(&self, ended: &Ended, returned: Option<&Report>) {
        let Ended { number, activation, .. } = ended;
        let Ok(Generation { plan, .. }) = self.store.generation(activation.to) else { return };
        let notice = Notice::of(*number, activation, &plan, self.layout().scope());
        let notice = match (notice, returned.filter(|report| !report.answers())) {
            (Some(notice), Some(report)) => Some(notice.failing(&report.failures.join("; "))),
            (notice, _) => notice,
        };
        if let (ServiceManager::Systemd(_), Some(notice)) = (&self.service_manager, notice) {
            journald::tell(&notice);
        }
    }
}
