//! Activations that somebody else's command overtakes while they wait or are watched: they must leave the
//! running server alone.

use crate::stand::{FORKED, NEW, OLD, Stand};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, Cause, Conclusion, End},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        problem::{Kind, Problem},
        validation::probation::SLOW,
    },
    flow::{
        activation::{
            outcome::Outcome,
            worker::{Part, activation},
        },
        event::Event,
    },
    host::{os::lock_file, store::Store},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    cell::{Cell, RefCell},
    fs,
    os::unix::fs::PermissionsExt,
    rc::Rc,
};

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);
/// Tokens per second below which it is slow.
const FLOOR: f64 = 40.0;

fn order(store: &Store, to: GenerationId) -> u64 {
    let writer = store.writer(FORKED, "test").unwrap();
    writer.order(&ActivationRequest { action: Action::Deploy, to }).unwrap()
}

/// Runs the activation of this number as the service manager does.
fn conduct(stand: &mut Stand, number: u64) -> Result<Option<Outcome>, Problem> {
    activation(&mut stand.context, number, Part::Whole)
}

#[test]
fn an_order_that_another_activation_came_before_is_not_carried_out() {
    let mut stand = Stand::serving();
    let number = order(&stand.context.store, ONE);
    stand.deploy(NEW).unwrap();
    let problem = conduct(&mut stand, number).unwrap_err();
    assert_eq!(problem.kind, Kind::Busy);
    assert_eq!(
        problem.to_string(),
        format!("another activation came before activation {number}; nothing was touched")
    );
    stand.serves(NEW);
}

#[test]
fn what_was_left_of_an_activation_that_another_one_ended_is_not_carried_out() {
    let mut stand = Stand::serving();
    let number = order(&stand.context.store, ONE);
    stand.deploy(NEW).unwrap();
    {
        let writer = stand.context.store.writer(FORKED, "test").unwrap();
        writer.journal(number).unwrap().record(&Activation::new(Some(ONE), ONE)).unwrap();
    }
    let problem = conduct(&mut stand, number).unwrap_err();
    assert_eq!(problem.kind, Kind::Busy);
    stand.serves(NEW);
}

/// A disk that is full, or worse.
#[test]
fn who_cannot_tell_of_it_goes_back_all_the_same() {
    let mut stand = Stand::serving();
    stand.deploy(NEW).unwrap();
    let number = order(&stand.context.store, ONE);
    {
        let writer = stand.context.store.writer(FORKED, "test").unwrap();
        writer.journal(number).unwrap().record(&Activation::new(Some(TWO), ONE)).unwrap();
    }
    fs::create_dir(stand.context.layout().activation(number).join("events.jsonl")).unwrap();
    let outcome = conduct(&mut stand, number).unwrap().unwrap();
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    stand.serves(NEW);
}

/// The new profile serves, and is slow from now on.
fn slow() -> Stand {
    slow_with(Stand::serving(), "")
}

/// Adds to the new profile, which serves and is slow.
fn slow_with(mut stand: Stand, more: &str) -> Stand {
    let watched = format!(
        "{more}[watch]\nminutes = 5\nevery = \"1s\"\n[validation]\nmin-decode-tokens-per-second = {FLOOR:?}\n"
    );
    stand.write_profile(NEW, "[validation]\n", &watched);
    stand.deploy(NEW).unwrap();
    // The port is what no other test's engine has.
    let port = stand.port.to_string();
    let ours = |process: &procfs::process::Process| {
        process
            .cmdline()
            .is_ok_and(|words| words.iter().any(|word| word == "engine") && words.contains(&port))
    };
    let engines: Vec<_> = procfs::process::all_processes().unwrap().flatten().filter(ours).collect();
    assert_eq!(engines.len(), 1, "one engine listens on {port}");
    kill_process(Pid::from_raw(engines[0].pid).unwrap(), Signal::USR1).unwrap();
    stand
}

/// Watches the activation of the new profile, and does something just before it is found wanting.
fn watch(stand: &mut Stand, before: impl Fn(&Store) + 'static) -> Option<Outcome> {
    watch_told(stand, before, |_| ())
}

/// Also tells somebody of each event.
fn watch_told(
    stand: &mut Stand,
    before: impl Fn(&Store) + 'static,
    tell: impl Fn(&Event) + 'static,
) -> Option<Outcome> {
    let (store, slow) = (stand.context.store.clone(), Cell::new(0));
    let observer = move |event: Event| {
        tell(&event);
        if let Event::Watched { tokens_per_second, .. } = event {
            slow.set(if tokens_per_second.is_some_and(|rate| rate < FLOOR) { slow.get() + 1 } else { 0 });
            if slow.get() == SLOW {
                before(&store);
            }
        }
    };
    stand.watched(observer, |stand| activation(&mut stand.context, 2, Part::Whole)).unwrap()
}

fn end(stand: &Stand, number: u64) -> End {
    stand.context.store.activation(number).unwrap().last().unwrap().end().unwrap().clone()
}

#[test]
fn what_does_not_stay_well_goes_back() {
    let mut stand = slow();
    let outcome = watch(&mut stand, |_| ()).unwrap();
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    assert!(matches!(end(&stand, 2), End::RolledBack { cause: Cause::Degraded { .. } }));
    stand.serves(OLD);
}

/// Defect 14: a `fetch` in parallel is enough to hold the lock.
#[test]
fn what_does_not_stay_well_goes_back_once_the_lock_is_free() {
    let mut stand = slow();
    let lock = stand.context.layout().lock();
    let (held, told) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(false)));
    let free = {
        let (held, told) = (Rc::clone(&held), Rc::clone(&told));
        move |event: &Event| match event {
            Event::Warning(text) if text.contains("this has to roll back, and waits: `a fetch`") => {
                told.set(true);
                held.replace(None);
            }
            Event::Activation { .. } => assert!(told.get(), "it goes back while the lock is held"),
            Event::Watched { .. } => assert!(held.borrow().is_none(), "it gives up for the lock"),
            _ => {}
        }
    };
    let begin = move |_: &Store| {
        held.replace(Some(lock_file::hold(&lock, FORKED, "a fetch").unwrap()));
    };
    let outcome = watch_told(&mut stand, begin, free).unwrap();
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    assert!(told.get(), "it says for whom it waits");
    stand.serves(OLD);
}

/// Whoever gives it another key may have moved the old one away first: those looks say nothing.
#[test]
fn a_key_that_is_gone_for_a_while_does_not_end_the_watch() {
    let stand = Stand::serving();
    let (key, away) = (stand.path("key"), stand.path("away"));
    fs::write(&key, "s3cret").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut stand = slow_with(stand, &format!("[secrets]\napi-key-file = \"{}\"\n", key.display()));
    let missed = Rc::new(Cell::new(false));
    let tell = {
        let missed = Rc::clone(&missed);
        move |event: &Event| match event {
            Event::Watched { wrong: Some(why), .. } if why.contains("nobody could be asked") => {
                assert!(why.contains("there is no file"), "{why}");
                missed.set(true);
                fs::rename(&away, &key).unwrap();
            }
            Event::Watched { .. } if !missed.get() => fs::rename(&key, &away).unwrap(),
            _ => {}
        }
    };
    let outcome = watch_told(&mut stand, |_| (), tell).unwrap();
    assert!(missed.get(), "it looks without the key");
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    stand.serves(OLD);
}

#[test]
fn what_came_between_the_last_look_and_the_lock_is_not_undone_by_the_watch() {
    let mut stand = slow();
    let outcome = watch(&mut stand, |store| {
        let number = order(store, TWO);
        let activation = Activation::new(Some(ONE), TWO);
        let committed = (0..4).fold(activation, |activation, _| activation.after(Ok(())));
        let writer = store.writer(FORKED, "test").unwrap();
        writer.journal(number).unwrap().record(&committed).unwrap();
    });
    assert!(outcome.is_none_or(|outcome| outcome.conclusion() == Conclusion::Done));
    assert_eq!([end(&stand, 2), end(&stand, 3)], [End::Committed, End::Committed]);
    assert_eq!(stand.state().profile.as_deref(), Some(NEW));
}

/// The service manager runs it once more after each activation, while the next command may be there already.
#[test]
fn who_finds_an_activation_over_waits_for_nobody_and_keeps_nobody_waiting() {
    let mut stand = slow();
    watch(&mut stand, |_| ()).unwrap();
    let store = stand.context.store.clone();
    let _held = store.writer(FORKED, "test").unwrap();
    assert!(activation(&mut stand.context, 2, Part::Rest).unwrap().is_none());
}
