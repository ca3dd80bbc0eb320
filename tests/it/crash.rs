//! Every single fault and every ordered pair of faults, at every call to the host: whatever happens,
//! what runs in the end is a generation that was proven, and `current` agrees with it.

use awqdeploy::{
    domain::{
        activation::{Activation, Cause, End, GenerationId, State, Step},
        layout::Layout,
    },
    flow::activate::{Ended, Host, Left, activate, not_stuck, recover},
    host::{
        journal::{self, Journal},
        signals::Interrupt,
        store::{Locked, Store},
    },
};
use std::{
    cell::{Cell, RefCell},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

/// A program that another test starts holds this one's locks too, between its fork and its exec.
const PATIENCE: Duration = Duration::from_secs(10);
const OLD: GenerationId = GenerationId(1);
const NEW: GenerationId = GenerationId(2);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Fail,
    CrashBefore,
    CrashAfter,
}

/// The power went, or the process was killed.
struct Crash;

/// What survives a crash of the deployer: the service, and our knowledge of it.
#[derive(Default)]
struct Machine {
    running: Cell<Option<GenerationId>>,
    proven: RefCell<Vec<GenerationId>>,
    calls: Cell<usize>,
    faults: Vec<(usize, Fault)>,
}

struct Faulty<'a> {
    machine: &'a Machine,
    locked: &'a Locked<'a>,
}

impl Faulty<'_> {
    fn call(&mut self, act: impl FnOnce(&mut Self)) -> Result<(), String> {
        let call = self.machine.calls.replace(self.machine.calls.get() + 1);
        match self.machine.faults.iter().find(|(at, _)| *at == call).map(|(_, fault)| *fault) {
            Some(Fault::Fail) => Err(format!("injected at call {call}")),
            Some(Fault::CrashBefore) => resume_unwind(Box::new(Crash)),
            Some(Fault::CrashAfter) => {
                act(self);
                resume_unwind(Box::new(Crash))
            }
            None => {
                act(self);
                Ok(())
            }
        }
    }
}

impl Host for Faulty<'_> {
    fn stop(&mut self) -> Result<(), String> {
        self.call(|this| this.machine.running.set(None))
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.call(|this| this.locked.point(to).unwrap())
    }

    fn start(&mut self) -> Result<(), String> {
        self.call(|this| this.machine.running.set(this.locked.store().current().unwrap()))
    }

    fn validate(&mut self, generation: GenerationId) -> Result<(), String> {
        let running = self.machine.running.get();
        self.call(|this| {
            assert_eq!(running, Some(generation), "what is validated is what runs");
            this.machine.proven.borrow_mut().push(generation);
        })
    }
}

struct Ran {
    end: End,
    current: Option<GenerationId>,
    machine: Machine,
}

/// Runs to the end through any number of crashes, as boot recovery would.
fn run(faults: Vec<(usize, Fault)>, from: Option<GenerationId>) -> Ran {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Layout::new(root.path()));
    let machine = Machine { running: Cell::new(from), faults, ..Machine::default() };
    machine.proven.borrow_mut().extend(from);
    store.lock(PATIENCE, "test").unwrap().point(from).unwrap();

    let quiet = |_| ();
    let survives = |story: &dyn Fn() -> Option<Ended>| catch_unwind(AssertUnwindSafe(story));
    let mut ended = survives(&|| {
        let locked = store.lock(PATIENCE, "test").unwrap();
        let host = |_| Faulty { machine: &machine, locked: &locked };
        Some(activate(&locked, from, NEW, host, &Interrupt::default(), &quiet).unwrap().0)
    });
    while ended.is_err() {
        ended = survives(&|| {
            let locked = store.lock(PATIENCE, "test").unwrap();
            let host = |_, _: &Activation| Ok(Faulty { machine: &machine, locked: &locked });
            recover(&locked, Left::Finish, host, &quiet).unwrap()
        });
    }
    let end = ended.ok().flatten().expect("a crashed activation is found unfinished").end;
    Ran { end, current: store.current().unwrap(), machine }
}

/// Returns how many calls there were, so that the next fault can be put at each of them.
fn check(faults: &[(usize, Fault)], from: Option<GenerationId>) -> usize {
    let Ran { end, current, machine } = run(faults.to_vec(), from);
    let expected = match end {
        End::Committed => Some(NEW),
        End::RolledBack { .. } => from,
        End::Stuck { .. } => panic!("stuck after {faults:?}"),
    };
    let running = machine.running.get();
    assert!(
        running.is_none_or(|running| machine.proven.borrow().contains(&running)),
        "an unproven generation serves after {faults:?}"
    );
    assert_eq!((current, running), (expected, expected), "{end:?} after {faults:?} from {from:?}");
    machine.calls.get()
}

#[test]
fn after_every_fault_and_every_pair_something_proven_serves() {
    let mut schedules = 0;
    for from in [None, Some(OLD)] {
        let calls = check(&[], from);
        for first in 0..calls {
            for fault in [Fault::Fail, Fault::CrashBefore, Fault::CrashAfter] {
                let calls = check(&[(first, fault)], from);
                schedules += 1;
                for second in first + 1..calls {
                    for again in [Fault::Fail, Fault::CrashBefore, Fault::CrashAfter] {
                        check(&[(first, fault), (second, again)], from);
                        schedules += 1;
                    }
                }
            }
        }
    }
    assert_eq!(schedules, 204, "the schedules that the machine allows");
}

#[test]
fn three_failures_of_the_way_back_are_stuck_and_say_so() {
    let faults = (3..7).map(|call| (call, Fault::Fail)).collect();
    let Ran { end, .. } = run(faults, Some(OLD));
    assert_eq!(
        end,
        End::Stuck {
            cause: Cause::Failed { step: Step::Validate, why: "injected at call 3".into() },
            step: Step::Stop,
            why: "injected at call 6".into(),
        }
    );
}

#[test]
fn what_is_stuck_blocks_until_a_person_asks_for_recovery() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(Layout::new(root.path()));
    let faults = (3..7).map(|call| (call, Fault::Fail)).collect();
    let machine = Machine { faults, running: Cell::new(Some(OLD)), ..Machine::default() };
    machine.proven.borrow_mut().push(OLD);
    let quiet = |_| ();
    let locked = store.lock(PATIENCE, "test").unwrap();
    locked.point(Some(OLD)).unwrap();
    let host = |_| Faulty { machine: &machine, locked: &locked };
    activate(&locked, Some(OLD), NEW, host, &Interrupt::default(), &quiet).unwrap();
    not_stuck(store.last_activation().unwrap().as_ref()).unwrap_err();

    let host = |_, _: &Activation| Ok(Faulty { machine: &machine, locked: &locked });
    assert!(recover(&locked, Left::Finish, host, &quiet).unwrap().is_none(), "nobody asked");
    let host = |_, _: &Activation| Ok(Faulty { machine: &machine, locked: &locked });
    let ended = recover(&locked, Left::Unstick, host, &quiet).unwrap().unwrap();
    assert!(matches!(ended.end, End::RolledBack { .. }), "{:?}", ended.end);
    assert_eq!((store.current().unwrap(), machine.running.get()), (Some(OLD), Some(OLD)));
    not_stuck(store.last_activation().unwrap().as_ref()).unwrap();
}

#[test]
fn a_signal_at_any_step_goes_back() {
    for step in [Step::Stop, Step::Point, Step::Start, Step::Validate] {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(Layout::new(root.path()));
        let locked = store.lock(PATIENCE, "test").unwrap();
        locked.point(Some(OLD)).unwrap();
        let machine = Machine { running: Cell::new(Some(OLD)), ..Machine::default() };
        let interrupt = Interrupt::default();
        let press = |event| {
            if let awqdeploy::flow::event::Event::Activation { state: State::Forward { step: now }, .. } =
                event
                && now == step
            {
                interrupt.raise();
            }
        };
        let host = |_| Faulty { machine: &machine, locked: &locked };
        let (ended, _) = activate(&locked, Some(OLD), NEW, host, &interrupt, &press).unwrap();
        assert_eq!(ended.end, End::RolledBack { cause: Cause::Interrupted { step } });
        assert_eq!((store.current().unwrap(), machine.running.get()), (Some(OLD), Some(OLD)));
    }
}

#[test]
fn a_torn_line_is_left_out_and_cut_off() {
    let root = tempfile::tempdir().unwrap();
    let last = || journal::entries(root.path()).unwrap().pop().map(|entry| entry.activation);
    let whole = Activation::new(Some(OLD), NEW);
    Journal::open(root.path()).unwrap().record(&whole).unwrap();
    let line = serde_json::to_vec(&whole.clone().after(Ok(()))).unwrap();
    for cut in 0..=line.len() {
        let path = root.path().join(journal::NAME);
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all(&line[..cut]).unwrap();
        assert_eq!(last(), Some(whole.clone()), "cut at {cut}");
        let next = whole.clone().resumed();
        Journal::open(root.path()).unwrap().record(&next).unwrap();
        assert_eq!(last(), Some(next), "written after a cut at {cut}");
        file.set_len(length).unwrap();
    }
}
