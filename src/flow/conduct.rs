//! `activate`: what the service manager runs to carry out an activation. It begins where the records say, so that
//! being killed and started again only ever leads back.

use super::{
    activate::{self, Ended, Left},
    carry,
    event::{Event, Observer},
    follow,
    outcome::Outcome,
    panicked, recover, window,
    world::World,
};
use crate::{
    domain::{
        activation::Activation,
        order::{Action, Order},
        problem::{Kind, Problem},
    },
    host::{
        pulse,
        store::{Locked, Recorded},
        transcript::Transcript,
    },
};
use std::time::Duration;

/// How long the lock may still be held by whoever gave the order, or by one that was killed and is not gone yet.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How much of an activation is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// What a process that died left: nothing is begun.
    Rest,
}

/// Carries out the activation of this number as it was ordered, and tells everything to its transcript too.
/// Nothing if there is nothing left to do.
pub fn activation(
    world: &mut World,
    number: u64,
    part: Part,
    observer: &dyn Observer,
) -> Result<Option<Outcome>, Problem> {
    let store = world.store.clone();
    let order = store.order(number)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("nothing is on record that activation {number} is to do"))
            .help("`awqdeploy deploy PROFILE` orders one, and has the service manager carry it out")
    })?;
    let transcript = Transcript::open(&store.layout().activation(number))?;
    // systemd listens to the main process of a unit alone.
    if part == Part::Whole {
        pulse::begin();
    }
    let telling = |event: Event| {
        pulse::beat();
        // A full disk must not keep anybody from going back.
        let _untold = transcript.add(&event);
        observer.see(event);
    };
    let layout = store.layout();
    let carried = panicked::noting(layout, number, || carry(world, number, order, part, &telling));
    let outcome = tell(carried, &telling)?;
    match part {
        Part::Rest => Ok(outcome),
        Part::Whole if panicked::too_often(layout, number)?.is_some() => Ok(outcome),
        // Whatever signal came is not one to go back any more.
        Part::Whole => {
            let watched = panicked::noting(layout, number, || window::watch(world, number, order, &telling));
            Ok(tell(watched, &telling)?.or(outcome))
        }
    }
}

fn tell(
    outcome: Result<Option<Outcome>, Problem>,
    telling: &dyn Observer,
) -> Result<Option<Outcome>, Problem> {
    match &outcome {
        Ok(Some(outcome)) => telling.see(Event::Ended(outcome.conclusion())),
        Ok(None) => {}
        Err(problem) => telling.see(Event::Refused {
            kind: problem.kind,
            what: problem.in_one_line(),
            help: problem.help.clone(),
        }),
    }
    outcome
}

fn carry(
    world: &mut World,
    number: u64,
    order: Order,
    part: Part,
    observer: &dyn Observer,
) -> Result<Option<Outcome>, Problem> {
    let store = world.store.clone();
    let locked = store.lock(LOCK_PATIENCE, &told(world, order)?)?;
    let recorded = store.activation(number)?;
    let given_up = panicked::too_often(store.layout(), number)?;
    let ended = match (recorded.last(), part) {
        (Some(activation), _) if given_up.is_some() && activation.end().is_none() => {
            let activation = activation.clone().given_up(given_up.unwrap_or_default());
            locked.journal(number)?.record(&activation)?;
            observer.see(Event::Activation { aim: None, state: activation.state.clone() });
            ended(number, &activation).ok_or_else(|| overtaken(number))?
        }
        (None, _) if given_up.is_some() => {
            return Err(Problem::new(Kind::Stuck, given_up.unwrap_or_default())
                .help("nothing was touched; `journalctl -t awqdeploy` has what it said"));
        }
        (None, Part::Rest) => return Ok(None),
        (None, Part::Whole) => return begin(world, &locked, number, order, observer).map(Some),
        (Some(activation), _) => match ended(number, activation) {
            Some(_) if follow::end_was_told(&store, number)? => return Ok(None),
            Some(ended) => ended,
            None => recover::undo(world, &locked, Left::Finish, observer)?
                .filter(|ended| ended.number == number)
                .ok_or_else(|| overtaken(number))?,
        },
    };
    carry::close(world, &locked, &ended, observer)?;
    carry::outcome(&store, order, ended).map(Some)
}

/// What others are told that this process does.
fn told(world: &World, order: Order) -> Result<String, Problem> {
    let profile = world.store.generation(order.to)?.plan.profile;
    Ok(match order.action {
        Action::Deploy => format!("awqdeploy deploy {profile}"),
        Action::Rollback => format!("awqdeploy rollback {profile}"),
    })
}

fn begin(
    world: &mut World,
    locked: &Locked<'_>,
    number: u64,
    order: Order,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    let last = locked.store().last_activation()?;
    if last.as_ref().is_some_and(|last| last.number > number) {
        return Err(overtaken(number));
    }
    recover::finish(world, locked, Left::Finish, observer)?;
    if order.action == Action::Deploy {
        activate::not_stuck(last.as_ref())?;
    }
    carry::conduct(world, locked, number, order, observer)
}

/// Since the order was given somebody else has activated something: what was checked for it holds no more.
fn overtaken(number: u64) -> Problem {
    Problem::new(
        Kind::Busy,
        format!("another activation came before activation {number}; nothing was touched"),
    )
    .help("`awqdeploy status` shows what serves; give the command again if it is still wanted")
}

/// How an activation on record ended, if it has.
pub(super) fn ended(number: u64, activation: &Activation) -> Option<Ended> {
    activation.end().map(|end| Ended { number, activation: activation.clone(), end: end.clone() })
}

/// The same of everything that is on record of one.
pub(super) fn ended_on_record(recorded: &Recorded) -> Option<Ended> {
    ended(recorded.number, recorded.last()?)
}
