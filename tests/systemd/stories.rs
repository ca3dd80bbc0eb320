//! The stories of each machine, in this order: each begins with what the one before it left serving.

use super::machine::{Machine, Said};
use serde_json::Value;

const DEPLOY_NEW: [&str; 4] = ["deploy", "new", "--yes", "--json"];

/// With no `systemctl` in reach, neither here nor of what systemd starts: over D-Bus alone. And from the session of
/// somebody who keeps what is made to themselves, which the service has to read all the same.
pub(crate) fn first_deployment(machine: &Machine) {
    machine
        .run(&[
            "sh",
            "-ec",
            "mkdir /run/few; ln -s $(command -v journalctl) $(command -v systemd-run) $(command -v uv) /run/few",
        ])
        .succeeded();
    machine.run(&["systemctl", "set-environment", "PATH=/run/few"]).succeeded();
    let deploy = "umask 077; PATH=/run/few exec /usr/local/bin/awqdeploy deploy old --yes --json";
    let document = machine.run(&["sh", "-c", deploy]).document(0);
    machine.run(&["systemctl", "unset-environment", "PATH"]).succeeded();
    ended(&document, "committed");
    serves(machine, "old");
    assert_eq!(machine.service("UnitFileState"), "enabled");
    let again = machine.awqdeploy(&["deploy", "old", "--yes", "--json"], 0);
    assert_eq!(again["end"], "unchanged", "{again:#}");
}

/// While the candidate starts it must not come back by itself; once it is proven it must.
pub(crate) fn migration(machine: &Machine) {
    let deployment = machine.start_awqdeploy(&DEPLOY_NEW);
    machine
        .wait("the candidate loads", |machine| step(machine) == "start" && machine.service("MainPID") != "0");
    assert_eq!(machine.service("Restart"), "no", "an unproven generation would be restarted");
    let document = whole(deployment, 0);
    ended(&document, "committed");
    assert_eq!(machine.service("Restart"), "always");
    serves(machine, "new");
}

/// /health says 200 and every request gets 500: systemd's word is `failed`, the supervisor's says why.
pub(crate) fn broken(machine: &Machine) {
    let document = machine.awqdeploy(&["deploy", "broken", "--yes", "--json"], 6);
    ended(&document, "rolled-back");
    let why = document["why"].as_str().unwrap_or_default();
    assert!(why.contains("the engine says it is healthy, and does not answer"), "{document:#}");
    serves(machine, "new");
}

/// A committed generation comes back, by systemd alone.
pub(crate) fn killed(machine: &Machine) {
    let main = machine.service("MainPID");
    machine.run(&["systemctl", "kill", "--kill-whom=all", "--signal=KILL", "vllm"]).succeeded();
    machine.wait("systemd started it again", |machine| {
        !["0", &main].contains(&&*machine.service("MainPID")) && machine.completion() == 200
    });
    serves(machine, "new");
}

/// Ctrl-C while the candidate loads; and somebody else's `systemctl stop`, which cancels the start.
pub(crate) fn interrupted(machine: &Machine) {
    let somebodies = [&["pkill", "-INT", "-f", "^awqdeploy deploy old"][..], &["systemctl", "stop", "vllm"]];
    for somebody in somebodies {
        let deployment = machine.start_awqdeploy(&["deploy", "old", "--yes", "--json"]);
        machine.wait("the candidate loads", |machine| {
            step(machine) == "start" && machine.service("MainPID") != "0"
        });
        machine.run(somebody).succeeded();
        let document = whole(deployment, 6);
        ended(&document, "rolled-back");
        assert!(
            document["why"].as_str().is_some_and(|told| told.contains("interrupted during start")),
            "{document:#}"
        );
        serves(machine, "new");
    }
}

/// A host without a message bus, as many containers are: `systemctl` speaks to systemd by a socket of their own.
pub(crate) fn without_a_bus(machine: &Machine) {
    machine.run(&["systemctl", "stop", "dbus.socket", "dbus.service"]).succeeded();
    machine.run(&["rm", "-f", "/run/dbus/system_bus_socket"]).succeeded();
    let document = machine.awqdeploy(&["deploy", "old", "--yes", "--json"], 0);
    ended(&document, "committed");
    serves(machine, "old");
    // A failure over D-Bus, too.
    let document = machine.awqdeploy(&["deploy", "broken", "--yes", "--retry", "--json"], 6);
    ended(&document, "rolled-back");
    serves(machine, "old");
    machine.run(&["systemctl", "start", "dbus.socket"]).succeeded();
}

/// The JSON document of a deployment that was started, once it has ended with this exit status.
pub(crate) fn whole(deployment: std::process::Child, code: i32) -> Value {
    let output = deployment.wait_with_output().expect("the deployment ends");
    Said::of(&["awqdeploy", "deploy"], &output).document(code)
}

pub(crate) fn step(machine: &Machine) -> Value {
    machine.status()["last_activation"]["step"].clone()
}

pub(crate) fn ended(document: &Value, end: &str) {
    assert_eq!(document["end"], end, "{document:#}");
}

/// This profile serves, answers, and is what `status` says; systemd keeps it, and watches it.
pub(crate) fn serves(machine: &Machine, profile: &str) {
    assert_eq!(machine.completion(), 200, "{profile} does not answer");
    let status = machine.status();
    assert_eq!((&status["serving"], &status["service"]), (&profile.into(), &"active".into()), "{status:#}");
    assert_eq!(machine.service("Restart"), "always");
    assert_ne!(machine.service("WatchdogUSec"), "0");
}
