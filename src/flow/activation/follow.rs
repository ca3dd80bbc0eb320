//! Follows an activation that another process carries out: what `deploy` and `rollback` do once the service manager
//! has it, and what `follow` does from any other terminal.

use super::{ending, outcome::Outcome};
use crate::{
    domain::problem::{Kind, Problem},
    flow::{
        context::World,
        event::{Event, Observer},
    },
    host::{
        os::signals::Wish,
        store::{Store, transcript::Reader},
        systemd::transient_unit,
    },
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How often the transcript is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the service manager is asked whether it is still at work.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long nobody may be at work before that is the end. One that died is started again after a second.
const GONE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the service manager may not answer whether somebody is.
const UNHEARD_PATIENCE: Duration = Duration::from_mins(2);

/// What Ctrl-C means to somebody who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CtrlC {
    /// The activation is to go back.
    GoesBack,
    /// Only the following ends.
    Leaves,
}

/// Shows what the activation of this number does until it has ended. A terminal that is lost leaves it alone.
pub(crate) fn follow(
    world: &World,
    number: u64,
    ctrl_c: CtrlC,
    observer: &dyn Observer,
) -> Result<Outcome, Problem> {
    let store = &world.store;
    let (service, scope) = (service(store, number)?, store.layout().scope());
    let mut reader = Reader::new(&store.layout().activation(number));
    // One that had ended before is followed while it is watched, if it is.
    let ended = ending::ended_on_record(&store.activation(number)?).is_some();
    let mut end_is_old = ended && transient_unit::runs(&service, number, scope)?;
    let mut asked = Instant::now();
    let mut seen_at_work = Instant::now();
    loop {
        for event in reader.news::<Event>()? {
            match event {
                Event::Ended(_) if end_is_old => end_is_old = false,
                Event::Ended(_) => return outcome(store, number),
                Event::Refused { kind, what, help } => {
                    let refused = Problem { help, ..Problem::new(kind, what) };
                    match refusal(store, number, refused, observer)? {
                        Some(refused) => return Err(refused),
                        None => seen_at_work = Instant::now(),
                    }
                }
                event => observer.see(event),
            }
        }
        match (world.interrupt.wish(), ctrl_c) {
            (Some(Wish::Stop), CtrlC::GoesBack) => {
                observer.see(Event::Stage("asked it to stop and go back".to_owned()));
                if let Err(problem) = transient_unit::interrupt(&service, number, scope) {
                    observer.see(Event::Warning(problem.in_one_line()));
                }
            }
            (Some(_), _) => return Err(left(number)),
            (None, _) => {}
        }
        if asked.elapsed() > ASK_EVERY {
            asked = Instant::now();
            match transient_unit::runs(&service, number, scope) {
                Ok(true) => seen_at_work = Instant::now(),
                Ok(false) if seen_at_work.elapsed() > GONE_PATIENCE => return outcome(store, number),
                // The transcript tells what goes on, even where the service manager does not.
                Err(problem) if seen_at_work.elapsed() > UNHEARD_PATIENCE => return Err(problem),
                Ok(false) | Err(_) => {}
            }
        }
        sleep(LOOK_EVERY);
    }
}

/// What one that carries the activation out could not do. It is the end only where the activation has not begun: else
/// the next one goes on with it, and its end is the answer.
fn refusal(
    store: &Store,
    number: u64,
    refused: Problem,
    observer: &dyn Observer,
) -> Result<Option<Problem>, Problem> {
    if !store.activation(number)?.says_anything() {
        return Ok(Some(refused));
    }
    observer.see(Event::Warning(refused.in_one_line()));
    Ok(None)
}

/// Follows the newest activation, or tells how it ended.
pub(crate) fn follow_newest(world: &World, observer: &dyn Observer) -> Result<Outcome, Problem> {
    follow(world, newest(&world.store)?, CtrlC::Leaves, observer)
}

/// Asks the activation that goes on to stop and go back, and follows it.
pub(crate) fn cancel(world: &World, observer: &dyn Observer) -> Result<Outcome, Problem> {
    let number = newest(&world.store)?;
    let (service, scope) = (service(&world.store, number)?, world.layout().scope());
    let goes_on = ending::ended_on_record(&world.store.activation(number)?).is_none();
    if !goes_on || !transient_unit::runs(&service, number, scope)? {
        return Err(Problem::new(Kind::Usage, "no activation goes on")
            .help("`awqdeploy rollback` goes back to the generation before"));
    }
    transient_unit::interrupt(&service, number, scope)?;
    follow(world, number, CtrlC::Leaves, observer)
}

/// Whether the end of an activation is in its transcript.
pub(crate) fn end_was_told(store: &Store, number: u64) -> Result<bool, Problem> {
    let mut reader = Reader::new(&store.layout().activation(number));
    let mut told = false;
    loop {
        let news = reader.news::<Event>()?;
        if news.is_empty() {
            return Ok(told);
        }
        for event in news {
            told = match event {
                Event::Ended(_) => true,
                // It went on after it: what did not stay well goes back.
                Event::Activation { .. } => false,
                _ => told,
            };
        }
    }
}

fn newest(store: &Store) -> Result<u64, Problem> {
    store.newest_order()?.ok_or_else(|| {
        Problem::new(Kind::Usage, "nothing was ever activated").help("`awqdeploy deploy PROFILE` does")
    })
}

fn service(store: &Store, number: u64) -> Result<String, Problem> {
    let order = ending::ordered(store, number)?.ok_or_else(|| unordered(number))?;
    Ok(store.generation(order.to)?.plan.service)
}

fn outcome(store: &Store, number: u64) -> Result<Outcome, Problem> {
    let order = ending::ordered(store, number)?.ok_or_else(|| unordered(number))?;
    let ended = ending::ended_on_record(&store.activation(number)?).ok_or_else(|| {
        Problem::new(Kind::Stuck, format!("activation {number} has no end, and nobody carries it out"))
            .help("`awqdeploy recover` goes back; `journalctl -t awqdeploy` has what it said")
    })?;
    ending::outcome(store, order, ended)
}

fn unordered(number: u64) -> Problem {
    Problem::doing(format_args!("follow activation {number}"), "it was not ordered by this version")
}

fn left(number: u64) -> Problem {
    Problem::new(Kind::Unexpected, format!("activation {number} goes on without this process"))
        .help("`awqdeploy follow` follows it, `awqdeploy cancel` makes it go back")
}
