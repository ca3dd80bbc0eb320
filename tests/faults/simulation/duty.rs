//! The work of each process that holds the root's lock: the glue around `flow::activation::driver`, as the stories
//! have it.

use super::schedule::Act;
use crate::{
    host::{Machine, Played},
    room::elsewhere,
};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, End, rollback_target},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::activation::{
        driver::{self, ResumePolicy, activate, not_stuck},
        outcome::Ended,
    },
    host::{
        os::fs,
        store::{StoreWriter, journal},
    },
};
use std::time::Duration;

/// How a command ended, as its exit status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    AlreadySo,
    WentBack,
    Stuck,
    Busy,
    Overtaken,
    Refused,
    /// Nobody was told.
    Lost,
}

impl Exit {
    pub(super) fn of(end: &End) -> Self {
        match end {
            End::Committed => Self::Done,
            End::RolledBack { .. } => Self::WentBack,
            End::Stuck { .. } => Self::Stuck,
        }
    }

    pub(super) fn of_problem(problem: &Problem) -> Self {
        match problem.kind {
            Kind::Busy => Self::Busy,
            Kind::Stuck => Self::Stuck,
            _ => Self::Refused,
        }
    }

    /// Why this is not how it ended, by the records.
    pub(super) fn contradicts(self, last: &Activation, current: Option<GenerationId>) -> Option<String> {
        let serves = match self {
            Self::Done => Some(last.to),
            Self::WentBack => last.from,
            _ => return None,
        };
        (current != serves).then(|| format!("{current:?} is current, and {serves:?} is to be"))
    }
}

/// Does what `deploy` and `rollback` do before the activation. Returns its number, or nothing where it is so already.
pub(super) fn order(machine: &Machine, act: Act) -> Result<Option<u64>, Problem> {
    let store = &machine.store;
    let writer = store.writer(Duration::ZERO, "a person")?;
    undo(machine, &writer, ResumePolicy::Finish, false)?;
    let stuck = not_stuck(store.last_activation()?.as_ref());
    let proven = store.known_good()?;
    let current = store.current()?;
    let to = match act {
        Act::Rollback => proven.into_iter().rfind(|id| current.is_none_or(|current| *id < current)),
        Act::Again => current.filter(|current| proven.contains(current)),
        _ => {
            stuck?;
            let there = fs::names(&store.layout().generations())?;
            let newest = there.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0);
            let id = GenerationId(newest + 1);
            fs::make_directory(&store.layout().generation(id))?;
            return writer.order(&ActivationRequest { action: Action::Deploy, to: id }).map(Some);
        }
    };
    let to = to.ok_or_else(|| Problem::new(Kind::Usage, "no generation passed its validation"))?;
    if machine.running.get() == Some(to) && stuck.is_ok() && current == Some(to) {
        return Ok(None);
    }
    writer.order(&ActivationRequest { action: Action::Rollback, to }).map(Some)
}

/// Runs the worker, as the service manager does. It begins where the records say.
pub(super) fn conduct(machine: &Machine, number: u64, act: Act) -> Result<Option<Ended>, Problem> {
    let store = &machine.store;
    let writer = store.writer(Duration::ZERO, "an activation")?;
    let recorded = store.activation(number)?;
    let Some(last) = recorded.last() else {
        let last = store.last_activation()?;
        if last.as_ref().is_some_and(|last| last.number > number) {
            return Err(overtaken());
        }
        undo(machine, &writer, ResumePolicy::Finish, false)?;
        if act == Act::Deploy {
            not_stuck(last.as_ref())?;
        }
        let ActivationRequest { to, .. } =
            store.order(number)?.ok_or_else(|| Problem::new(Kind::Usage, "nothing was ordered"))?;
        let activation =
            Activation::new(rollback_target(&store.returnable()?, store.current()?, Some(to)), to);
        let interrupt = machine.interrupt.borrow().clone();
        let mut host = Played::new(machine, &writer);
        return activate(&writer, number, activation, &mut host, &interrupt, &|_| ()).map(Some);
    };
    // Whoever wrote its last record may have died before that was on the disk. From here on it is believed.
    writer.journal(number)?;
    if let Some(end) = last.end().cloned() {
        return Ok(Some(Ended { number, activation: last.clone(), end }));
    }
    undo(machine, &writer, ResumePolicy::Finish, false)?
        .filter(|ended| ended.number == number)
        .ok_or_else(overtaken)
        .map(Some)
}

/// Rolls back as the process that watches does once it has seen enough.
pub(super) fn withdraw(machine: &Machine, number: u64) -> Result<Option<Ended>, Problem> {
    let store = &machine.store;
    let writer = store.writer(Duration::ZERO, "a watcher")?;
    let last = store.last_activation()?.filter(|last| last.number == number);
    match last.as_ref().and_then(|last| last.last()) {
        Some(last) if last.end() == Some(&End::Committed) => {
            let host = |_, _: &Activation| Ok(Played::new(machine, &writer));
            driver::withdraw(&writer, "it hangs".to_owned(), host, &|_| ())
        }
        Some(last) if last.next().is_some() => undo(machine, &writer, ResumePolicy::Finish, false),
        _ => Ok(None),
    }
}

/// Does what `recover` does.
pub(super) fn recover(machine: &Machine) -> Result<Option<Ended>, Problem> {
    let writer = machine.store.writer(Duration::ZERO, "a person")?;
    undo(machine, &writer, ResumePolicy::Unstick, false)
}

/// Does what `recover` does at boot.
pub(super) fn recover_at_boot(machine: &Machine) -> Result<Option<Ended>, Problem> {
    let writer = machine.store.writer(Duration::ZERO, "the boot")?;
    undo(machine, &writer, ResumePolicy::Finish, true)
}

fn undo(
    machine: &Machine,
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
    boot: bool,
) -> Result<Option<Ended>, Problem> {
    let host = |_, _: &Activation| {
        Ok(if boot { Played::at_boot(machine, writer) } else { Played::new(machine, writer) })
    };
    driver::recover(writer, left, host, &|_| ())
}

/// The answer of the worker to an order that another activation came before.
const OVERTAKEN: &str = "another activation came before";

fn overtaken() -> Problem {
    Problem::new(Kind::Busy, OVERTAKEN)
}

pub(super) fn is_overtaken(problem: &Problem) -> bool {
    problem.what == OVERTAKEN
}

/// Sets the host's clock: everything on record is older or younger by so much.
pub(super) fn set_clock(machine: &Machine, seconds: i64) {
    let activations = machine.store.layout().activations();
    let numbers = fs::names(&activations).expect("the root can be read");
    for path in numbers
        .iter()
        .map(|number| activations.join(number).join(journal::NAME))
        .filter(|path| path.is_file())
    {
        let text = std::fs::read_to_string(&path).expect("the root can be read");
        // An end in the middle stays so.
        let lines =
            text.split_inclusive('\n').map(|line| match serde_json::from_str::<serde_json::Value>(line) {
                Ok(mut entry) => {
                    let at = entry["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
                    let at = at.and_then(|at| at.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok());
                    entry["at"] = at.map(|at| at.to_string()).into();
                    format!("{entry}\n")
                }
                Err(_) => line.to_owned(),
            });
        let text = lines.collect::<String>();
        elsewhere(|| std::fs::write(&path, text)).expect("the root can be written");
        machine.changed(&path);
    }
}
