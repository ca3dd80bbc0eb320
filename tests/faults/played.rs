//! Every fault and every ordered pair of faults in one process, in milliseconds: the real machine, driver, journal
//! and `current` link; a host in memory in systemd's place.

use crate::story::Story;
use awqdeploy::{
    domain::{
        activation::{Activation, End, GenerationId},
        layout::Layout,
        order::{Action, Order},
    },
    flow::activate::{Ended, Host, Left, activate, recover, withdraw},
    host::{
        signals::Interrupt,
        store::{Locked, Store},
    },
};
use std::{
    cell::Cell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    time::Duration,
};

const OLD: GenerationId = GenerationId(1);
const NEW: GenerationId = GenerationId(2);
/// Nobody else holds the lock, but a child of another thread that is about to become another program.
const FORKED: Duration = Duration::from_secs(2);
/// More processes than any pair of faults can end.
const MOST_PROCESSES: usize = 8;

/// What happens at one call to the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Blow {
    /// The step does not work.
    Fails,
    /// SIGKILL before the step did anything.
    KilledBefore,
    /// SIGKILL when the step had worked, and nobody knew.
    KilledAfter,
    /// The power goes, likewise.
    CutBefore,
    CutAfter,
    /// SIGTERM or Ctrl-C while the step runs: both are noted alike.
    Signal,
}

impl Blow {
    pub(crate) const ALL: [Self; 6] =
        [Self::Fails, Self::KilledBefore, Self::KilledAfter, Self::CutBefore, Self::CutAfter, Self::Signal];
}

/// How a schedule went: the end, and how many calls there were, so that the next fault can be put at each.
pub(crate) struct Went {
    pub(crate) committed: bool,
    pub(crate) calls: usize,
}

/// This process is no more.
enum Gone {
    Killed,
    Cut,
}

/// What outlives the deployer.
struct Machine {
    running: Cell<Option<GenerationId>>,
    calls: Cell<usize>,
    blows: Vec<(usize, Blow)>,
    interrupt: Interrupt,
}

struct Played<'a> {
    machine: &'a Machine,
    locked: &'a Locked<'a>,
    /// At boot nothing is stopped or started: systemd starts the service once this is done.
    boot: bool,
}

impl Played<'_> {
    fn call(&mut self, act: impl FnOnce(&mut Self)) -> Result<(), String> {
        let call = self.machine.calls.replace(self.machine.calls.get() + 1);
        let blow = self.machine.blows.iter().find(|(at, _)| *at == call).map(|(_, blow)| *blow);
        match blow {
            Some(Blow::Fails) => return Err(format!("injected at call {call}")),
            Some(Blow::KilledBefore) => resume_unwind(Box::new(Gone::Killed)),
            Some(Blow::CutBefore) => resume_unwind(Box::new(Gone::Cut)),
            Some(Blow::Signal) => self.machine.interrupt.raise(),
            Some(Blow::KilledAfter | Blow::CutAfter) | None => {}
        }
        act(self);
        match blow {
            Some(Blow::KilledAfter) => resume_unwind(Box::new(Gone::Killed)),
            Some(Blow::CutAfter) => resume_unwind(Box::new(Gone::Cut)),
            _ => Ok(()),
        }
    }
}

impl Host for Played<'_> {
    fn stop(&mut self) -> Result<(), String> {
        let boot = self.boot;
        self.call(|this| this.machine.running.set(if boot { this.machine.running.get() } else { None }))
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.call(|this| this.locked.point(to).expect("the link can be written"))
    }

    fn start(&mut self) -> Result<(), String> {
        let boot = self.boot;
        self.call(|this| {
            if !boot {
                this.machine.running.set(this.locked.store().current().expect("the link can be read"));
            }
        })
    }

    fn validate(&mut self, generation: GenerationId) -> Result<(), String> {
        assert_eq!(self.machine.running.get(), Some(generation), "what is validated is what runs");
        self.call(|_| ())
    }
}

/// Plays a story with these blows. What it must never come to is the error.
pub(crate) fn play(story: Story, blows: &[(usize, Blow)], scratch: &Path) -> Result<Went, String> {
    let root = tempfile::tempdir_in(scratch).map_err(|e| e.to_string())?;
    let store = Store::new(Layout::new(root.path()));
    let from = serves_before(story);
    let machine = Machine {
        running: Cell::new(from),
        calls: Cell::new(0),
        blows: blows.to_vec(),
        interrupt: Interrupt::default(),
    };
    begin(&store, story);
    let mut gone = carry(&store, &machine, story);
    for _ in 0..MOST_PROCESSES {
        // Only a deployer that came through has an end; everything else is found by the next one.
        gone = match gone {
            Ok(ended) => return judge(&store, &machine, from, ended),
            Err(Gone::Killed) => next(&store, &machine, false),
            Err(Gone::Cut) => {
                machine.running.set(None);
                next(&store, &machine, true)
            }
        };
    }
    Err("it never ends".to_owned())
}

fn serves_before(story: Story) -> Option<GenerationId> {
    (story != Story::First).then_some(OLD)
}

/// What is on record before: every generation that is said to be proven was committed by an activation.
fn begin(store: &Store, story: Story) {
    let locked = store.lock(FORKED, "test").expect("the root can be locked");
    for id in [OLD, NEW] {
        std::fs::create_dir_all(store.layout().generation(id)).expect("the root can be written");
    }
    let proven = match story {
        Story::First => &[][..],
        Story::Replacement | Story::Withdrawal => &[OLD],
        Story::Rollback => &[NEW, OLD],
    };
    for id in proven {
        let committed = Activation::new(None, *id);
        let committed = (0..4).fold(committed, |activation, _| activation.after(Ok(())));
        let number = locked.order(&Order { action: Action::Deploy, to: *id }).expect("it can be ordered");
        locked
            .journal(number)
            .and_then(|mut journal| journal.record(&committed))
            .expect("it can be recorded");
    }
    locked.point(serves_before(story)).expect("the link can be written");
}

fn carry(store: &Store, machine: &Machine, story: Story) -> Result<Option<Ended>, Gone> {
    survived(|| {
        let locked = store.lock(FORKED, "test").expect("the root can be locked");
        let from = serves_before(story);
        let mut host = Played { machine, locked: &locked, boot: false };
        let number = locked.order(&Order { action: Action::Deploy, to: NEW }).expect("it can be ordered");
        let activation = Activation::new(from, NEW);
        if story != Story::Withdrawal {
            let quiet = |_| ();
            return activate(&locked, number, activation, &mut host, &machine.interrupt, &quiet).ok();
        }
        // The faults are for the way back: what comes before it has none.
        let committed = (0..4).fold(activation, |activation, _| activation.after(Ok(())));
        locked
            .journal(number)
            .and_then(|mut journal| journal.record(&committed))
            .expect("it can be recorded");
        locked.point(Some(NEW)).expect("the link can be written");
        machine.running.set(Some(NEW));
        withdraw(&locked, "it hangs".to_owned(), |_, _| Ok(host), &|_| ()).expect("it can be recorded")
    })
}

/// The process that comes after one that is gone: the service manager's restart, or the recovery at boot, after which
/// systemd starts what is current.
fn next(store: &Store, machine: &Machine, boot: bool) -> Result<Option<Ended>, Gone> {
    let ended = survived(|| {
        let locked = store.lock(FORKED, "test").expect("the root can be locked");
        let host = |_, _: &Activation| Ok(Played { machine, locked: &locked, boot });
        recover(&locked, Left::Finish, host, &|_| ()).expect("what is on record can be read")
    });
    if !boot {
        return ended;
    }
    match ended {
        // The unit is tried again; meanwhile the service finds that what is current was never proven.
        Err(Gone::Killed) => next(store, machine, true),
        Err(Gone::Cut) => Err(Gone::Cut),
        Ok(ended) => {
            machine.running.set(store.current().expect("the link can be read"));
            Ok(ended)
        }
    }
}

fn survived<T>(story: impl FnOnce() -> T) -> Result<T, Gone> {
    catch_unwind(AssertUnwindSafe(story)).map_err(|payload| match payload.downcast::<Gone>() {
        Ok(gone) => *gone,
        Err(bug) => resume_unwind(bug),
    })
}

fn judge(
    store: &Store,
    machine: &Machine,
    from: Option<GenerationId>,
    ended: Option<Ended>,
) -> Result<Went, String> {
    // A process that came before may have ended it.
    let recorded = store.last_activation().map_err(|e| e.to_string())?;
    let on_record = recorded.as_ref().and_then(|recorded| recorded.last()?.end().cloned());
    let end = ended.map(|ended| ended.end).or(on_record).ok_or("no end is on record")?;
    let expected = match end {
        End::Committed => Some(NEW),
        End::RolledBack { .. } => from,
        End::Stuck { .. } => return Err("it is stuck".to_owned()),
    };
    let current = store.current().map_err(|e| e.to_string())?;
    let running = machine.running.get();
    let proven: BTreeSet<GenerationId> = store.proven().map_err(|e| e.to_string())?;
    if (current, running) != (expected, expected) {
        return Err(format!("{end:?}, and {current:?} is current, {running:?} runs"));
    }
    if running.is_some_and(|running| !proven.contains(&running)) {
        return Err(format!("{running:?} runs, and only {proven:?} are proven"));
    }
    Ok(Went { committed: end == End::Committed, calls: machine.calls.get() })
}
