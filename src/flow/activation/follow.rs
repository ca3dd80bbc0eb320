//! Follows an activation that another process carries out: for `deploy` and `rollback` once the service
//! manager has it, and for `follow` from any other terminal.

use super::{ending, outcome::Outcome};
use crate::{
    domain::problem::{Kind, Problem},
    flow::{
        context::Context,
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

/// The time between two looks at the transcript.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the service manager is asked whether the worker still runs.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long no worker may run before the activation counts as abandoned. A dead one is restarted after a
/// second.
const GONE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the service manager may give no answer about the worker.
const UNHEARD_PATIENCE: Duration = Duration::from_mins(2);

/// The meaning of Ctrl-C to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CtrlC {
    /// The activation rolls back.
    GoesBack,
    /// The follower alone ends.
    Leaves,
}

/// Shows the activation of this number until it has ended. Losing the terminal leaves the activation alone.
pub(crate) fn follow(context: &Context, number: u64, ctrl_c: CtrlC) -> Result<Outcome, Problem> {
    let store = &context.store;
    let (service, scope) = (service(store, number)?, store.layout().scope());
    let mut reader = Reader::new(&store.layout().activation(number));
    // An activation that had ended before is followed through its probation.
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
                    match refusal(store, number, refused, &*context.observer)? {
                        Some(refused) => return Err(refused),
                        None => seen_at_work = Instant::now(),
                    }
                }
                event => context.tell(event),
            }
        }
        match (context.interrupt.wish(), ctrl_c) {
            (Some(Wish::Stop), CtrlC::GoesBack) => {
                context.tell(Event::Stage("asked it to stop and roll back".to_owned()));
                if let Err(problem) = transient_unit::interrupt(&service, number, scope) {
                    context.tell(Event::Warning(problem.in_one_line()));
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
                // The transcript still shows the progress, even where the service manager is silent.
                Err(problem) if seen_at_work.elapsed() > UNHEARD_PATIENCE => return Err(problem),
                Ok(false) | Err(_) => {}
            }
        }
        sleep(LOOK_EVERY);
    }
}

/// Why the worker could not carry the activation out. That is the end only where the activation has not
/// begun: else the next worker goes on with it, and its end is the answer.
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

/// Follows the newest activation, or shows how it ended.
pub(crate) fn follow_newest(context: &Context) -> Result<Outcome, Problem> {
    follow(context, newest(&context.store)?, CtrlC::Leaves)
}

/// Asks the running activation to stop and roll back, and follows it.
pub(crate) fn cancel(context: &Context) -> Result<Outcome, Problem> {
    let number = newest(&context.store)?;
    let (service, scope) = (service(&context.store, number)?, context.layout().scope());
    let goes_on = ending::ended_on_record(&context.store.activation(number)?).is_none();
    if !goes_on || !transient_unit::runs(&service, number, scope)? {
        return Err(Problem::new(Kind::Usage, "no activation goes on")
            .help("`awqdeploy rollback` rolls back to the generation before"));
    }
    transient_unit::interrupt(&service, number, scope)?;
    follow(context, number, CtrlC::Leaves)
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
                // The activation went on after that: its probation failed, and it rolls back.
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
    // A root has one service. A collection may have taken the generation since.
    let known = store.generation(order.to).or_else(|missing| store.deployed().map_err(|_| missing));
    Ok(known?.plan.service)
}

fn outcome(store: &Store, number: u64) -> Result<Outcome, Problem> {
    let order = ending::ordered(store, number)?.ok_or_else(|| unordered(number))?;
    let ended = ending::ended_on_record(&store.activation(number)?).ok_or_else(|| {
        Problem::new(Kind::Stuck, format!("activation {number} has no end, and nobody carries it out"))
            .help("`awqdeploy recover` rolls back; `journalctl -t awqdeploy` has what it said")
    })?;
    ending::outcome(store, order, ended)
}

fn unordered(number: u64) -> Problem {
    Problem::doing(format_args!("follow activation {number}"), "it was not ordered by this version")
}

fn left(number: u64) -> Problem {
    Problem::new(Kind::Unexpected, format!("activation {number} goes on without this process"))
        .help("`awqdeploy follow` follows it, `awqdeploy cancel` makes it roll back")
}
