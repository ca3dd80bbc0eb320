//! A deployer that panics over and over at the same place: it is counted, and a person is called.

use crate::stand::{NEW, Stand, patiently};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, End, State},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
    },
    flow::{
        activation::worker::{Part, activation},
        event::Event,
    },
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

#[test]
fn the_third_panic_is_the_last() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    let store = stand.context.store.clone();
    let order = ActivationRequest { action: Action::Rollback, to: GenerationId(1) };
    let number = patiently(|| store.writer(Duration::ZERO, "test")?.order(&order)).unwrap();

    let panicking = |event: Event| {
        let moves =
            matches!(event, Event::Activation { state: State::Forward { .. } | State::Back { .. }, .. });
        assert!(!moves, "a mistake of ours");
    };
    let silent = stand.context.observer.clone();
    for _ in 0..3 {
        stand.context.observer = Rc::new(panicking);
        let carried = catch_unwind(AssertUnwindSafe(|| activation(&mut stand.context, number, Part::Whole)));
        assert!(carried.is_err(), "it goes on as a panic, which systemd sees");
    }
    stand.context.observer = Rc::new(panicking);
    let outcome = activation(&mut stand.context, number, Part::Whole).unwrap();
    stand.context.observer = silent;
    assert!(outcome.is_some());
    let last = store.activation(number).unwrap();
    let Some(End::Stuck { why, .. }) = last.last().and_then(Activation::end) else { panic!("it goes on") };
    assert_eq!(why, "awqdeploy panicked 3 times at it, last with: a mistake of ours");

    // Once it is mended, a person goes on.
    let ended = stand.recover().unwrap();
    assert!(matches!(ended.end, End::RolledBack { .. }), "{ended:?}");
    assert_eq!(store.current().unwrap(), Some(GenerationId(2)));
}
