//! Every fault and every ordered pair of faults in one process, in milliseconds, on the played [host](crate::host).

use super::{
    disk::Luck,
    host::{Blow, FORKED, Gone, Machine, Moment, Played, commit},
    story::{NEW, OLD, Story},
};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, Cause, End},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        problem::Problem,
        store::layout::Layout,
    },
    flow::activation::{
        driver::{ResumePolicy, activate, recover, withdraw},
        outcome::Ended,
    },
    host::{
        os::fs,
        store::{Store, StoreWriter},
    },
};
use std::{collections::BTreeSet, path::Path, rc::Rc};

/// More processes than any pair of faults can end.
const MOST_PROCESSES: usize = 8;

/// How a schedule went: the end, and every moment at which the next fault can be put.
pub(crate) struct Went {
    pub(crate) committed: bool,
    pub(crate) moments: Vec<Moment>,
}

/// One story on its machine.
struct Stage {
    story: Story,
    machine: Rc<Machine>,
    /// The activation that it is about.
    number: u64,
    luck: Luck,
    /// Whether nothing can be recorded from some moment on.
    full: bool,
}

/// How it ended, by the records.
struct Judged {
    committed: bool,
    cause: Option<Cause>,
    serves: Option<GenerationId>,
}

/// Plays a story with these blows, each at the moment of its number. What it must never come to is the error.
pub(crate) fn play(
    story: Story,
    blows: &[(usize, Blow)],
    luck: Luck,
    scratch: &Path,
) -> Result<Went, String> {
    let root = tempfile::tempdir_in(scratch).map_err(|e| e.to_string())?;
    let fates = blows.to_vec();
    let machine = Machine::new(Store::new(Layout::new(root.path())), None, move |_, number, _| {
        fates.iter().find(|(at, _)| *at == number).map(|(_, blow)| *blow)
    });
    let _listening = machine.plug_in();
    let number = machine.calmly(|| begin(&machine, story));
    let full = blows.iter().any(|(_, blow)| *blow == Blow::Full);
    let mut stage = Stage { story, machine, number, luck, full };
    let ended = stage.run()?;
    let Judged { committed, cause, serves } = stage.judge(ended)?;
    let moments = stage.machine.moments.take();
    went_back(story, blows, &moments, committed, cause.as_ref())?;
    stage.afterwards(serves)?;
    Ok(Went { committed, moments })
}

/// Puts on record what came before: every generation that is said to be proven was committed by an activation.
/// Returns the activation that the story is about, which is ordered.
fn begin(machine: &Machine, story: Story) -> u64 {
    let store = &machine.store;
    let writer = store.writer(FORKED, "test").expect("the root can be locked");
    for id in [OLD, NEW] {
        fs::make_directory(&store.layout().generation(id)).expect("the root can be written");
    }
    let order =
        |to| writer.order(&ActivationRequest { action: Action::Deploy, to }).expect("it can be ordered");
    let proven = match story {
        Story::First => &[][..],
        Story::Rollback => &[NEW, OLD],
        _ => &[OLD],
    };
    for id in proven {
        commit(&writer, order(*id), Activation::new(None, *id));
    }
    let number = order(story.to());
    let serves = if story.withdraws() { Some(story.to()) } else { story.from() };
    if story.withdraws() {
        commit(&writer, number, Activation::new(story.from(), story.to()));
    }
    writer.point(serves).expect("the link can be written");
    machine.running.set(serves.filter(|_| story != Story::Same));
    number
}

impl Stage {
    /// One process after the other, until one comes through.
    fn run(&mut self) -> Result<Option<Ended>, String> {
        let mut gone = self.process(false);
        for _ in 0..MOST_PROCESSES {
            // Only a deployer that came through has an end; everything else is found by the next one.
            gone = match gone {
                Ok(ended) => return Ok(ended),
                Err(Gone::Killed) => self.process(false),
                Err(Gone::Cut) => self.boot(),
            };
        }
        Err("it never ends".to_owned())
    }

    /// Runs the process of the service manager, at first and whenever it is gone: it begins where the records say.
    fn process(&self, boot: bool) -> Result<Option<Ended>, Gone> {
        let store = &self.machine.store;
        let ended = self.machine.process(|| {
            let writer = store.writer(FORKED, "test")?;
            let recorded = store.activation(self.number)?;
            match recorded.last() {
                None if !boot => self.activate(&writer).map(Some),
                Some(last) if !boot && self.story.withdraws() && last.end() == Some(&End::Committed) => {
                    let host = |_, _: &Activation| Ok(self.hands(&writer, false));
                    withdraw(&writer, "it hangs".to_owned(), host, &|_| ())
                }
                _ => recover(&writer, ResumePolicy::Finish, |_, _| Ok(self.hands(&writer, boot)), &|_| ()),
            }
        })?;
        // One that fails is started again.
        ended.map_err(|_: Problem| Gone::Killed)
    }

    fn activate(&self, writer: &StoreWriter<'_>) -> Result<Ended, Problem> {
        let interrupt = self.machine.interrupt.borrow().clone();
        let activation = Activation::new(self.story.from(), self.story.to());
        activate(writer, self.number, activation, &mut self.hands(writer, false), &interrupt, &|_| ())
    }

    fn hands<'a>(&'a self, locked: &'a StoreWriter<'a>, boot: bool) -> Played<'a> {
        if boot { Played::at_boot(&self.machine, locked) } else { Played::new(&self.machine, locked) }
    }

    /// The power goes. At the next boot the recovery is run, and then systemd starts what is current.
    fn boot(&mut self) -> Result<Option<Ended>, Gone> {
        self.machine.cut(&mut self.luck);
        for _ in 0..MOST_PROCESSES {
            match self.process(true) {
                // The unit is tried again; meanwhile the service finds that what is current was never proven.
                Err(Gone::Killed) => {}
                Err(Gone::Cut) => return Err(Gone::Cut),
                Ok(ended) => {
                    self.machine.start_service();
                    return Ok(ended);
                }
            }
        }
        panic!("the recovery at boot never ends");
    }

    /// Checks the end.
    fn judge(&self, ended: Option<Ended>) -> Result<Judged, String> {
        let store = &self.machine.store;
        // A process that came before may have ended it.
        let recorded = store.activation(self.number).map_err(|e| e.to_string())?;
        let on_record = recorded.last().and_then(Activation::end).cloned();
        let end = ended.map(|ended| ended.end).or(on_record);
        let serves = match &end {
            // No record of the rollback found room, and then the power went.
            Some(End::Committed) if self.full && self.story.withdraws() => {
                store.current().map_err(|e| e.to_string())?
            }
            Some(End::Committed) => Some(self.story.to()),
            Some(End::RolledBack { .. }) | None => self.story.from(),
            Some(End::Stuck { .. }) => return Err("it is stuck".to_owned()),
        };
        self.serves(serves).map_err(|why| format!("{end:?}, and {why}"))?;
        let cause = match &end {
            Some(End::RolledBack { cause }) => Some(cause.clone()),
            _ => None,
        };
        Ok(Judged { committed: end == Some(End::Committed), cause, serves })
    }

    /// Neither the next command nor the next boot, after the power was cut, changes anything any more.
    fn afterwards(&mut self, serves: Option<GenerationId>) -> Result<(), String> {
        let machine = Rc::clone(&self.machine);
        machine.calmly(|| {
            let writer = machine.store.writer(FORKED, "test").map_err(|e| e.to_string())?;
            recover(&writer, ResumePolicy::Finish, |_, _| Ok(self.hands(&writer, false)), &|_| ())
                .map_err(|e| e.to_string())?;
            drop(writer);
            self.serves(serves).map_err(|why| format!("after the next command {why}"))?;
            self.luck = Luck::Bad;
            assert!(self.boot().is_ok(), "nothing goes wrong any more");
            self.serves(serves).map_err(|why| format!("after a power cut {why}"))
        })
    }

    /// This generation is what is current, what runs, and is proven.
    fn serves(&self, expected: Option<GenerationId>) -> Result<(), String> {
        let Machine { store, running, .. } = &*self.machine;
        let (current, runs) = (store.current().map_err(|e| e.to_string())?, running.get());
        if (current, runs) != (expected, expected) {
            return Err(format!("{current:?} is current, {runs:?} runs, and {expected:?} is to"));
        }
        let proven: BTreeSet<GenerationId> = store.known_good().map_err(|e| e.to_string())?;
        match expected.filter(|serves| !proven.contains(serves)) {
            Some(serves) => Err(format!("{serves} serves, and only {proven:?} are proven")),
            None => Ok(()),
        }
    }
}

/// A fault at a forward step causes a rollback, and nothing else does.
fn went_back(
    story: Story,
    blows: &[(usize, Blow)],
    moments: &[Moment],
    committed: bool,
    cause: Option<&Cause>,
) -> Result<(), String> {
    let first = blows.iter().min_by_key(|(at, _)| *at);
    let Some((at, blow)) = first.copied() else {
        // A restarted generation has no other rollback target.
        let works = story == Story::SameWithdrawal || committed != story.withdraws();
        return if works { Ok(()) } else { Err("it did not work".to_owned()) };
    };
    // An activation without room for its first record has touched nothing.
    if moments[at] == Moment::SyncOfFolder && matches!(blow, Blow::Torn | Blow::Full) && blows.len() == 1 {
        let works = committed != story.withdraws();
        return if works {
            Ok(())
        } else {
            Err(format!("{blow:?} at its first record is told as {cause:?}"))
        };
    }
    // A step that is not on record yet is begun anew; one that is, counts.
    let (Moment::Call(step), false) = (moments[at], story.withdraws()) else { return Ok(()) };
    if committed {
        return Err(format!("it was committed in spite of {blow:?} during {step}"));
    }
    let expected = match blow {
        Blow::Fails => matches!(cause, Some(Cause::Failed { step: failed, .. }) if *failed == step),
        Blow::Torn | Blow::Full => matches!(cause, Some(Cause::Failed { .. } | Cause::Interrupted { .. })),
        _ => cause == Some(&Cause::Interrupted { step }),
    };
    // A second one may come before the first is on record.
    if expected || blows.len() > 1 {
        Ok(())
    } else {
        Err(format!("{blow:?} during {step} is told as {cause:?}"))
    }
}
