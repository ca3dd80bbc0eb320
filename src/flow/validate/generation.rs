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
        measure::stats::rates,
        planning::plan::Plan,
        problem::{Kind, Problem},
        validation::{
            report::Report,
            sequential,
            verdict::{Basis, NotJudged, not_judgeable},
        },
    },
    flow::{
        context::World,
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

/// What a running generation is compared with, beside what is on record.
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
    let subject = Subject { reference, ..Subject::generation(generation, plan) };
    interrupt.drive(validate::validate(&api, subject, basis, previous.as_ref(), observer))
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
pub(crate) fn baseline(
    world: &mut World,
    plan: &Plan,
    observer: &dyn Observer,
) -> Result<Option<Report>, Problem> {
    // A generation whose record is damaged cannot be measured, and is replaced all the same.
    let Some(current) = world.store.current()?.and_then(|id| world.store.generation(id).ok()) else {
        return Ok(None);
    };
    if running::runs(world, &current.plan.service).other_than(Some(current.id)).is_some() {
        return Ok(None);
    }
    let wanted = plan.gates.baseline.as_ref().is_some_and(|wanted| wanted.profile == current.plan.profile);
    if !wanted || world.service_manager.observe(&current.plan.service).condition()? != Condition::Active {
        return Ok(None);
    }
    observer.see(Event::Stage(format!("measure {}, which serves now", current.plan.profile)));
    let api = Api::of(&current.plan, whose(world, &current)?)?;
    let generation = Some(current.id);
    let weights = current.plan.model.digest;
    let subject = Subject {
        generation,
        name: &current.plan.profile,
        gates: &plan.gates,
        argv: None,
        weights,
        reference: None,
    };
    let measured = world.interrupt.drive(validate::measure(&api, subject, observer))?;
    // The slower measurements are those of its last passed validation, unless that asked for less.
    let mut proven = world.store.last_passed(&current.plan.profile)?.unwrap_or_default();
    let asked = weights.is_some_and(|weights| proven.records(weights));
    if !asked && plan.gates.min_known_answers.is_some() && measured.is_ok() {
        observer.see(Event::Stage(format!("ask {}, which serves now", current.plan.profile)));
        let now = world.interrupt.drive(validate::quality_of(&api, subject, observer))?;
        proven.quality = now.or(proven.quality);
    }
    Ok(measured
        .map(|report| Report { quality: proven.quality, sweep: proven.sweep, ..report })
        .map_err(|why| {
            observer.see(Event::Warning(format!("{} was not measured: {why}", current.plan.profile)));
        })
        .ok())
}

/// What a candidate of this plan is compared with is told before anything is touched: nothing, or what cannot decide.
///
/// # Errors
/// [`Kind::Refused`] where the profile requires what cannot be judged.
pub fn judgeable(
    world: &World,
    plan: &Plan,
    live: Option<&Report>,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let Some(baseline) = &plan.gates.baseline else { return Ok(()) };
    let stored = if live.is_none() { world.store.last_passed(&baseline.profile)? } else { None };
    let basis = live.map(Basis::Live).or(stored.as_ref().map(Basis::Stored));
    let mut open = not_judgeable(&plan.gates, basis);
    let theirs = basis.and_then(|basis| rates(&basis.throughput(&plan.gates)?.samples)).unwrap_or_default();
    let power = sequential::power(&theirs, baseline.min_ratio, plan.gates.repetitions);
    let sound = format!(
        "after {} requests `{}` is known so badly that a candidate just as fast would pass in {:.0} % of cases",
        theirs.len(),
        baseline.profile,
        power * 100.0
    );
    match power {
        _ if theirs.is_empty() => {}
        power if live.is_some() && power < sequential::LEAST_POWER => {
            open.push(NotJudged { why: sound, fails: baseline.required });
        }
        power if power < sequential::LEAST_POWER => observer.see(Event::Warning(sound)),
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
        observer.see(Event::Warning(why));
    }
    Ok(())
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
pub(in crate::flow) fn whose(world: &World, current: &Generation) -> Result<OwnedProcesses, Problem> {
    match world.service_manager.processes(&current.plan.service)? {
        OwnedProcesses::Nobody => {
            let adopted =
                world.store.adopted(current.id)?.filter(|adopted| running_server::lives(&adopted.process));
            Ok(adopted.map_or(OwnedProcesses::Nobody, |adopted| OwnedProcesses::Family(adopted.process.pid)))
        }
        whose => Ok(whose),
    }
}
