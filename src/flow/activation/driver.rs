//! Drives an [`Activation`] to its end, one recorded step at a time.

use super::outcome::Ended;
use crate::{
    domain::{
        activation::machine::{Activation, End, State, Step, another, rollback_target, without_records},
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::event::{Event, Observer},
    host::{
        os::signals::Interrupt,
        store::{Recorded, Store, StoreWriter, journal::Journal},
    },
};

/// The steps of an activation. Each is idempotent: `Ok` means that it is done, whoever did it. An `Err` is
/// the reason of the rollback, in words for a person.
pub trait Steps {
    /// Stops the service until no process of it is left.
    fn stop(&mut self) -> Result<(), String>;
    /// Renames `current` onto `to`: the one atomic point.
    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String>;
    /// Starts the generation of `current`; `Ok` once it is ready.
    fn start(&mut self) -> Result<(), String>;
    /// Validates the generation that was started.
    fn validate(&mut self, generation: GenerationId) -> Result<(), String>;
    /// Called when the rollback begins. From here on an interruption would only make it longer.
    fn turns_back(&mut self) {}
    /// Whether the host is going down, so that nothing can be started any more.
    fn goes_down(&mut self) -> bool {
        false
    }
    /// Whether somebody stopped the service in this failed step: then it did not fail by itself.
    fn was_stopped(&mut self, _step: Step) -> bool {
        false
    }
    /// Another proven generation, for a restart whose own generation fails.
    fn otherwise(&mut self) -> Option<GenerationId> {
        None
    }
}

/// The way to go on with an activation that an earlier process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePolicy {
    /// Roll back an interrupted one; leave a stuck one to a person.
    Finish,
    /// Roll back a stuck one too: a person asked for it.
    Unstick,
}

/// Carries out the activation of this number, which has not begun. It rolls back if any step fails.
///
/// # Errors
/// Where not even its beginning can be recorded: nothing was touched then.
pub fn activate<H: Steps>(
    writer: &StoreWriter<'_>,
    number: u64,
    activation: Activation,
    steps: &mut H,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<Ended, Problem> {
    let journal = writer.journal(number)?;
    Drive { number, journal, interrupt, observer }.run(activation, steps)
}

/// Rolls back the last activation, which was committed and failed its probation. Nothing if there is no
/// rollback target.
pub fn withdraw<H: Steps>(
    writer: &StoreWriter<'_>,
    why: String,
    steps: impl FnOnce(u64, &Activation) -> Result<H, Problem>,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let Some(last) = writer.store().last_activation()? else {
        return Ok(None);
    };
    let Some(degraded) = last.last().and_then(|activation| activation.degraded(why)) else {
        return Ok(None);
    };
    let store = writer.store();
    let other = another(&store.without_damage(store.returnable()?)?, Some(degraded.to));
    let activation = degraded.rather(other);
    if activation.is_restart() {
        return Ok(None);
    }
    go_back(writer, last.number, activation, steps, observer).map(Some)
}

/// Finishes what an earlier process left. Run at boot and before each command that changes anything.
pub fn recover<H: Steps>(
    writer: &StoreWriter<'_>,
    left: ResumePolicy,
    steps: impl FnOnce(u64, &Activation) -> Result<H, Problem>,
    observer: &dyn Observer,
) -> Result<Option<Ended>, Problem> {
    let Some(last) = writer.store().last_activation()? else {
        return Ok(None);
    };
    // The writer of the last record may have died before that was on the disk. From here on it is believed.
    writer.journal(last.number)?;
    let Some(activation) = resumed(writer.store(), &last, left)? else {
        return Ok(None);
    };
    if !last.damaged.is_empty() {
        observer.see(Event::Warning(format!(
            "the journal of activation {} is damaged: it is taken for one that was interrupted",
            last.number
        )));
    }
    go_back(writer, last.number, activation, steps, observer).map(Some)
}

fn go_back<H: Steps>(
    writer: &StoreWriter<'_>,
    number: u64,
    activation: Activation,
    steps: impl FnOnce(u64, &Activation) -> Result<H, Problem>,
    observer: &dyn Observer,
) -> Result<Ended, Problem> {
    let mut steps = steps(number, &activation)?;
    let journal = writer.journal(number)?;
    // Interrupting a rollback would only make it longer.
    let interrupt = Interrupt::default();
    Drive { number, journal, interrupt: &interrupt, observer }.run(activation, &mut steps)
}

/// The problem when the host goes down in the middle.
pub(crate) fn next_boot_goes_back() -> Problem {
    Problem::new(Kind::Interrupted, "the host is going down: the next boot rolls back")
}

/// A problem if the last activation is stuck.
pub fn not_stuck(last: Option<&Recorded>) -> Result<(), Problem> {
    match last.and_then(Recorded::last).and_then(Activation::end) {
        Some(End::Stuck { cause, step, why }) => Err(Problem::new(
            Kind::Stuck,
            format!("the last activation is stuck: {cause}; then the rollback failed at {step}: {why}"),
        )
        .help("mend what it names, then `awqdeploy recover`; or `awqdeploy rollback PROFILE`")),
        _ => Ok(()),
    }
}

/// Whether an earlier process left anything that [`recover`] would finish.
pub fn is_unfinished(store: &Store, left: ResumePolicy) -> Result<bool, Problem> {
    match store.last_activation()? {
        Some(last) => Ok(resumed(store, &last, left)?.is_some()),
        None => Ok(false),
    }
}

fn resumed(store: &Store, last: &Recorded, left: ResumePolicy) -> Result<Option<Activation>, Problem> {
    let Some(activation) =
        last.last().cloned().map_or_else(|| unreadable(store, last.number), |last| Ok(Some(last)))?
    else {
        return Ok(None);
    };
    let resumed = match left {
        ResumePolicy::Finish => activation.resumed(),
        ResumePolicy::Unstick => activation.unstuck(),
    };
    Ok(resumed.next().is_some().then_some(resumed))
}

/// The activation to resume where a whole journal is damaged. Nothing where the request is damaged, too.
fn unreadable(store: &Store, number: u64) -> Result<Option<Activation>, Problem> {
    let Some(to) = store.order(number).ok().flatten().map(|order| order.to) else { return Ok(None) };
    let back = rollback_target(&store.returnable()?, store.current()?, Some(to));
    Ok(without_records(to, back))
}

struct Drive<'a> {
    number: u64,
    journal: Journal,
    interrupt: &'a Interrupt,
    observer: &'a dyn Observer,
}

impl Drive<'_> {
    fn run(mut self, mut activation: Activation, steps: &mut impl Steps) -> Result<Ended, Problem> {
        loop {
            if let Err(problem) = self.record(&activation) {
                if activation.is_new() {
                    return Err(problem.help("nothing was touched: mend that, then give the command again"));
                }
                if activation.needs_its_record() {
                    activation = activation.unrecorded(problem.to_string());
                    continue;
                }
                // Recovery would take the same steps back from the last state on record.
                self.observer.see(Event::Warning(problem.to_string()));
            }
            let Some((step, aim)) = activation.next() else {
                break;
            };
            let forward = matches!(activation.state, State::Forward { .. });
            if forward && self.interrupt.came() {
                activation = activation.resumed();
                continue;
            }
            if !forward {
                steps.turns_back();
                if steps.goes_down() {
                    return Err(next_boot_goes_back());
                }
            }
            let outcome = match (step, aim) {
                (Step::Stop, _) => steps.stop(),
                (Step::Point, aim) => steps.point(aim),
                (Step::Start, _) => steps.start(),
                (Step::Validate, Some(aim)) => steps.validate(aim),
                (Step::Validate, None) => Ok(()),
            };
            activation = match outcome {
                // A step that a signal cut short did not fail by itself. One that succeeded all the same is
                // undone, as the sender wanted.
                _ if forward && self.interrupt.came() => activation.resumed(),
                Err(_) if forward && steps.was_stopped(step) => activation.resumed(),
                outcome => activation.after(outcome),
            };
            if forward && activation.is_restart() {
                activation = activation.rather(steps.otherwise());
            }
        }
        match activation.end().cloned() {
            Some(end) => Ok(Ended { number: self.number, activation, end }),
            None => Err(Problem::doing("drive the activation", "it has no next step and no end")),
        }
    }

    fn record(&mut self, activation: &Activation) -> Result<(), Problem> {
        self.journal.record(activation)?;
        let aim = activation.next().and_then(|(_, aim)| aim);
        self.observer.see(Event::Activation { aim, state: activation.state.clone() });
        Ok(())
    }
}
