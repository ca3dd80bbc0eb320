//! A host with its service manager and the people who use it, in seconds of a clock of its own. What they do is what
//! `flow::deploy`, `rollback`, `conduct`, `window` and `recover` do around the real machine, store and locks.

use super::{
    duty::{self, Exit},
    outcome::{self, Around, View},
    schedule::{Act, Fault, Schedule, Trouble},
};
use crate::{
    disk::Luck,
    host::{Blow, Gone, Machine, Moment},
};
use awqdeploy::{
    domain::{
        activation::machine::{Activation, End, Step},
        generation_id::GenerationId,
        problem::{Kind, Problem},
        store::layout::Layout,
    },
    flow::activation::{driver::not_stuck, outcome::Ended},
    host::{os::lock_file, store::Store},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    path::Path,
    rc::Rc,
    time::Duration,
};

/// Seconds that things take.
const BOOT: u64 = 60;
const STARTED_AGAIN: u64 = 1;
const LOCK_PATIENCE: u64 = 30;
const BETWEEN_ACTS: u64 = 10;
/// How long nothing may serve: an activation there and back, three tries at each step of the rollback.
const THERE_AND_BACK: u64 = 4 * (5 + 1 + 60 + 30);
/// More processes than the faults of a schedule can end, and a lock can keep waiting.
const MOST_LIVES: usize = 40;

/// The truth, whoever acts.
pub(super) struct Shared {
    faults: Vec<Fault>,
    /// How long nothing may serve, with all the faults that there are.
    allowed: u64,
    act: Cell<usize>,
    moment: Cell<usize>,
    clock: Cell<u64>,
    down_since: Cell<Option<u64>>,
    untended_since: Cell<Option<u64>>,
    /// A command of a person was ended in the middle of a recovery: the next one goes on.
    person_needed: Cell<bool>,
    /// The generations that were proven when nobody was at work last.
    proven: RefCell<BTreeSet<GenerationId>>,
    squat: Cell<u64>,
    first: Cell<Option<Act>>,
    wrong: RefCell<Option<String>>,
    /// The step that fails, whoever runs it.
    broken: Cell<Option<Step>>,
    /// How many troubles came in this act.
    troubled: Cell<usize>,
    /// The things that happened at all: how which act ended, and each kind of trouble.
    pub(super) seen: RefCell<BTreeSet<String>>,
    pub(super) story: RefCell<Vec<String>>,
}

/// The host, and who is on duty.
pub(super) struct Town {
    pub(super) machine: Rc<Machine>,
    pub(super) shared: Rc<Shared>,
    luck: Luck,
    /// A stranger who holds the root's lock, and until when.
    squatter: Option<(lock_file::HeldLock, u64)>,
    /// The activation that the process that committed it watches. It does not come back after a boot.
    watched: Option<u64>,
    /// The activation whose end was told last.
    told: Option<u64>,
}

impl Shared {
    fn new(schedule: &Schedule) -> Self {
        let longer: u64 = schedule
            .faults
            .iter()
            .map(|fault| match fault.trouble {
                Trouble::Squat(seconds) => seconds + 2 * LOCK_PATIENCE,
                Trouble::First(_) => 2 * THERE_AND_BACK,
                Trouble::Blow(_) | Trouble::Breaks(_) | Trouble::Meanwhile(_) => THERE_AND_BACK + BOOT,
            })
            .sum();
        Self {
            faults: schedule.faults.clone(),
            allowed: THERE_AND_BACK + BOOT + longer,
            act: Cell::default(),
            moment: Cell::default(),
            clock: Cell::default(),
            down_since: Cell::default(),
            untended_since: Cell::default(),
            person_needed: Cell::default(),
            proven: RefCell::default(),
            squat: Cell::default(),
            first: Cell::default(),
            wrong: RefCell::default(),
            broken: Cell::default(),
            troubled: Cell::default(),
            seen: RefCell::default(),
            story: RefCell::default(),
        }
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        self.story.borrow_mut().push(format!("{:>6} s  {}", self.clock.get(), what()));
    }

    fn saw(&self, what: &str) {
        self.seen.borrow_mut().insert(what.to_owned());
    }

    /// The first thing that was wrong is what counts.
    fn wrong(&self, what: String) {
        self.tell(|| format!("WRONG: {what}"));
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// Time goes by.
    fn tick(&self, machine: &Machine, seconds: u64) {
        let runs = machine.running.get();
        let began = self.clock.get();
        self.clock.set(began + seconds);
        let excused = machine.by_hand.get() || self.person_needed.get() || self.proven.borrow().is_empty();
        let down = runs.is_none() && !excused;
        let untended =
            runs.is_some_and(|runs| !self.proven.borrow().contains(&runs)) && !machine.at_work.get();
        for (since, so, what) in [
            (&self.down_since, down, "nothing serves"),
            (&self.untended_since, untended, "what is not proven serves, and nobody is at work,"),
        ] {
            since.set(so.then(|| since.get().unwrap_or(began)));
            if since.get().is_some_and(|since| self.clock.get() - since > self.allowed) {
                self.wrong(format!("{what} for longer than {} s", self.allowed));
                since.set(None);
            }
        }
    }

    fn fate(&self, machine: &Machine, moment: Moment) -> Option<Blow> {
        let at = self.moment.replace(self.moment.get() + 1);
        if let Moment::Call(step) = moment {
            self.tick(machine, seconds(step));
            self.tended(machine);
            self.tell(|| format!("moment {at}: {step}"));
        }
        let now = |fault: &&Fault| fault.act == self.act.get() && fault.moment == at;
        let Some(trouble) = self.faults.iter().find(now).map(|fault| fault.trouble) else {
            let broken = self.broken.get().is_some_and(|step| moment == Moment::Call(step));
            return broken.then_some(Blow::Fails);
        };
        self.troubled.set(self.troubled.get() + 1);
        match trouble {
            Trouble::Blow(blow) if blow.fits(moment) => {
                self.saw(&format!("{blow:?}"));
                self.tell(|| format!("moment {at}, {moment:?}: {blow:?}"));
                return Some(blow);
            }
            Trouble::Blow(_) => {}
            Trouble::Breaks(step) => self.broken.set(Some(step)),
            Trouble::Meanwhile(act) => machine.calmly(|| self.meanwhile(machine, act)),
            Trouble::First(act) => self.first.set(Some(act)),
            Trouble::Squat(seconds) => self.squat.set(seconds),
        }
        None
    }

    /// Checks that what runs under a live deployer is proven, or what it tries.
    fn tended(&self, machine: &Machine) {
        let Some(runs) = machine.running.get().filter(|runs| !self.proven.borrow().contains(runs)) else {
            return;
        };
        match machine.store.last_activation() {
            Ok(last) if last.as_ref().and_then(|last| last.last()).is_some_and(|last| last.to == runs) => {}
            last => self.wrong(format!("{runs} runs, is not proven, and is not what is tried: {last:?}")),
        }
    }

    /// Somebody does this while a deployer holds the lock.
    fn meanwhile(&self, machine: &Machine, act: Act) {
        self.tell(|| format!("meanwhile: {act:?}"));
        match act {
            Act::Stop => machine.stop_by_hand(),
            Act::Start if machine.running.get().is_none() => machine.start_service(),
            Act::Start => {}
            Act::Clock(seconds) => duty::set_clock(machine, seconds),
            command => match machine.store.writer(Duration::ZERO, "another") {
                Err(problem) if problem.kind == Kind::Busy => {}
                other => self.wrong(format!(
                    "{command:?} was let in while a deployer is at work: {:?}",
                    other.map(drop)
                )),
            },
        }
    }
}

fn seconds(step: Step) -> u64 {
    match step {
        Step::Stop => 5,
        Step::Point => 1,
        Step::Start => 60,
        Step::Validate => 30,
    }
}

impl Town {
    pub(super) fn new(schedule: &Schedule, root: &Path) -> Self {
        let shared = Rc::new(Shared::new(schedule));
        let fates = Rc::clone(&shared);
        let machine = Machine::new(Store::new(Layout::new(root)), None, move |machine, _, moment| {
            fates.fate(machine, moment)
        });
        let luck = Luck::Mixed(fastrand::Rng::with_seed(schedule.seed));
        Self { machine, shared, luck, squatter: None, watched: None, told: None }
    }

    /// Plays one act to its end, and judges it.
    pub(super) fn play(&mut self, number: usize, act: Act) -> Result<(), String> {
        self.shared.act.set(number);
        self.shared.moment.set(0);
        self.pass(BETWEEN_ACTS);
        self.shared.tell(|| format!("{act:?}"));
        self.shared.troubled.set(0);
        let around = Around { locked: self.squatter.is_some(), watched: self.watched };
        let before = View::of(&self.machine)?;
        let exit = self.act(act)?;
        self.shared.tell(|| format!("{act:?}: {exit:?}"));
        self.shared.saw(&format!("{act:?}: {exit:?}"));
        self.judge(exit)
            .and_then(|()| self.compare(act, exit, around, &before))
            .map_err(|why| format!("after {act:?}, which ended with {exit:?}: {why}"))?;
        self.shared.broken.set(None);
        self.squat();
        self.shared.wrong.take().map_or(Ok(()), Err)
    }

    /// Holds what became of an act against what was before it.
    fn compare(&self, act: Act, exit: Exit, around: Around, before: &View) -> Result<(), String> {
        let after = View::of(&self.machine)?;
        if self.shared.troubled.get() == 0 {
            outcome::calm(act, exit, around, before, &after)?;
        }
        let lossy = self.shared.faults.iter().any(|fault| fault.trouble.loses_records());
        outcome::told(exit, self.told, before, &after, lossy)?;
        outcome::walks(&after, lossy)?;
        // The end of a rollback may be missing on a full disk: the next process rolls back in the same way.
        if after.unfinished && !lossy && !after.stuck && !self.shared.person_needed.get() {
            return Err(format!("nobody goes on with what was left: {after}"));
        }
        Ok(())
    }

    /// Whatever happened: a person who asks for it has a host that serves what is proven, also after a power cut.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.squatter = None;
        let machine = Rc::clone(&self.machine);
        machine.calmly(|| {
            let exit = self.act(Act::Recover)?;
            let view = View::of(&machine)?;
            if view.stuck || view.unfinished || !matches!(exit, Exit::AlreadySo | Exit::WentBack) {
                return Err(format!("the last `recover` ended with {exit:?}: {view}"));
            }
            self.judge(exit).map_err(|why| format!("after the last `recover`: {why}"))?;
            self.luck = Luck::Bad;
            self.boot()?;
            self.judge(Exit::Lost).map_err(|why| format!("after the last power cut: {why}"))
        })
    }

    /// Whether the newest activation was committed.
    pub(super) fn is_committed(&self) -> bool {
        let last = self.machine.store.last_activation().expect("what is on record can be read");
        last.is_some_and(|last| last.last().and_then(Activation::end) == Some(&End::Committed))
    }

    fn act(&mut self, act: Act) -> Result<Exit, String> {
        Ok(match act {
            Act::Deploy | Act::Rollback | Act::Again => return self.order(act),
            Act::Recover => return self.recover(),
            Act::Withdraw => return self.withdraw(),
            Act::Cut => return self.boot(),
            Act::Stop => {
                self.machine.stop_by_hand();
                Exit::Lost
            }
            Act::Start => {
                if self.machine.running.get().is_none() {
                    self.machine.start_service();
                }
                Exit::Lost
            }
            Act::Clock(seconds) => {
                duty::set_clock(&self.machine, seconds);
                Exit::Lost
            }
        })
    }

    /// The command of a person, and then the process that the service manager runs for it.
    fn order(&mut self, act: Act) -> Result<Exit, String> {
        let machine = Rc::clone(&self.machine);
        match machine.process(|| duty::order(&machine, act)) {
            Ok(Ok(Some(number))) => {
                self.shared.person_needed.set(false);
                let exit = self.lives(|machine| duty::conduct(machine, number, act))?;
                self.watched = (exit == Exit::Done).then_some(number);
                Ok(exit)
            }
            Ok(Ok(None)) => Ok(Exit::AlreadySo),
            Ok(Err(problem)) => Ok(self.ended_early(&problem)),
            Err(gone) => self.ended(gone),
        }
    }

    fn recover(&mut self) -> Result<Exit, String> {
        let machine = Rc::clone(&self.machine);
        match machine.process(|| duty::recover(&machine)) {
            Ok(Ok(ended)) => {
                self.shared.person_needed.set(false);
                Ok(self.tell(ended.as_ref()))
            }
            Ok(Err(problem)) => Ok(self.ended_early(&problem)),
            Err(gone) => self.ended(gone),
        }
    }

    fn tell(&mut self, ended: Option<&Ended>) -> Exit {
        self.told = ended.map(|ended| ended.number);
        let exit = ended.map_or(Exit::AlreadySo, |ended| Exit::of(&ended.end));
        // On a full disk that is told, and not on record.
        if exit == Exit::Stuck && self.unfinished() {
            self.shared.person_needed.set(true);
        }
        exit
    }

    fn ended_early(&self, problem: &Problem) -> Exit {
        self.shared.tell(|| problem.to_string());
        self.shared.person_needed.set(self.shared.person_needed.get() || self.unfinished());
        Exit::of_problem(problem)
    }

    /// A command that is no more: nobody but a person goes on with what it was in the middle of.
    fn ended(&mut self, gone: Gone) -> Result<Exit, String> {
        match gone {
            Gone::Killed => self.shared.person_needed.set(self.unfinished()),
            Gone::Cut => return self.boot(),
        }
        Ok(Exit::Lost)
    }

    fn unfinished(&self) -> bool {
        let last = self.machine.store.last_activation().expect("what is on record can be read");
        last.is_some_and(|last| last.last().is_some_and(|last| last.next().is_some()))
    }

    fn withdraw(&mut self) -> Result<Exit, String> {
        let Some(number) = self.watched.take() else { return Ok(Exit::Refused) };
        self.lives(|machine| duty::withdraw(machine, number))
    }

    /// Runs the process of the service manager, and again whenever it is gone.
    fn lives(&mut self, life: impl Fn(&Machine) -> Result<Option<Ended>, Problem>) -> Result<Exit, String> {
        let machine = Rc::clone(&self.machine);
        for _ in 0..MOST_LIVES {
            match machine.process(|| life(&machine)) {
                Ok(Ok(ended)) => return Ok(self.tell(ended.as_ref())),
                Ok(Err(problem)) if duty::is_overtaken(&problem) => return Ok(Exit::Overtaken),
                Ok(Err(problem)) if problem.kind == Kind::Busy => self.pass(LOCK_PATIENCE + STARTED_AGAIN),
                Ok(Err(problem)) if problem.kind == Kind::Stuck => return Ok(Exit::Stuck),
                Ok(Err(_)) => self.pass(STARTED_AGAIN),
                Err(Gone::Cut) => return self.boot(),
                Err(Gone::Killed) => {
                    self.squat();
                    if let Some(act) = self.shared.first.take() {
                        self.shared.saw("First");
                        self.shared.tell(|| format!("first: {act:?}"));
                        let exit = machine.calmly(|| self.act(act))?;
                        self.shared.tell(|| format!("first: {act:?}: {exit:?}"));
                    }
                    self.pass(STARTED_AGAIN);
                }
            }
        }
        Err("the deployer never comes to an end".to_owned())
    }

    /// The power is cut. At the next boot the recovery is run, and then systemd starts what is current.
    fn boot(&mut self) -> Result<Exit, String> {
        let machine = Rc::clone(&self.machine);
        (self.squatter, self.watched) = (None, None);
        machine.cut(&mut self.luck);
        self.shared.person_needed.set(false);
        for _ in 0..MOST_LIVES {
            self.shared.tell(|| "boot".to_owned());
            self.pass(BOOT);
            match machine.process(|| duty::recover_at_boot(&machine)) {
                Ok(Ok(_)) => {
                    machine.start_service();
                    return Ok(Exit::Lost);
                }
                Ok(Err(_)) | Err(Gone::Killed) => {}
                Err(Gone::Cut) => machine.cut(&mut self.luck),
            }
        }
        Err("the recovery at boot never comes to an end".to_owned())
    }

    fn squat(&mut self) {
        let seconds = self.shared.squat.take();
        if seconds > 0 && self.squatter.is_none() {
            let lock = self.machine.store.layout().lock();
            if let Ok(file) = lock_file::hold(&lock, Duration::ZERO, "a stranger") {
                self.shared.saw("Squat");
                self.shared.tell(|| format!("a stranger holds the lock for {seconds} s"));
                self.squatter = Some((file, self.shared.clock.get() + seconds));
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.shared.tick(&self.machine, seconds);
        let now = self.shared.clock.get();
        self.squatter.take_if(|(_, until)| *until <= now);
    }

    /// Checks what must be so when nobody is at work.
    fn judge(&self, exit: Exit) -> Result<(), String> {
        let Machine { store, running, .. } = &*self.machine;
        let say = |problem: Problem| problem.to_string();
        let (current, runs, proven) =
            (store.current().map_err(say)?, running.get(), store.known_good().map_err(say)?);
        self.shared.proven.replace(proven.clone());
        let last = store.last_activation().map_err(say)?;
        let stuck = not_stuck(last.as_ref()).is_err();
        let told = last.as_ref().filter(|last| Some(last.number) == self.told);
        if let Some(wrong) = told.and_then(|told| exit.contradicts(told.last()?, current)) {
            return Err(wrong);
        }
        let last = last.as_ref().and_then(|last| last.last());
        if stuck || self.shared.person_needed.get() {
            return Ok(());
        }
        // The lock may keep the recovery of a person's command from going on.
        match runs {
            Some(runs) if current != Some(runs) => Err(format!("{runs} runs, and {current:?} is current")),
            Some(runs) if !proven.contains(&runs) => {
                Err(format!("{runs} runs, and only {proven:?} are proven"))
            }
            None if proven.is_empty() || self.machine.by_hand.get() => Ok(()),
            None => Err(format!(
                "nothing runs; {current:?} is current, {proven:?} are proven; {:?}",
                last.map(Activation::end).map(|end| end.map(End::name))
            )),
            Some(_) => Ok(()),
        }
    }
}
