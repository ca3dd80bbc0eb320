//! The worker and its follower where systemd runs the host, as far as that shows without one: its `systemctl` is a
//! script.

use crate::{
    private_host::{Host, Looks},
    program::{Running, Said},
    running_engine::plan,
    stand::FORKED,
};
use awqdeploy::{
    domain::{
        activation::{
            machine::{Activation, Cause, End, State, Step},
            request::{Action, ActivationRequest},
        },
        generation_id::GenerationId,
        planning::plan::Plan,
        problem::Kind,
        profile::Watch,
    },
    flow::event::Event,
    host::store::{Store, transcript::Transcript},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{cell::Cell, net::TcpListener, time::Duration};

const ONE: GenerationId = GenerationId(1);
const TWO: GenerationId = GenerationId(2);

/// The activation of generation 2, which is ordered and not begun. Nobody listens where it is to serve.
fn ordered(host: &Host, watch: Watch) -> u64 {
    let store = host.store();
    let writer = store.writer(FORKED, "test").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plan = Plan { watch, ..plan(free) };
    assert_eq!(writer.add_generation(plan, "", &host.path("bin/systemctl")).unwrap(), TWO);
    writer.order(&ActivationRequest { action: Action::Deploy, to: TWO }).unwrap()
}

fn record(store: &Store, number: u64, state: State) {
    let writer = store.writer(FORKED, "test").unwrap();
    let activation = Activation { from: Some(ONE), to: TWO, state };
    writer.journal(number).unwrap().record(&activation).unwrap();
}

fn is_warning(event: &Value, text: &str) -> bool {
    event["event"] == "warning" && event["data"].as_str().is_some_and(|said| said.contains(text))
}

/// Defect 20: all roots share the GPUs, and another one is at work on them.
#[test]
fn what_does_not_stay_well_waits_for_another_root() {
    let host = Host::new();
    let watch = Watch { minutes: 60, every: Duration::from_millis(10), max_ttft: None };
    let number = ordered(&host, watch);
    host.store().writer(FORKED, "test").unwrap().point(Some(TWO)).unwrap();
    record(&host.store(), number, State::Done { end: End::Committed });
    let arguments = ["--progress", "json", "activate", &number.to_string()];
    let Some(mut command) = host.that_looks(Looks::OtherRoot, &arguments) else { return };
    let mut worker = Running::start(&mut command);
    let waits = Cell::new(false);
    worker.wait_for(|event| {
        waits.set(is_warning(
            event,
            "this has to roll back, and waits: `awqdeploy --root /srv/b` (process 7)",
        ));
        waits.get() || event["event"] == "activation"
    });
    worker.signal(Signal::KILL);
    worker.end();
    assert!(waits.get(), "it goes back beside another root");
    let last = host.store().activation(number).unwrap();
    assert_eq!(last.last().and_then(Activation::end), Some(&End::Committed));
}

/// Defect 22: the drop-in that keeps a candidate from being restarted, and a person's own.
#[test]
fn a_drop_in_that_wins_over_ours_is_found_before_the_start() {
    for (name, why) in [
        ("override.conf", "start `vllm.service`: "),
        (
            "zzz.conf",
            "`vllm.service` is not on trial: `Restart=always` is in force, by \
             `/etc/systemd/system/vllm.service.d/zzz.conf`",
        ),
    ] {
        let host = Host::new();
        host.install("systemctl", DROP_INS_BY_NAME);
        host.install("journalctl", "#!/bin/sh\n");
        let number = ordered(&host, Watch::default());
        let activate = number.to_string();
        let Some(mut command) = host.that_looks(Looks::DropIn(name), &["activate", &activate]) else {
            return;
        };
        let said = Said::by(&mut command);
        let last = host.store().activation(number).unwrap();
        let cause = last.last().and_then(|last| last.state.cause().cloned());
        let Some(Cause::Failed { step: Step::Start, why: told }) = cause else {
            panic!("{name}: {cause:?}\n{}", said.stderr);
        };
        assert!(told.contains(why), "{name}: {told}");
    }
}

/// A service that can be stopped, and never starts. What is in force comes from its drop-ins in the order of their
/// names, whatever their folders: systemd.unit(5).
const DROP_INS_BY_NAME: &str = r#"#!/bin/sh
case "$*" in
*DropInPaths*)
    paths=$(for path in /etc/systemd/system/vllm.service.d/*.conf /run/systemd/system/vllm.service.d/*.conf; do
        [ ! -f "$path" ] || echo "${path##*/} $path"
    done | LC_ALL=C sort | cut -d' ' -f2)
    echo "DropInPaths="$paths
    for name in Restart Environment; do echo "$name=$(cat /dev/null $paths | sed -n "s/^$name=//p" | tail -n 1)"; done ;;
*ActiveState*)
    if [ -e /run/stopped ]; then echo ActiveState=inactive; else echo ActiveState=active; fi ;;
*" stop "*) : > /run/stopped ;;
*" start "*) exit 1 ;;
esac
"#;

/// Defect 23: a worker that found the lock held, and then one that carries the rollback out.
#[test]
fn who_follows_ends_as_the_activation_does() {
    let host = Host::new();
    let number = ordered(&host, Watch::default());
    let store = host.store();
    record(&store, number, State::Forward { step: Step::Start });
    let transcript = Transcript::open(&store.layout().activation(number)).unwrap();
    let held = "process 7 holds the lock";
    transcript.add(&Event::Refused { kind: Kind::Busy, what: held.to_owned(), help: None }).unwrap();
    let arguments = ["--progress", "json", "follow"];
    let Some(mut command) = host.that_looks(Looks::Systemd, &arguments) else { return };
    let mut follower = Running::start(&mut command);
    follower.wait_for(|event| is_warning(event, held));

    let cause = Cause::Interrupted { step: Step::Start };
    for step in [Step::Stop, Step::Point, Step::Start] {
        record(&store, number, State::Back { step, tries: 0, cause: cause.clone() });
    }
    record(&store, number, State::Done { end: End::RolledBack { cause } });
    let ended = json!({"event": "ended", "data": "went-back"});
    transcript.add(&ended).unwrap();
    let (status, said) = follower.end();
    assert_eq!(status.code(), Some(6), "{}", said.stderr);
}
