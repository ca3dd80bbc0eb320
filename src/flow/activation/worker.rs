//! `activate`: the worker that the service manager runs for an activation. It begins where the records end,
//! so that being killed and restarted only leads to a rollback.

use super::{
    driver::{self, ResumePolicy},
    ending::{self, ended, ended_on_record, ordered},
    follow,
    outcome::{Ended, Outcome},
    panicked, probation,
    recover::{self, Busy},
    run,
};
use crate::{
    domain::{
        activation::request::{Action, ActivationRequest},
        problem::{Kind, Problem},
    },
    flow::{
        context::Context,
        event::{Event, Observer},
        lock_wait::{self, LOCK_PATIENCE},
    },
    host::{
        os::watchdog,
        store::{Recorded, Store, StoreWriter, transcript::Transcript},
    },
};
use std::{rc::Rc, time::Duration};

/// The part of an activation to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole activation.
    Whole,
    /// The rest that a dead process left: nothing is begun.
    Rest,
}

/// Carries out the requested activation of this number, and writes every event to its transcript too. Nothing
/// if there is nothing left to do.
pub fn activation(context: &mut Context, number: u64, part: Part) -> Result<Option<Outcome>, Problem> {
    let store = context.store.clone();
    let order = ordered(&store, number)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("nothing is on record that activation {number} is to do"))
            .help("`awqdeploy deploy PROFILE` orders one, and has the service manager carry it out")
    })?;
    // A full disk must not prevent a rollback: what cannot be told is done all the same.
    let transcript = Transcript::open(&store.layout().activation(number)).ok();
    // systemd listens to the main process of a unit alone. Where another one ends, `Restart=` goes on.
    match part {
        Part::Whole => watchdog::begin(),
        Part::Rest => watchdog::guard(watchdog::HUNG_AFTER),
    }
    let screen = Rc::clone(&context.observer);
    context.observer = Rc::new({
        let screen = Rc::clone(&screen);
        move |event: Event| {
            watchdog::beat();
            let _untold = transcript.as_ref().map(|transcript| transcript.add(&event));
            screen.see(event);
        }
    });
    let outcome = run_and_watch(context, number, order, part);
    context.observer = screen;
    outcome
}

fn run_and_watch(
    context: &mut Context,
    number: u64,
    order: ActivationRequest,
    part: Part,
) -> Result<Option<Outcome>, Problem> {
    let layout = context.layout().clone();
    let carried = panicked::noting(&layout, number, || run(context, number, order, part));
    let outcome = announced(context, carried)?;
    match part {
        Part::Rest => Ok(outcome),
        Part::Whole if panicked::too_often(&layout, number)?.is_some() => Ok(outcome),
        Part::Whole => {
            let watched = panicked::noting(&layout, number, || probation::watch(context, number, order));
            Ok(announced(context, watched)?.or(outcome))
        }
    }
}

/// Tells the observer of an outcome.
fn announced(
    context: &Context,
    outcome: Result<Option<Outcome>, Problem>,
) -> Result<Option<Outcome>, Problem> {
    match &outcome {
        Ok(Some(outcome)) => context.tell(Event::Ended(outcome.conclusion())),
        Ok(None) => {}
        Err(problem) => context.tell(Event::Refused {
            kind: problem.kind,
            what: problem.in_one_line(),
            help: problem.help.clone(),
        }),
    }
    outcome
}

fn run(
    context: &mut Context,
    number: u64,
    order: ActivationRequest,
    part: Part,
) -> Result<Option<Outcome>, Problem> {
    let store = context.store.clone();
    // A finished worker keeps nobody waiting: the next command may come before this process is gone.
    if is_over(&store, number)? {
        return Ok(None);
    }
    let Some(writer) = lock(context, &store, number, order)? else {
        return Err(driver::next_boot_goes_back());
    };
    let recorded = store.activation(number)?;
    let given_up = panicked::too_often(store.layout(), number)?;
    if recorded.says_anything() {
        // The writer of the last record may have died before that was on the disk. From here on it is
        // believed.
        writer.journal(number)?;
    }
    let ended = match (recorded.last().and_then(|last| ended(number, last)), part, given_up) {
        (None, _, Some(why)) => give_up(&writer, &recorded, why, &*context.observer)?,
        (None, Part::Rest, None) if !recorded.says_anything() => return Ok(None),
        (None, Part::Whole, None) if !recorded.says_anything() => {
            return begin(context, &writer, number, order).map(Some);
        }
        (Some(_), ..) if follow::end_was_told(&store, number)? => return Ok(None),
        (Some(ended), ..) => ended,
        (None, ..) => recover::undo(context, &writer, ResumePolicy::Finish, Busy::Waits)?
            .filter(|ended| ended.number == number)
            .ok_or_else(|| overtaken(number))?,
    };
    ending::close(context, &writer, &ended)?;
    ending::outcome(&store, order, ended).map(Some)
}

/// Ends an activation that nobody can carry out, as stuck. Where it has no readable record nothing was
/// touched, and the event says so.
fn give_up(
    writer: &StoreWriter<'_>,
    recorded: &Recorded,
    why: String,
    observer: &dyn Observer,
) -> Result<Ended, Problem> {
    let Some(activation) = recorded.last() else {
        return Err(Problem::new(Kind::Stuck, why)
            .help("nothing was touched; `journalctl -t awqdeploy` has what it said"));
    };
    let activation = activation.clone().given_up(why);
    writer.journal(recorded.number)?.record(&activation)?;
    observer.see(Event::Activation { aim: None, state: activation.state.clone() });
    ended(recorded.number, &activation).ok_or_else(|| overtaken(recorded.number))
}

/// Takes the root's lock. An activation that has begun must roll back, and waits however long that takes;
/// nothing where the host goes down meanwhile. One that has not begun is refused in the end.
fn lock<'a>(
    context: &mut Context,
    store: &'a Store,
    number: u64,
    order: ActivationRequest,
) -> Result<Option<StoreWriter<'a>>, Problem> {
    let command = told(store, order);
    if !goes_on(store, number)? {
        match store.writer(LOCK_PATIENCE, &command) {
            // Another process may have begun it.
            Err(problem) if problem.kind == Kind::Busy && goes_on(store, number)? => {}
            writer => return writer.map(Some),
        }
    }
    lock_wait::take(context, |_| store.writer(Duration::ZERO, &command), |_| true)
}

/// Whether an activation has begun, and has no end.
pub(crate) fn goes_on(store: &Store, number: u64) -> Result<bool, Problem> {
    let recorded = store.activation(number)?;
    Ok(recorded.says_anything() && ended_on_record(&recorded).is_none())
}

/// Whether an activation has an end that its transcript tells.
fn is_over(store: &Store, number: u64) -> Result<bool, Problem> {
    Ok(ended_on_record(&store.activation(number)?).is_some() && follow::end_was_told(store, number)?)
}

/// The description of this process for others.
fn told(store: &Store, order: ActivationRequest) -> String {
    let profile =
        store.generation(order.to).map_or_else(|_| order.to.to_string(), |found| found.plan.profile);
    match order.action {
        Action::Deploy => format!("awqdeploy deploy {profile}"),
        Action::Rollback => format!("awqdeploy rollback {profile}"),
    }
}

fn begin(
    context: &mut Context,
    writer: &StoreWriter<'_>,
    number: u64,
    order: ActivationRequest,
) -> Result<Outcome, Problem> {
    let last = writer.store().last_activation()?;
    if last.as_ref().is_some_and(|last| last.number > number) {
        return Err(overtaken(number));
    }
    recover::finish(context, writer, ResumePolicy::Finish)?;
    if order.action == Action::Deploy {
        driver::not_stuck(last.as_ref())?;
    }
    run::execute_here(context, writer, number, order)
}

/// The problem that another activation came in between: what was checked for this one may no longer hold.
fn overtaken(number: u64) -> Problem {
    Problem::new(
        Kind::Busy,
        format!("another activation came before activation {number}; nothing was touched"),
    )
    .help("`awqdeploy status` shows which generation serves; give the command again if it is still wanted")
}
