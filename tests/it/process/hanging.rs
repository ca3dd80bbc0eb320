//! A process that the service manager does not watch, and a manager that is away when it is given an order.

use awqdeploy::{
    domain::problem::{Kind, Problem},
    host::{
        os::watchdog,
        systemd::{transient_unit::heard, transport::CallError},
    },
};
use std::{os::unix::process::ExitStatusExt as _, process::Command, thread::sleep, time::Duration};

/// In a process of its own, this one: what it is to do until then.
const ROLE: &str = "AWQDEPLOY_TEST_HANGS";

#[test]
fn what_hangs_is_ended_and_what_ends_is_not() {
    match std::env::var(ROLE).as_deref() {
        Ok("hangs") => {
            watchdog::guard(Duration::from_millis(500));
            sleep(Duration::from_mins(10));
        }
        Ok(_) => watchdog::guard(Duration::from_mins(10)),
        Err(_) => {
            assert_eq!(ended("hangs"), Some(rustix::process::Signal::ABORT.as_raw()));
            assert_eq!(ended("ends"), None);
        }
    }
}

/// The signal that ends a process in which this test plays a part.
fn ended(role: &str) -> Option<i32> {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    command.args(["--exact", "process::hanging::what_hangs_is_ended_and_what_ends_is_not"]);
    command.env(ROLE, role).output().unwrap().status.signal()
}

fn lost() -> Result<(), CallError> {
    Err(CallError::Lost(Problem::new(Kind::Unexpected, "Connection reset by peer")))
}

/// How often an order was given whose answers these are, and how it ended. `up_after`: the unit is there after so many.
fn given(
    patience: Duration,
    up_after: usize,
    answer: impl Fn(usize) -> Result<(), CallError>,
) -> (usize, bool) {
    let orders = std::cell::Cell::new(0);
    let order = || {
        orders.set(orders.get() + 1);
        answer(orders.get())
    };
    let heard = heard(patience, order, || Ok(orders.get() >= up_after));
    (orders.get(), heard.is_ok())
}

#[test]
fn an_order_is_given_until_it_is_heard_and_never_twice_after() {
    let (long, never) = (Duration::from_mins(10), usize::MAX);
    let said = || Err(CallError::Said(Problem::new(Kind::Unexpected, "no such unit")));
    assert_eq!(given(long, never, |_| Ok(())), (1, true));
    assert_eq!(given(long, never, |time| if time < 3 { lost() } else { Ok(()) }), (3, true));
    // The request was heard, and its answer was lost.
    assert_eq!(given(long, 1, |_| lost()), (1, true));
    assert_eq!(given(long, never, |time| if time < 2 { lost() } else { said() }), (2, false));
    assert_eq!(given(Duration::ZERO, never, |_| lost()), (1, false));
}
