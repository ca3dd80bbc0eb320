//! Ends an activation, and reads how one ended.

use super::outcome::{Activated, Ended, Outcome};
use crate::{
    domain::{
        activation::{
            journal::{Entry, plain_restart},
            machine::{Activation, End, rollback_target},
            request::{Action, ActivationRequest},
        },
        generation::{Generation, notice::Notice},
        generation_id::GenerationId,
        problem::Problem,
        validation::report::Report,
    },
    flow::{
        context::{Context, ServiceManager},
        event::Event,
        validate::generation,
    },
    host::{
        store::{Evidence, Recorded, Store, StoreWriter},
        systemd::journald,
    },
};

/// Ends an activation: validates the server after a rollback, unless that was done, and tells the host's
/// journal.
pub(in crate::flow) fn close(
    context: &Context,
    writer: &StoreWriter<'_>,
    ended: &Ended,
) -> Result<(), Problem> {
    let validated = validate_returned(context, writer, ended);
    // A report that cannot be read is reported to those who ask for it.
    let returned = writer.store().report(ended.number, Evidence::Returned).unwrap_or_default();
    context.notify(ended, returned.as_ref());
    validated
}

pub(crate) fn validate_returned(
    context: &Context,
    writer: &StoreWriter<'_>,
    ended: &Ended,
) -> Result<(), Problem> {
    let (End::RolledBack { .. }, Some(from)) = (&ended.end, ended.activation.from) else {
        return Ok(());
    };
    // A damaged report is measured again.
    if writer.store().report(ended.number, Evidence::Returned).unwrap_or_default().is_some() {
        return Ok(());
    }
    context.tell(Event::Stage(format!("validate generation {from}, which serves again")));
    let whose = context.service_manager.processes(&writer.store().generation(from)?.plan.service)?;
    generation::validate_returned(writer, ended.number, from, whose, &*context.observer)
}

/// The outcome of an activation that has ended, with its evidence.
pub(in crate::flow) fn outcome(
    store: &Store,
    order: ActivationRequest,
    ended: Ended,
) -> Result<Outcome, Problem> {
    // Damaged evidence does not change the end.
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
    // A collection may have taken the generation since, and that does not change the end either.
    let named = store.generation(order.to).map(|generation| generation.plan.profile).ok();
    let named = named.or_else(|| report.as_ref().map(|report| report.profile.clone()));
    Ok(Outcome {
        action: order.action,
        profile: named.unwrap_or_else(|| order.to.to_string()),
        generation: order.to,
        activation: Some(Activated { ended, journal, report, returned, plain_restart }),
    })
}

/// Seconds that a plain restart of the server from before takes, by the records until this activation.
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

/// The rollback target if `to` fails, which may not exist yet.
pub(in crate::flow) fn return_to(
    store: &Store,
    to: Option<GenerationId>,
) -> Result<Option<GenerationId>, Problem> {
    Ok(rollback_target(&store.returnable()?, store.current()?, to))
}

/// The end of an activation on record, if it has ended.
pub(in crate::flow) fn ended(number: u64, activation: &Activation) -> Option<Ended> {
    activation.end().map(|end| Ended { number, activation: activation.clone(), end: end.clone() })
}

/// The end of the activation of this record, if it has ended.
pub(in crate::flow) fn ended_on_record(recorded: &Recorded) -> Option<Ended> {
    ended(recorded.number, recorded.last()?)
}

/// The request of an activation. Where that is damaged, its journal tells the generation.
pub(in crate::flow) fn ordered(store: &Store, number: u64) -> Result<Option<ActivationRequest>, Problem> {
    store.order(number).or_else(|damaged| match store.activation(number)?.last() {
        Some(last) => Ok(Some(ActivationRequest { action: Action::Deploy, to: last.to })),
        None => Err(damaged),
    })
}

impl Context {
    /// Tells the host's journal how an activation ended, and the validation of the server after a rollback. A
    /// rehearsal is not told.
    pub(in crate::flow) fn notify(&self, ended: &Ended, returned: Option<&Report>) {
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
