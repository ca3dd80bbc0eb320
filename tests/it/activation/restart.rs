//! An activation from a generation to itself: what is proven is started anew, and there is nothing to try.

use crate::{
    scratch::tempdir,
    stand::{FORKED, NEW, OLD, Stand, patiently},
};
use awqdeploy::{
    domain::{
        activation::{
            machine::{
                Activation, Cause, End, State, Step, another, failed, known_good, rollback_target,
                without_records,
            },
            request::{Action, ActivationRequest},
            running::{AtBoot, Remedy, Runs, at_boot},
        },
        generation_id::GenerationId,
        store::layout::Layout,
    },
    flow::{
        activation::{
            driver::{Steps, activate, withdraw},
            outcome::Ended,
        },
        deploy::rollback::{Target, rollback},
    },
    host::{os::signals::Interrupt, store::Store},
};
use std::collections::BTreeSet;

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);
const THREE: GenerationId = GenerationId(3);

fn restart() -> Activation {
    Activation::new(Some(TWO), TWO)
}

fn fails_at(step: Step) -> Activation {
    let mut activation = restart();
    while activation.state != (State::Forward { step }) {
        activation = activation.after(Ok(()));
    }
    activation.after(Err("no".to_owned()))
}

#[test]
fn a_restart_that_finds_its_generation_wanting_goes_to_another() {
    for (step, from) in [(Step::Stop, TWO), (Step::Point, TWO), (Step::Start, ONE), (Step::Validate, ONE)] {
        assert_eq!(fails_at(step).rather(Some(ONE)).from, Some(from), "{step}");
        assert_eq!(fails_at(step).rather(None).from, Some(TWO), "there is no other");
    }
    assert_eq!(restart().resumed().rather(Some(ONE)).from, Some(TWO), "an interruption says nothing of it");
    let committed = Activation { state: State::Done { end: End::Committed }, ..restart() };
    assert_eq!(committed.degraded("slow".to_owned()).unwrap().rather(Some(ONE)).from, Some(ONE));
    let replacement = Activation::new(Some(ONE), TWO).after(Ok(())).after(Ok(())).after(Err("no".to_owned()));
    assert_eq!(replacement.rather(Some(THREE)).from, Some(ONE), "only a restart has a choice");
}

#[test]
fn a_restart_tries_nothing() {
    assert!(!restart().tries(Some(TWO)));
    let replacement = Activation::new(Some(ONE), TWO);
    assert_eq!([Some(TWO), Some(ONE), None].map(|aim| replacement.tries(aim)), [true, false, false]);
}

/// Journals of earlier versions went from a generation back to the same one: it serves.
#[test]
fn what_a_restart_went_back_to_is_still_proven() {
    let first = Activation { state: State::Done { end: End::Committed }, ..Activation::new(Some(ONE), TWO) };
    let cause = Cause::Degraded { why: "slow".to_owned() };
    let back = Activation { state: State::Done { end: End::RolledBack { cause } }, ..restart() };
    assert_eq!(known_good([&first, &back]), BTreeSet::from([TWO]));
    assert!(failed([&first, &back], TWO).is_some(), "and is not worth a deployment of its own");
    let elsewhere = Activation { from: Some(ONE), ..back };
    assert_eq!(known_good([&first, &elsewhere]), BTreeSet::new());
}

#[test]
fn the_rollback_target_is_proven() {
    let both = BTreeSet::from([ONE, TWO]);
    for (proven, current, to, back) in [
        (&both, Some(TWO), Some(THREE), Some(TWO)),
        (&both, Some(TWO), Some(TWO), Some(TWO)),
        (&both, Some(THREE), Some(TWO), Some(ONE)),
        (&both, None, Some(TWO), Some(ONE)),
        (&BTreeSet::from([TWO]), None, Some(TWO), Some(TWO)),
        (&BTreeSet::from([TWO]), Some(THREE), Some(THREE), Some(TWO)),
        (&BTreeSet::new(), Some(TWO), Some(TWO), None),
        (&both, None, None, Some(TWO)),
    ] {
        assert_eq!(rollback_target(proven, current, to), back, "{proven:?} {current:?} {to:?}");
    }
    assert_eq!(another(&both, Some(TWO)), Some(ONE));
    assert_eq!(without_records(TWO, Some(ONE)), Some(Activation::new(Some(ONE), TWO)));
    assert_eq!([None, Some(TWO)].map(|back| without_records(TWO, back)), [None, None]);
}

#[test]
fn what_runs_is_held_against_what_should() {
    let both = BTreeSet::from([ONE, TWO]);
    let (one, two) = (Runs::Generation(ONE), Runs::Generation(TWO));
    for (runs, current, proven, remedy) in [
        (one, Some(ONE), &both, None),
        (Runs::Nothing, Some(ONE), &both, None),
        (Runs::Unknown, Some(ONE), &both, None),
        (two, Some(ONE), &both, Some(Remedy::Start(ONE))),
        (two, Some(THREE), &both, Some(Remedy::Start(TWO))),
        (two, Some(THREE), &BTreeSet::new(), Some(Remedy::Stop)),
        (two, None, &both, Some(Remedy::Stop)),
    ] {
        assert_eq!(runs.remedy(current, proven), remedy, "{runs:?} {current:?} {proven:?}");
    }
}

#[test]
fn a_boot_is_told_from_a_target_that_is_started_anew() {
    let wrong = Some(Remedy::Start(ONE));
    for (up, unfinished, remedy, does) in [
        (false, true, None, AtBoot::PointBack),
        (false, false, None, AtBoot::PointBack),
        (true, true, None, AtBoot::Resume),
        (true, true, wrong, AtBoot::Resume),
        (true, false, wrong, AtBoot::Mend(Remedy::Start(ONE))),
        (true, false, None, AtBoot::Nothing),
    ] {
        assert_eq!(at_boot(up, unfinished, remedy), does, "{up} {unfinished} {remedy:?}");
    }
}

/// Two cannot be started any more; one can.
struct Broken<'a> {
    store: &'a Store,
    runs: Option<GenerationId>,
    stopped: bool,
}

impl Steps for Broken<'_> {
    fn stop(&mut self) -> Result<(), String> {
        self.runs = None;
        Ok(())
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        // The driver holds the lock.
        let current = self.store.layout().current();
        std::fs::remove_file(&current).ok();
        std::os::unix::fs::symlink(format!("generations/{}", to.unwrap()), current).map_err(|e| e.to_string())
    }

    fn start(&mut self) -> Result<(), String> {
        let current = self.store.current().unwrap();
        if current == Some(TWO) {
            return Err("it is broken".to_owned());
        }
        self.runs = current;
        Ok(())
    }

    fn validate(&mut self, _generation: GenerationId) -> Result<(), String> {
        Ok(())
    }

    fn was_stopped(&mut self, step: Step) -> bool {
        self.stopped && step == Step::Start
    }

    fn otherwise(&mut self) -> Option<GenerationId> {
        Some(ONE)
    }
}

fn store(root: &std::path::Path) -> Store {
    let store = Store::new(Layout::new(root));
    let writer = store.writer(FORKED, "test").unwrap();
    for to in [ONE, TWO] {
        std::fs::create_dir_all(store.layout().generation(to)).unwrap();
        let number = writer.order(&ActivationRequest { action: Action::Deploy, to }).unwrap();
        let committed =
            Activation { state: State::Done { end: End::Committed }, ..Activation::new(None, to) };
        writer.journal(number).unwrap().record(&committed).unwrap();
    }
    writer.point(Some(TWO)).unwrap();
    drop(writer);
    store
}

fn carry(store: &Store, host: &mut Broken<'_>, activation: Activation) -> Ended {
    let writer = store.writer(FORKED, "test").unwrap();
    let number = writer.order(&ActivationRequest { action: Action::Rollback, to: activation.to }).unwrap();
    activate(&writer, number, activation, host, &Interrupt::default(), &|_| ()).unwrap()
}

#[test]
fn a_restart_that_fails_ends_with_another_that_serves() {
    let root = tempdir().unwrap();
    let store = store(root.path());
    let mut host = Broken { store: &store, runs: None, stopped: false };
    let ended = carry(&store, &mut host, restart());
    assert!(
        matches!(ended.end, End::RolledBack { cause: Cause::Failed { step: Step::Start, .. } }),
        "{ended:?}"
    );
    assert_eq!(
        (ended.activation.from, store.current().unwrap(), host.runs),
        (Some(ONE), Some(ONE), Some(ONE))
    );
    let recorded = store.last_activation().unwrap().unwrap();
    assert_eq!(recorded.last().unwrap().from, Some(ONE), "and that is on record");
}

#[test]
fn a_step_that_somebody_stopped_did_not_fail() {
    let root = tempdir().unwrap();
    let store = store(root.path());
    let mut host = Broken { store: &store, runs: None, stopped: true };
    let ended = carry(&store, &mut host, Activation::new(Some(ONE), TWO));
    assert_eq!(ended.end, End::RolledBack { cause: Cause::Interrupted { step: Step::Start } });
    let activations = store.activations().unwrap();
    assert_eq!(failed(activations.iter().filter_map(|recorded| recorded.last()), TWO), None);
}

#[test]
fn a_restart_that_does_not_stay_well_goes_back_to_another_if_there_is_one() {
    let root = tempdir().unwrap();
    let store = store(root.path());
    let writer = store.writer(FORKED, "test").unwrap();
    let committed = Activation { state: State::Done { end: End::Committed }, ..restart() };
    let number = writer.order(&ActivationRequest { action: Action::Rollback, to: TWO }).unwrap();
    writer.journal(number).unwrap().record(&committed).unwrap();
    std::fs::remove_dir(store.layout().generation(ONE)).unwrap();
    let host = |_, _: &Activation| Ok(Broken { store: &store, runs: Some(TWO), stopped: false });
    assert!(withdraw(&writer, "slow".to_owned(), host, &|_| ()).unwrap().is_none(), "nowhere to go");
    std::fs::create_dir(store.layout().generation(ONE)).unwrap();
    let ended = withdraw(&writer, "slow".to_owned(), host, &|_| ()).unwrap().unwrap();
    assert_eq!((ended.activation.from, store.current().unwrap()), (Some(ONE), Some(ONE)));
    assert_eq!(store.known_good().unwrap(), BTreeSet::from([ONE]));
}

/// With the real service: a person stops it, and asks for what is current.
#[test]
fn what_is_current_is_started_again_as_what_is_proven() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    stand.context.service_manager.command("vllm").unwrap().stop().unwrap();
    let outcome = patiently(|| rollback(&mut stand.context, &Target::Profile(NEW.to_owned()))).unwrap();
    let activation = outcome.activation.unwrap().ended.activation;
    assert_eq!((activation.from, activation.to, activation.end()), (Some(TWO), TWO, Some(&End::Committed)));
    stand.serves(NEW);
    assert_eq!(stand.context.store.known_good().unwrap(), BTreeSet::from([ONE, TWO]));
    let layout = stand.context.layout().clone();
    assert_eq!(stand.context.service_manager.observe("vllm").runs(&layout).unwrap(), Runs::Generation(TWO));
    assert!(stand.recover().is_none());
    // A generation that is current by the records alone is mended.
    let writer =
        patiently(|| stand.context.store.writer(FORKED, "test")).map(|writer| writer.point(Some(ONE)));
    writer.unwrap().unwrap();
    assert_eq!(stand.recover().unwrap().end, End::Committed);
    stand.serves(OLD);
    assert_eq!(stand.context.service_manager.observe("vllm").runs(&layout).unwrap(), Runs::Generation(ONE));
}
