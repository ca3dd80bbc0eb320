//! `status` and `generations`: the present state, read without changing anything.

use crate::{
    domain::{
        activation::running::Runs,
        digest::Sha256Digest,
        generation::Generation,
        generation_id::GenerationId,
        problem::Problem,
        service::account::{Account, why_not},
        validation::report::Report,
        vllm::startup_log::Reason,
    },
    flow::{
        activation::{ending, outcome::Action, probation},
        context::{Context, Executor},
        deploy::rollback,
        running,
    },
    host::{
        os::fs,
        store::{Evidence, Recorded},
        systemd::{service::Condition, transient_unit},
        vllm::running_server,
    },
};

use std::path::PathBuf;

/// The present state.
#[derive(Clone, Debug)]
pub struct Status {
    /// The current generation.
    pub current: Option<Generation>,
    /// Whether the current generation is proven.
    pub(crate) proven: bool,
    /// The condition of the service. Absent where there is none to ask.
    pub condition: Option<Condition>,
    /// The unit or process of an adopted server, if no deployment has replaced it yet.
    pub as_found: Option<AsFound>,
    /// The newest activation.
    pub(crate) last: Option<Recorded>,
    /// The newest validation of the current generation.
    pub(crate) report: Option<Report>,
    /// The end of the current generation's probation, if it goes on.
    pub(crate) watched_until: Option<jiff::Timestamp>,
    /// The running generation, as far as that can be told.
    pub(crate) runs: Runs,
    /// The profile of the running server.
    pub(crate) serving: Option<String>,
    /// Since when the service is what it is.
    pub since: Option<jiff::Timestamp>,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// Why it does not serve, if it does not.
    pub why_not: Option<String>,
    /// The request of the newest activation, and its profile.
    pub last_request: Option<(Action, String)>,
    /// The rollback target.
    pub rollback_target: Option<GenerationId>,
    /// The records that cannot be read, in one line each.
    pub damaged: Vec<String>,
    /// The models that were found damaged, and not repaired since, in one line each.
    pub damaged_models: Vec<String>,
}

/// The unit or process of an adopted server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsFound {
    /// The unit that somebody wrote, in this file.
    Unit(PathBuf),
    /// A process of no unit.
    Process(i32),
}

/// A generation and its standing.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The generation.
    pub(crate) generation: Generation,
    /// Whether it passed a validation, serves, and so on.
    pub(crate) standing: Standing,
    /// Whether a person wants to keep it.
    pub(crate) pinned: bool,
}

/// The standing of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Current and proven.
    Current,
    /// Current and on trial, or interrupted.
    Candidate,
    /// A rollback target.
    Proven,
    /// Never passed a validation.
    Unproven,
}

/// Reads the present state.
pub fn status(context: &mut Context) -> Result<Status, Problem> {
    let current = context.store.current_generation()?;
    let condition = match &current {
        // Without systemd there is nothing to ask: that is no problem of `status`.
        Some(current) => context.service_manager.observe(&current.plan.service).condition().ok(),
        None => None,
    };
    let as_found = current.as_ref().map(|current| as_found(context, current.id)).transpose()?.flatten();
    let condition = match as_found {
        // No service manager knows a process of no unit.
        Some(AsFound::Process(_)) => Some(Condition::Active),
        _ => condition,
    };
    let last = context.store.last_activation()?;
    let report = current.as_ref().map(|current| report_of(context, current.id)).transpose()?.flatten();
    let proven = match &current {
        Some(current) => context.store.known_good()?.contains(&current.id),
        None => false,
    };
    let watched_until = watched_until(context, current.as_ref(), last.as_ref());
    let runs =
        current.as_ref().map_or(Runs::Unknown, |current| running::runs(context, &current.plan.service));
    let damaged = context.store.damages()?;
    let damaged_models = context.store.damaged_models()?;
    let serving = current.as_ref().filter(|_| condition == Some(Condition::Active));
    let serving = serving.and_then(|current| match runs.other_than(Some(current.id)) {
        Some(other) => context.store.generation(other).ok().map(|other| other.plan.profile),
        None => Some(current.plan.profile.clone()),
    });
    let (account, why_not) = account(context, current.as_ref(), condition.as_ref());
    let since = account.since.and_then(|since| jiff::Timestamp::now().checked_sub(since).ok());
    let last_request = last.as_ref().and_then(|last| {
        let order = ending::ordered(&context.store, last.number).ok().flatten()?;
        Some((order.action, context.store.generation(order.to).ok()?.plan.profile))
    });
    let rollback_target = rollback::find(&context.store, &rollback::Target::Previous).ok().map(|to| to.id);
    Ok(Status {
        current,
        proven,
        condition,
        as_found,
        last,
        report,
        watched_until,
        runs,
        serving,
        since,
        restarts: account.restarts,
        why_not,
        last_request,
        rollback_target,
        damaged,
        damaged_models,
    })
}

/// Log lines among which the cause of its end is looked for.
const LOG_LINES: u32 = 200;

/// How the service came to be what it is, and why it does not serve. Where nobody can be asked, nothing.
fn account(
    context: &mut Context,
    current: Option<&Generation>,
    condition: Option<&Condition>,
) -> (Account, Option<String>) {
    let Some(current) = current else { return (Account::default(), None) };
    let mut services = context.service_manager.observe(&current.plan.service);
    let account = services.account().unwrap_or_default();
    let Some(Condition::Changing(state) | Condition::Down(state)) = condition else {
        return (account, None);
    };
    // The log tells of the run that ended, also where the last one ended well.
    let failed = !matches!(account.result.as_str(), "" | "success");
    let log = if failed { services.log_tail(LOG_LINES).unwrap_or_default() } else { String::new() };
    let engine = Reason::among(log.lines()).map(|reason| reason.to_string());
    let why_not = why_not(state, &account, engine.as_deref());
    (account, Some(why_not))
}

/// Names the unit or process that still runs an adopted generation, until a deployment has replaced it.
fn as_found(context: &Context, id: GenerationId) -> Result<Option<AsFound>, Problem> {
    let Some(adopted) = context.store.adopted(id).unwrap_or_default() else { return Ok(None) };
    Ok(match adopted.unit {
        Some(unit) => {
            let now = fs::read_bytes(&unit.path)?.map(Sha256Digest::of);
            (now == Some(unit.digest)).then_some(AsFound::Unit(unit.path))
        }
        None => running_server::lives(&adopted.process).then_some(AsFound::Process(adopted.process.pid)),
    })
}

/// The end of the probation, if its worker still runs.
fn watched_until(
    context: &Context,
    current: Option<&Generation>,
    last: Option<&Recorded>,
) -> Option<jiff::Timestamp> {
    let (Executor::ServiceManager, current, last) = (context.executor, current?, last?) else {
        return None;
    };
    let until = probation::closes(last, &current.plan)?;
    // Without a service manager to ask, there is no probation.
    transient_unit::runs(&current.plan.service, last.number, context.layout().scope())
        .unwrap_or_default()
        .then_some(until)
}

/// All generations, oldest first.
pub(crate) fn generations(context: &Context) -> Result<Vec<Listed>, Problem> {
    let proven = context.store.known_good()?;
    let current = context.store.current()?;
    let standing = |id| match id {
        id if current == Some(id) && proven.contains(&id) => Standing::Current,
        id if current == Some(id) => Standing::Candidate,
        id if proven.contains(&id) => Standing::Proven,
        _ => Standing::Unproven,
    };
    let pins = context.store.pinned()?;
    let listed = |generation: Generation| {
        let (standing, pinned) = (standing(generation.id), pins.contains(&generation.id));
        Listed { generation, standing, pinned }
    };
    Ok(context.store.generations()?.into_iter().map(listed).collect())
}

fn report_of(context: &Context, id: GenerationId) -> Result<Option<Report>, Problem> {
    for recorded in context.store.activations()?.into_iter().rev() {
        for evidence in [Evidence::Returned, Evidence::Candidate] {
            // A damaged report is among the damages.
            let report = context.store.report(recorded.number, evidence).unwrap_or_default();
            if report.as_ref().is_some_and(|report| report.generation == Some(id)) {
                return Ok(report);
            }
        }
    }
    Ok(None)
}
