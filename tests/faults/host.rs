//! The host that faults happen to in one process: a service in memory in systemd's place, a disk that loses what was
//! not synced, and a deployer that dies at any moment. The machine, driver, journal and `current` link are the real ones.

use super::{
    disk::{Disk, Luck},
    room,
};
use awqdeploy::{
    domain::{
        activation::machine::{Activation, Step, another},
        generation_id::GenerationId,
    },
    flow::activation::driver::Steps,
    host::{
        os::{
            signals::Interrupt,
            sync_hook::{HookGuard, install},
        },
        store::{Store, StoreWriter, journal},
    },
};
use std::{
    cell::{Cell, RefCell},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    rc::Rc,
    time::Duration,
};

/// Nobody else holds the lock, but a child of another thread that is about to become another program.
pub(crate) const FORKED: Duration = Duration::from_secs(2);

/// When something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A step is run.
    Call(Step),
    /// Something is synced.
    Sync,
    /// The folder of a new journal is synced: its first record comes next.
    SyncOfFolder,
}

/// The trouble that comes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// The step does not work, or the sync.
    Fails,
    /// SIGKILL before it did anything.
    KilledBefore,
    /// SIGKILL when the step had worked, and nobody knew.
    KilledAfter,
    /// The power goes, likewise.
    CutBefore,
    CutAfter,
    /// SIGTERM or Ctrl-C while the step runs: both are noted alike.
    Signal,
    /// The next record ends in the middle, and then there is room again.
    Torn,
    /// Nothing more can be recorded by this process.
    Full,
}

impl Blow {
    pub(crate) const ALL: [Self; 8] = [
        Self::Fails,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::CutBefore,
        Self::CutAfter,
        Self::Signal,
        Self::Torn,
        Self::Full,
    ];

    /// Whether it can come at such a moment.
    pub(crate) fn fits(self, moment: Moment) -> bool {
        match (self, moment) {
            (_, Moment::Call(_)) | (Self::Fails | Self::KilledBefore | Self::CutBefore, _) => true,
            (Self::Torn | Self::Full, moment) => moment == Moment::SyncOfFolder,
            (Self::KilledAfter | Self::CutAfter | Self::Signal, _) => false,
        }
    }
}

/// This process is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Killed,
    Cut,
}

/// Says what goes wrong at a moment; the number counts them from the beginning.
type Fate = Box<dyn FnMut(&Machine, usize, Moment) -> Option<Blow>>;

/// The things that outlive the deployer.
pub(crate) struct Machine {
    pub(crate) store: Store,
    pub(crate) running: Cell<Option<GenerationId>>,
    pub(crate) interrupt: RefCell<Interrupt>,
    /// Every moment so far.
    pub(crate) moments: RefCell<Vec<Moment>>,
    disk: Disk,
    fate: RefCell<Fate>,
    /// Whether there is no more room for this process.
    full: Cell<bool>,
    /// Nothing goes wrong while this is so.
    calm: Cell<bool>,
    /// The generation that was started by whoever tries it, and is no longer refused until the next boot.
    trial: Cell<Option<GenerationId>>,
    /// Whether a deployer is at work.
    pub(crate) at_work: Cell<bool>,
    /// Whether a person stopped the service.
    pub(crate) by_hand: Cell<bool>,
}

impl Machine {
    /// A machine whose disk has what is below the store's root by now.
    pub(crate) fn new(
        store: Store,
        running: Option<GenerationId>,
        fate: impl FnMut(&Self, usize, Moment) -> Option<Blow> + 'static,
    ) -> Rc<Self> {
        Rc::new(Self {
            disk: Disk::new(store.layout().root()),
            store,
            running: Cell::new(running),
            interrupt: RefCell::default(),
            moments: RefCell::default(),
            fate: RefCell::new(Box::new(fate)),
            full: Cell::new(false),
            calm: Cell::new(false),
            trial: Cell::new(None),
            at_work: Cell::new(false),
            by_hand: Cell::new(false),
        })
    }

    /// From now on, until the answer is dropped, what this thread syncs is synced to the disk of this machine.
    pub(crate) fn plug_in(self: &Rc<Self>) -> HookGuard {
        let machine = Rc::clone(self);
        install(move |path| machine.sync(path))
    }

    /// Runs a process to its end, or until it is gone.
    pub(crate) fn process<T>(&self, story: impl FnOnce() -> T) -> Result<T, Gone> {
        self.interrupt.replace(Interrupt::default());
        self.at_work.set(true);
        let ended =
            catch_unwind(AssertUnwindSafe(story)).map_err(|payload| match payload.downcast::<Gone>() {
                Ok(gone) => *gone,
                Err(bug) => resume_unwind(bug),
            });
        self.at_work.set(false);
        self.full.set(false);
        room::limit(None);
        ended
    }

    /// The power goes: what ran is gone, and what was not synced, too.
    pub(crate) fn cut(&self, luck: &mut Luck) {
        self.running.set(None);
        self.by_hand.set(false);
        self.trial.set(None);
        self.disk.cut(luck);
    }

    /// systemd starts the service, which refuses what was never proven unless somebody is trying it.
    pub(crate) fn start_service(&self) {
        let proven = self.store.known_good().expect("what is on record can be read");
        let current = self.store.current().expect("the link can be read");
        let may_serve = |id: &GenerationId| proven.contains(id) || self.trial.get() == Some(*id);
        self.by_hand.set(false);
        self.running.set(current.filter(may_serve));
    }

    /// A person stops the service.
    pub(crate) fn stop_by_hand(&self) {
        self.running.set(None);
        self.by_hand.set(true);
    }

    /// Puts what somebody else changed on the disk, too.
    pub(crate) fn changed(&self, path: &Path) {
        self.disk.sync(path);
    }

    /// Does something in which nothing goes wrong.
    pub(crate) fn calmly<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.calm.replace(true);
        let done = act();
        self.calm.set(before);
        done
    }

    fn blow(&self, moment: Moment) -> Option<Blow> {
        if self.calm.get() {
            return None;
        }
        let number = self.moments.borrow().len();
        self.moments.borrow_mut().push(moment);
        // Torn once.
        if !self.full.get() {
            room::limit(None);
        }
        (self.fate.borrow_mut())(self, number, moment)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let first = path.parent().is_some_and(|parent| parent.ends_with("activations")) && path.is_dir();
        match self.blow(if first { Moment::SyncOfFolder } else { Moment::Sync }) {
            Some(Blow::Fails) => return Err(io::Error::other("injected")),
            Some(Blow::KilledBefore) => resume_unwind(Box::new(Gone::Killed)),
            Some(Blow::CutBefore) => resume_unwind(Box::new(Gone::Cut)),
            Some(blow) => self.fill(blow),
            None => {}
        }
        self.disk.sync(path);
        Ok(())
    }

    /// From now on the newest journal cannot grow; or only by a little.
    fn fill(&self, blow: Blow) {
        const LITTLE: u64 = 40;
        let activations = self.store.layout().activations();
        let numbers = fs::read_dir(activations).into_iter().flatten().flatten();
        let newest = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(0);
        let journal = self.store.layout().activation(newest).join(journal::NAME);
        let length = fs::metadata(journal).map_or(0, |metadata| metadata.len());
        match blow {
            Blow::Torn => room::limit(Some(length + LITTLE)),
            Blow::Full => {
                self.full.set(true);
                room::limit(Some(length));
            }
            _ => {}
        }
    }
}

/// The hands of one deployer.
pub(crate) struct Played<'a> {
    machine: &'a Machine,
    locked: &'a StoreWriter<'a>,
    /// At boot nothing is stopped or started: systemd starts the service once this is done.
    boot: bool,
    /// Like a start of the service manager, one on the way there heeds a signal.
    turned_back: bool,
}

impl<'a> Played<'a> {
    pub(crate) fn new(machine: &'a Machine, locked: &'a StoreWriter<'a>) -> Self {
        Self { machine, locked, boot: false, turned_back: false }
    }

    pub(crate) fn at_boot(machine: &'a Machine, locked: &'a StoreWriter<'a>) -> Self {
        Self { boot: true, ..Self::new(machine, locked) }
    }

    fn call(&mut self, step: Step, act: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let blow = self.machine.blow(Moment::Call(step));
        match blow {
            Some(Blow::Fails) => return Err(format!("injected: {step}")),
            Some(Blow::KilledBefore) => resume_unwind(Box::new(Gone::Killed)),
            Some(Blow::CutBefore) => resume_unwind(Box::new(Gone::Cut)),
            Some(Blow::Signal) => self.machine.interrupt.borrow().raise(),
            Some(_) | None => {}
        }
        let done = act(self);
        match blow {
            Some(Blow::KilledAfter) => resume_unwind(Box::new(Gone::Killed)),
            Some(Blow::CutAfter) => resume_unwind(Box::new(Gone::Cut)),
            Some(blow) => self.machine.fill(blow),
            None => {}
        }
        done
    }
}

impl Steps for Played<'_> {
    fn stop(&mut self) -> Result<(), String> {
        let boot = self.boot;
        self.call(Step::Stop, |this| {
            if !boot {
                this.machine.trial.set(None);
                this.machine.running.set(None);
            }
            Ok(())
        })
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.call(Step::Point, |this| this.locked.point(to).map_err(|problem| problem.to_string()))
    }

    fn start(&mut self) -> Result<(), String> {
        let boot = self.boot;
        self.call(Step::Start, |this| {
            if !this.turned_back && this.machine.interrupt.borrow().came() {
                return Err("stopped by a signal".to_owned());
            }
            if !boot {
                let current = this.locked.store().current().expect("the link can be read");
                this.machine.by_hand.set(false);
                this.machine.trial.set(current);
                this.machine.running.set(current);
            }
            Ok(())
        })
    }

    fn validate(&mut self, generation: GenerationId) -> Result<(), String> {
        self.call(Step::Validate, |this| {
            let runs = this.machine.running.get();
            if runs == Some(generation) { Ok(()) } else { Err(format!("{runs:?} runs")) }
        })
    }

    fn turns_back(&mut self) {
        self.turned_back = true;
    }

    fn was_stopped(&mut self, step: Step) -> bool {
        matches!(step, Step::Start | Step::Validate) && self.machine.by_hand.get()
    }

    fn otherwise(&mut self) -> Option<GenerationId> {
        let store = self.locked.store();
        let returnable = store.returnable().expect("what is on record can be read");
        another(&returnable, store.current().expect("the link can be read"))
    }
}

/// An activation that was carried out before, without any fault: what it proved is proven.
pub(crate) fn commit(writer: &StoreWriter<'_>, number: u64, activation: Activation) {
    let committed = (0..4).fold(activation, |activation, _| activation.after(Ok(())));
    writer.journal(number).and_then(|mut journal| journal.record(&committed)).expect("it can be recorded");
}
