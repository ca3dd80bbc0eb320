//! A stuck activation, signals, and a torn journal. Every fault and every pair of faults: `tests/faults`.

use crate::{scratch::tempdir, stand::FORKED};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, Cause, End, State, Step},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        store::layout::Layout,
    },
    flow::activation::driver::{ResumePolicy, Steps, activate, not_stuck, recover},
    host::{
        os::signals::Interrupt,
        store::{
            Store, StoreWriter,
            journal::{self, Journal},
        },
    },
};
use std::{cell::Cell, io::Write, ops::Range};

const OLD: GenerationId = GenerationId(1);
const NEW: GenerationId = GenerationId(2);
const TRY: ActivationRequest = ActivationRequest { action: Action::Deploy, to: NEW };

/// The service, and which calls to it fail.
#[derive(Default)]
struct Machine {
    running: Cell<Option<GenerationId>>,
    calls: Cell<usize>,
    failing: Range<usize>,
}

struct Faulty<'a> {
    machine: &'a Machine,
    locked: &'a StoreWriter<'a>,
}

impl Faulty<'_> {
    fn call(&mut self, act: impl FnOnce(&mut Self)) -> Result<(), String> {
        let call = self.machine.calls.replace(self.machine.calls.get() + 1);
        if self.machine.failing.contains(&call) {
            return Err(format!("injected at call {call}"));
        }
        act(self);
        Ok(())
    }
}

impl Steps for Faulty<'_> {
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
        assert_eq!(self.machine.running.get(), Some(generation), "what is validated is what runs");
        self.call(|_| ())
    }
}

#[test]
fn three_failed_rollbacks_are_stuck_and_say_so() {
    let root = tempdir().unwrap();
    let store = Store::new(Layout::new(root.path()));
    let writer = store.writer(FORKED, "test").unwrap();
    let machine = Machine { failing: 3..7, running: Cell::new(Some(OLD)), ..Machine::default() };
    let mut host = Faulty { machine: &machine, locked: &writer };
    let number = writer.order(&TRY).unwrap();
    let activation = Activation::new(Some(OLD), NEW);
    let ended = activate(&writer, number, activation, &mut host, &Interrupt::default(), &|_| ()).unwrap();
    assert_eq!(
        ended.end,
        End::Stuck {
            cause: Cause::Failed { step: Step::Validate, why: "injected at call 3".into() },
            step: Step::Stop,
            why: "injected at call 6".into(),
        }
    );
}

#[test]
fn what_is_stuck_blocks_until_a_person_asks_for_recovery() {
    let root = tempdir().unwrap();
    let store = Store::new(Layout::new(root.path()));
    let machine = Machine { failing: 3..7, running: Cell::new(Some(OLD)), ..Machine::default() };
    let quiet = |_| ();
    let writer = store.writer(FORKED, "test").unwrap();
    writer.point(Some(OLD)).unwrap();
    let mut host = Faulty { machine: &machine, locked: &writer };
    let number = writer.order(&TRY).unwrap();
    let activation = Activation::new(Some(OLD), NEW);
    activate(&writer, number, activation, &mut host, &Interrupt::default(), &quiet).unwrap();
    not_stuck(store.last_activation().unwrap().as_ref()).unwrap_err();

    let host = |_, _: &Activation| Ok(Faulty { machine: &machine, locked: &writer });
    assert!(recover(&writer, ResumePolicy::Finish, host, &quiet).unwrap().is_none(), "nobody asked");
    let host = |_, _: &Activation| Ok(Faulty { machine: &machine, locked: &writer });
    let ended = recover(&writer, ResumePolicy::Unstick, host, &quiet).unwrap().unwrap();
    assert!(matches!(ended.end, End::RolledBack { .. }), "{:?}", ended.end);
    assert_eq!((store.current().unwrap(), machine.running.get()), (Some(OLD), Some(OLD)));
    not_stuck(store.last_activation().unwrap().as_ref()).unwrap();
}

#[test]
fn a_signal_at_any_step_goes_back() {
    for step in [Step::Stop, Step::Point, Step::Start, Step::Validate] {
        let root = tempdir().unwrap();
        let store = Store::new(Layout::new(root.path()));
        let writer = store.writer(FORKED, "test").unwrap();
        writer.point(Some(OLD)).unwrap();
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
        let mut host = Faulty { machine: &machine, locked: &writer };
        let number = writer.order(&TRY).unwrap();
        let activation = Activation::new(Some(OLD), NEW);
        let ended = activate(&writer, number, activation, &mut host, &interrupt, &press).unwrap();
        assert_eq!(ended.end, End::RolledBack { cause: Cause::Interrupted { step } });
        assert_eq!((store.current().unwrap(), machine.running.get()), (Some(OLD), Some(OLD)));
    }
}

#[test]
fn a_torn_line_is_left_out_and_cut_off() {
    let root = tempdir().unwrap();
    let last = || journal::read(root.path()).unwrap().entries.pop().map(|entry| entry.activation);
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
