//! Judges an act: one in which nothing goes wrong must come to exactly what it is for, and of every other one the
//! exit status and the records must tell what became of the host.

use super::{duty::Exit, schedule::Act};
use crate::host::Machine;
use awqdeploy::{
    domain::{
        activation::machine::{Activation, Cause, End, State, Step, another},
        generation_id::GenerationId,
        problem::Problem,
    },
    flow::activation::driver::{ResumePolicy, is_unfinished, not_stuck},
    host::store::Recorded,
};
use std::{collections::BTreeSet, fmt};

/// The host at a moment at which nobody is at work, as `status` and `ps` show it.
pub(super) struct View {
    pub(super) current: Option<GenerationId>,
    pub(super) runs: Option<GenerationId>,
    pub(super) proven: BTreeSet<GenerationId>,
    pub(super) stuck: bool,
    pub(super) unfinished: bool,
    pub(super) by_hand: bool,
    pub(super) last: Option<Recorded>,
    recorded: Vec<Recorded>,
}

/// Who can be in an act's way without any fault in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    /// A stranger holds the root's lock.
    pub(super) locked: bool,
    /// The activation that is still watched.
    pub(super) watched: Option<u64>,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current, runs, proven, stuck, unfinished, by_hand, .. } = self;
        let flags = [(stuck, "stuck"), (unfinished, "unfinished"), (by_hand, "stopped by hand")];
        let flags: Vec<_> = flags.into_iter().filter_map(|(so, name)| so.then_some(name)).collect();
        let last = (self.number(), self.last());
        write!(f, "current {current:?}, runs {runs:?}, proven {proven:?}, {flags:?}, last {last:?}")
    }
}

impl View {
    pub(super) fn of(machine: &Machine) -> Result<Self, String> {
        let store = &machine.store;
        let read = || -> Result<Self, Problem> {
            let last = store.last_activation()?;
            Ok(Self {
                current: store.current()?,
                runs: machine.running.get(),
                proven: store.known_good()?,
                stuck: not_stuck(last.as_ref()).is_err(),
                unfinished: is_unfinished(store, ResumePolicy::Finish)?,
                by_hand: machine.by_hand.get(),
                recorded: store.activations()?,
                last,
            })
        };
        read().map_err(|problem| problem.to_string())
    }

    fn last(&self) -> Option<&Activation> {
        self.last.as_ref().and_then(Recorded::last)
    }

    fn number(&self) -> Option<u64> {
        self.last.as_ref().map(|last| last.number)
    }

    /// The end of an act without faults, and what runs then. Nothing where more than one thing may.
    fn calmly(&self, act: Act, around: Around) -> Option<(Exit, Option<GenerationId>)> {
        let same = |exit| Some((exit, self.runs));
        // A leftover is ended first: what runs then is what the records say, and is judged by them.
        let settled = !self.unfinished;
        match act {
            Act::Deploy | Act::Rollback | Act::Again | Act::Recover if around.locked => same(Exit::Busy),
            Act::Deploy if self.stuck => same(Exit::Stuck),
            Act::Rollback | Act::Again if settled => match self.target(act) {
                None => same(Exit::Refused),
                Some(to) if !self.stuck && self.current == Some(to) && self.runs == Some(to) => {
                    same(Exit::AlreadySo)
                }
                Some(to) => Some((Exit::Done, Some(to))),
            },
            Act::Recover if settled && !self.stuck => same(Exit::AlreadySo),
            Act::Withdraw if around.watched.is_none() => same(Exit::Refused),
            Act::Withdraw => match self.withdrawn_to(around.watched) {
                Some(back) => Some((Exit::WentBack, Some(back))),
                None => same(Exit::AlreadySo),
            },
            Act::Cut if settled && !self.stuck => {
                Some((Exit::Lost, self.current.filter(|current| self.proven.contains(current))))
            }
            Act::Stop => Some((Exit::Lost, None)),
            Act::Start if self.runs.is_none() && settled && !self.stuck => {
                Some((Exit::Lost, self.current.filter(|current| self.proven.contains(current))))
            }
            Act::Clock(_) => same(Exit::Lost),
            _ => None,
        }
    }

    /// The generation that these commands go to.
    fn target(&self, act: Act) -> Option<GenerationId> {
        match act {
            Act::Rollback => {
                self.proven.iter().copied().rfind(|id| self.current.is_none_or(|current| *id < current))
            }
            _ => self.current.filter(|current| self.proven.contains(current)),
        }
    }

    /// The rollback target if what is watched does not stay well.
    fn withdrawn_to(&self, watched: Option<u64>) -> Option<GenerationId> {
        let last = self.last().filter(|last| last.end() == Some(&End::Committed))?;
        let from = last.from.filter(|_| self.number() == watched)?;
        if from == last.to { another(&self.proven, Some(last.to)) } else { Some(from) }
    }
}

/// Why this is not what must have come of an act in which nothing went wrong.
pub(super) fn calm(act: Act, exit: Exit, around: Around, before: &View, after: &View) -> Result<(), String> {
    if act == Act::Deploy && !around.locked && !before.stuck {
        let Some(to) = after.last().map(|last| last.to) else {
            return Err("nothing is on record".to_owned());
        };
        let newer = Some(to) > before.proven.last().copied() && after.number() > before.number();
        if exit != Exit::Done || after.runs != Some(to) || !newer {
            return Err(format!("nothing went wrong, and it ended with {exit:?}: {:?} runs", after.runs));
        }
    }
    match before.calmly(act, around) {
        Some(expected) if expected != (exit, after.runs) => Err(format!(
            "nothing went wrong, and it ended with {:?}, where {expected:?} must be; before it {before}",
            (exit, after.runs)
        )),
        _ => Ok(()),
    }
}

/// Why the exit status and the records do not tell what became of the host, whatever went wrong. `lossy`, if records of
/// the way back may be missing.
pub(super) fn told(
    exit: Exit,
    number: Option<u64>,
    before: &View,
    after: &View,
    lossy: bool,
) -> Result<(), String> {
    let last = after.last().filter(|_| number.is_some() && after.number() == number);
    // Somebody may have activated another one since it was stuck.
    let own = after.recorded.iter().find(|recorded| Some(recorded.number) == number);
    let own_end = own.and_then(Recorded::last).and_then(Activation::end);
    let runs = |wanted: Option<GenerationId>| after.by_hand || after.runs == wanted;
    let so = match (exit, last) {
        (Exit::Done, Some(last)) => {
            last.end() == Some(&End::Committed) && runs(Some(last.to)) && after.proven.contains(&last.to)
        }
        (Exit::WentBack, Some(last)) => {
            // Where anything else was proven, that serves again.
            let back = last.from.or_else(|| another(&before.proven, Some(last.to)));
            runs(back) && back == last.from
        }
        (Exit::Stuck, _) => {
            after.stuck || (lossy && after.unfinished) || matches!(own_end, Some(End::Stuck { .. }))
        }
        (Exit::Overtaken, _) => after.number() > before.number(),
        _ => true,
    };
    if !so {
        return Err(format!("it ended with {exit:?}, and that is not so: {after}; before it {before}"));
    }
    if let Some(damaged) = after.recorded.iter().find(|recorded| !recorded.damaged.is_empty()) {
        return Err(format!("a record is damaged: {damaged:?}"));
    }
    // A commit that was told is never lost, unless it was found wanting.
    let wanting: BTreeSet<_> =
        after.last().into_iter().filter(|last| degraded(last)).map(|last| last.to).collect();
    match before.proven.difference(&after.proven).find(|id| !wanting.contains(id)) {
        Some(lost) => Err(format!("{lost} was proven, and is no more: {after}")),
        None => Ok(()),
    }
}

fn degraded(activation: &Activation) -> bool {
    matches!(activation.state.cause(), Some(Cause::Degraded { .. }))
}

/// Why the records of all activations are no walk of the state machine. Its moves are written down here once more: what
/// the machine says of itself proves nothing. `lossy`, if records of the way back may be missing.
pub(super) fn walks(view: &View, lossy: bool) -> Result<(), String> {
    for Recorded { number, journal, .. } in &view.recorded {
        let states: Vec<_> = journal.iter().map(|entry| &entry.activation).collect();
        let begun = states.first().is_none_or(|first| first.state == State::Forward { step: Step::Stop });
        if !begun && !lossy {
            return Err(format!("activation {number} begins with {:?}", states.first()));
        }
        let wrong = states.windows(2).find(|pair| !may_follow(pair[0], pair[1], lossy));
        if let Some([before, after, ..]) = wrong {
            return Err(format!("in activation {number}, {before:?} is followed by {after:?}"));
        }
    }
    Ok(())
}

fn may_follow(before: &Activation, after: &Activation, lossy: bool) -> bool {
    const ORDER: [Step; 4] = [Step::Stop, Step::Point, Step::Start, Step::Validate];
    let place = |step: Step| ORDER.iter().position(|known| *known == step);
    let next = |step: Step, then: Step| place(step).map(|at| at + 1) == place(then);
    let other_target = before.from == Some(before.to) && before.state.cause().is_none();
    if before.to != after.to || (before.from != after.from && !other_target) {
        return false;
    }
    let last = if after.from.is_none() { Step::Point } else { Step::Start };
    let turns = matches!(&after.state, State::Back { step: Step::Stop, tries: 0, .. })
        || lossy && matches!(&after.state, State::Back { .. } | State::Done { end: End::RolledBack { .. } });
    match (&before.state, &after.state) {
        (State::Forward { step }, State::Forward { step: then }) => next(*step, *then),
        (State::Forward { step }, State::Done { end: End::Committed }) => *step == Step::Validate,
        (State::Back { cause, .. }, State::Back { cause: still, .. }) if cause != still => false,
        (State::Back { step, .. }, State::Back { step: then, tries: 0, .. })
            if *step != last && next(*step, *then) =>
        {
            true
        }
        (State::Back { step, tries, .. }, State::Back { step: same, tries: again, .. })
            if step == same && *again == tries + 1 =>
        {
            *again < 3
        }
        (State::Back { step, .. }, State::Done { end: End::RolledBack { .. } }) => *step == last || turns,
        (State::Back { step, tries, .. }, State::Done { end: End::Stuck { step: at, .. } }) => {
            lossy || step == at && *tries == 2
        }
        (State::Forward { .. } | State::Back { .. } | State::Done { end: End::Stuck { .. } }, _) => turns,
        (State::Done { end: End::Committed }, _) => turns && degraded(after) && before.from.is_some(),
        (State::Done { end: End::RolledBack { .. } }, _) => false,
    }
}

/// The ends that some thousand schedules must have come to: what never happens proves nothing.
pub(super) const MUST_HAPPEN: [&str; 26] = [
    "Deploy: Done",
    "Deploy: WentBack",
    "Deploy: Stuck",
    "Deploy: Busy",
    "Deploy: Overtaken",
    "Deploy: Lost",
    "Rollback: Done",
    "Rollback: WentBack",
    "Rollback: Refused",
    "Again: Done",
    "Again: AlreadySo",
    "Recover: AlreadySo",
    "Recover: WentBack",
    "Withdraw: WentBack",
    "Withdraw: AlreadySo",
    "Cut: Lost",
    "Fails",
    "KilledBefore",
    "KilledAfter",
    "CutBefore",
    "CutAfter",
    "Signal",
    "Torn",
    "Full",
    "Squat",
    "First",
];
