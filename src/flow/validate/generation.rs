//! Validates a running generation, or measures it as a baseline.

use super::{
    Subject,
    reference::{Record, ReferenceFile},
};
use crate::{
    domain::{
        digest::Sha256Digest,
        generation::Generation,
        generation_id::GenerationId,
        measure::Throughput,
        planning::plan::Plan,
        problem::{Kind, Problem},
        validation::{
            report::Report,
            sequential, spread,
            verdict::{Basis, NotJudged, not_judgeable},
        },
    },
    flow::{
        context::Context,
        event::{Event, Observer},
        running, validate,
    },
    host::{
        os::signals::Interrupt,
        process::owned::OwnedProcesses,
        store::{Evidence, Store, StoreWriter},
        systemd::service::Condition,
        vllm::{api::Api, running_server},
    },
};
use std::collections::BTreeMap;

/// The references that a running generation is compared with, beside what is on record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside<'a> {
    /// The just measured baseline.
    pub(crate) live: Option<&'a Report>,
    /// A report that tells what the model should expect.
    pub(crate) file: Option<&'a ReferenceFile>,
}

/// Validates a running generation, against the just measured baseline, or else the last good measurement on
/// record. It takes minutes on a large model, so a signal ends it: then there is no report.
pub(crate) fn report(
    store: &Store,
    plan: &Plan,
    generation: GenerationId,
    whose: OwnedProcesses,
    beside: Beside<'_>,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<Report, Problem> {
    let Beside { live, file } = beside;
    let stored = match (&plan.gates.baseline, live) {
        (Some(baseline), None) => store.last_passed(&baseline.profile)?,
        _ => None,
    };
    // The newest good answers of this service: what clients are used to.
    let previous = store.last_good(|report| !report.shapes.0.is_empty())?.map(|report| report.shapes);
    let basis = live.map(Basis::Live).or(stored.as_ref().map(Basis::Stored));
    let api = Api::of(plan, whose)?;
    let record = match (file, plan.model.digest) {
        (Some(file), weights) => Some(file.record(weights)),
        (None, Some(weights)) if plan.gates.min_known_answers.is_some() => {
            same_weights(store, weights, live)?
        }
        (None, _) => None,
    };
    let reference = record.as_ref().and_then(Record::reference);
    let start_spread = start_spread(store)?;
    let subject = Subject { start_spread, reference, ..Subject::generation(generation, plan) };
    let validation = validate::validate(&api, subject, basis, previous.as_ref(), observer);
    interrupt.drive(validation)
}

/// The newest record of what a model of these weights expects: of the server that is replaced, else a stored one.
fn same_weights(
    store: &Store,
    weights: Sha256Digest,
    live: Option<&Report>,
) -> Result<Option<Record>, Problem> {
    let live = live.filter(|report| report.records(weights)).cloned();
    let report = match live {
        Some(report) => Some(report),
        None => store.last_good(|report| report.records(weights))?,
    };
    Ok(report.map(|report| Record::of_weights(&report)))
}

/// Measures the baseline of `plan` if that runs now: with the same client and prompts, on the same host,
/// minutes before. A server that cannot be measured is replaced all the same; the last measurement on record
/// stands in for it.
pub(crate) fn baseline(context: &mut Context, plan: &Plan) -> Result<Option<Report>, Problem> {
    // A generation whose record is damaged cannot be measured, and is replaced all the same.
    let Some(current) = context.store.current()?.and_then(|id| context.store.generation(id).ok()) else {
        return Ok(None);
    };
    if running::runs(context, &current.plan.service).other_than(Some(current.id)).is_some() {
        return Ok(None);
    }
    let wanted = plan.gates.baseline.as_ref().is_some_and(|wanted| wanted.profile == current.plan.profile);
    if !wanted || context.service_manager.observe(&current.plan.service).condition()? != Condition::Active {
        return Ok(None);
    }
    context.tell(Event::Stage(format!("measure {}, which serves now", current.plan.profile)));
    let api = Api::of(&current.plan, whose(context, &current)?)?;
    let generation = Some(current.id);
    let weights = current.plan.model.digest;
    let subject = Subject {
        generation,
        name: &current.plan.profile,
        gates: &plan.gates,
        argv: None,
        start_spread: start_spread(&context.store)?,
        weights,
        reference: None,
    };
    let measured = context.interrupt.drive(validate::measure(&api, subject, &*context.observer))?;
    // The slower measurements are those of its last passed validation, unless that asked for less.
    let mut proven = context.store.last_passed(&current.plan.profile)?.unwrap_or_default();
    let enough =
        plan.gates.min_known_answers.is_none() || weights.is_some_and(|weights| proven.records(weights));
    if !enough && measured.is_ok() {
        context.tell(Event::Stage(format!("ask {}, which serves now", current.plan.profile)));
        let now = context.interrupt.drive(validate::quality_of(&api, subject, &*context.observer))?;
        proven.quality = now.or(proven.quality);
    }
    Ok(match measured {
        // A quiet measurement on record tells more than one beside users, where it tells all that is compared.
        Ok(live) if enough && is_quieter(&proven, &live) => {
            context.tell(Event::Warning(format!(
                "{} was measured beside {:.0} users: its last measurement without any stands in",
                current.plan.profile,
                beside(&live)
            )));
            None
        }
        Ok(live) => Some(Report { quality: proven.quality, sweep: proven.sweep, ..live }),
        Err(why) => {
            context.tell(Event::Warning(format!("{} was not measured: {why}", current.plan.profile)));
            None
        }
    })
}

fn beside(report: &Report) -> f64 {
    report.throughput.as_ref().map_or(0.0, Throughput::beside)
}

/// Whether `proven` was measured without users, and `live` was not.
fn is_quieter(proven: &Report, live: &Report) -> bool {
    beside(live) > 0.0 && proven.throughput.is_some() && beside(proven) == 0.0
}

/// Refuses a comparison that cannot decide before anything is touched; returns what a candidate of this plan is
/// compared with, or nothing.
///
/// # Errors
/// [`Kind::Refused`] where the profile requires what cannot be judged.
pub fn judgeable(context: &Context, plan: &Plan, live: Option<&Report>) -> Result<(), Problem> {
    let Some(baseline) = &plan.gates.baseline else { return Ok(()) };
    let stored = if live.is_none() { context.store.last_passed(&baseline.profile)? } else { None };
    let basis = live.map(Basis::Live).or(stored.as_ref().map(Basis::Stored));
    let mut open = not_judgeable(&plan.gates, basis);
    let theirs = basis.and_then(|basis| basis.throughput(&plan.gates)?.run());
    let power = theirs
        .as_ref()
        .map_or(0.0, |theirs| sequential::power(theirs, baseline.min_ratio, plan.gates.repetitions));
    let (requests, users) = theirs.as_ref().map_or((0, 0.0), |theirs| (theirs.rates.len(), theirs.beside));
    let beside = if users > 0.0 { format!(", beside {users:.0} users,") } else { String::new() };
    let sound = format!(
        "after {requests} requests{beside} `{}` is known so badly that a candidate just as fast would pass in {:.0} % of cases",
        baseline.profile,
        power * 100.0
    );
    match power {
        _ if theirs.is_none() => {}
        power if live.is_some() && power < sequential::LEAST_POWER => {
            open.push(NotJudged { why: sound, fails: baseline.required });
        }
        power if power < sequential::LEAST_POWER => context.tell(Event::Warning(sound)),
        _ => {}
    }
    let failing: Vec<&str> = open.iter().filter(|open| open.fails).map(|open| &*open.why).collect();
    if !failing.is_empty() {
        return Err(Problem::new(Kind::Refused, failing.join("; ")).help(format!(
            "nothing was stopped; deploy `{0}` first, so that it is measured, try again when it is less busy, or write \
             `required = false` into `[validation.baseline]` of `{1}`",
            baseline.profile, plan.profile
        )));
    }
    for NotJudged { why, .. } in open {
        context.tell(Event::Warning(why));
    }
    Ok(())
}

/// How much starts of a server differ on this host: by the validations of generations that were started several times.
///
/// # Errors
/// Where the store cannot be read.
pub(in crate::flow) fn start_spread(store: &Store) -> Result<f64, Problem> {
    let mut starts: BTreeMap<GenerationId, Vec<f64>> = BTreeMap::new();
    for recorded in store.activations()? {
        for evidence in [Evidence::Candidate, Evidence::Returned] {
            // A damaged report is skipped.
            let report = store.report(recorded.number, evidence).unwrap_or_default();
            let Some((generation, speed)) =
                report.and_then(|report| report.generation.zip(report.throughput))
            else {
                continue;
            };
            if speed.beside() == 0.0 && speed.requests > 1 {
                starts.entry(generation).or_default().push(speed.decode_tokens_per_second.median);
            }
        }
    }
    Ok(spread::start_spread(starts.values().map(Vec::as_slice)))
}

/// Validates what was returned to, and keeps the report. Its outcome changes nothing more: there is nowhere else
/// to go.
pub(in crate::flow) fn validate_returned(
    writer: &StoreWriter<'_>,
    number: u64,
    generation: GenerationId,
    whose: OwnedProcesses,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let plan = writer.store().generation(generation)?.plan;
    // Ctrl-C does not end this: the state of the old server is worth knowing.
    let patient = Interrupt::default();
    let report = report(writer.store(), &plan, generation, whose, Beside::default(), &patient, observer)?;
    writer.keep_report(number, Evidence::Returned, &report)
}

/// The processes that may answer for the running server: those of its unit, or, while no unit runs it, the
/// adopted process with its descendants.
pub(in crate::flow) fn whose(context: &Context, current: &Generation) -> Result<OwnedProcesses, Problem> {
    match context.service_manager.processes(&current.plan.service)? {
        OwnedProcesses::Nobody => {
            let adopted =
                context.store.adopted(current.id)?.filter(|adopted| running_server::lives(&adopted.process));
            Ok(adopted.map_or(OwnedProcesses::Nobody, |adopted| OwnedProcesses::Family(adopted.process.pid)))
        }
        whose => Ok(whose),
    }
}
