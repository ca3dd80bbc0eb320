//! Scenes that no schedule of faults has: re-attaching, cancelling, the watch window, leftovers, and a restart by
//! hand.

use super::{Table, choice::Choice, ext4, machine::Machine, persons, tell};
use serde_json::Value;
use std::{
    process::Output,
    time::{Duration, Instant},
};

pub(crate) type Scene = (&'static str, fn(&Machine) -> Result<(), String>);

const SCENES: &[Scene] = &[
    ("a lost terminal, and another that watches", watches),
    ("`cancel` from another terminal", cancels),
    ("a restart by hand in mid-activation recovers nothing", restarts),
    ("an orphan of our runtime is named and ended", orphan),
    ("an edited runtime is found, not started, and mended", crate::runtime::edited),
    ("an engine that hangs after the commit", hangs),
    ("an engine that slows down after the commit", slows_down),
    ("an engine that crashes twice after the commit", crashes),
    ("an orderly shutdown in mid-activation", shuts_down),
    ("a real power cut leaves nothing that the played one may not", ext4::holds),
];

fn all() -> impl Iterator<Item = &'static Scene> {
    SCENES.iter().chain(persons::SCENES)
}

/// The names of all scenes.
pub(crate) fn names() -> Vec<String> {
    all().map(|(name, _)| (*name).to_owned()).collect()
}

/// Plays those that are wanted, one after the other.
pub(crate) fn run(machine: &Machine, choice: &Choice, table: &mut Table) {
    for (name, scene) in all().filter(|(name, _)| choice.wants(name)) {
        let began = Instant::now();
        let went = settle(machine).and_then(|()| scene(machine));
        if let Err(why) = &went {
            tell(&format!("{name}: {why}"));
            tell(&machine.said(&["sh", "-c", "journalctl --no-pager -n 60; awqdeploy history"]));
        }
        table.add(0, "scene", name, went.map(|()| true), began.elapsed().as_secs_f64());
    }
}

/// `old` serves, whatever was before.
fn settle(machine: &Machine) -> Result<(), String> {
    machine.run(&["systemctl", "stop", "awqdeploy-activation-*"]);
    done(machine, &["awqdeploy", "deploy", "old", "--yes", "--retry"], 0).map(drop)
}

/// Runs a command that must end with this exit status.
pub(crate) fn done(machine: &Machine, command: &[&str], code: i32) -> Result<Output, String> {
    let output = machine.run(command);
    if output.status.code() == Some(code) {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    Err(format!("`{}` ended with {}: {printed}{said}", command.join(" "), output.status))
}

pub(crate) fn document(output: &Output) -> Result<Value, String> {
    serde_json::from_slice(&output.stdout).map_err(|e| format!("no document was printed: {e}"))
}

pub(crate) fn is(what: &str, so: bool) -> Result<(), String> {
    if so { Ok(()) } else { Err(format!("not so: {what}")) }
}

pub(crate) fn step(machine: &Machine) -> String {
    machine.status()["last_activation"]["step"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn serves(machine: &Machine, profile: &str) -> Result<(), String> {
    let status = machine.status();
    if status["serving"] != profile || status["proven"] != true {
        return Err(format!("{profile} does not serve: {status:#}"));
    }
    // Asked last: whoever watches a slow engine takes a question of ours for a user's.
    is(&format!("{profile} answers: {status:#}"), machine.completion() == "200")
}

fn watches(machine: &Machine) -> Result<(), String> {
    let mut deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry"]);
    is("it starts", machine.wait(|machine| step(machine) == "start"))?;
    machine.signal("-KILL", &["-f", "^awqdeploy deploy"]);
    let _ = deployment.wait();
    let watched = document(&done(machine, &["awqdeploy", "follow", "--json"], 0)?)?;
    is("the document says so", watched["end"] == "committed" && watched["profile"] == "slow")?;
    serves(machine, "slow")
}

fn cancels(machine: &Machine) -> Result<(), String> {
    let deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry", "--json"]);
    is("it starts", machine.wait(|machine| step(machine) == "start"))?;
    done(machine, &["awqdeploy", "cancel"], 6)?;
    let output = deployment.wait_with_output().map_err(|e| e.to_string())?;
    is("`deploy` ends with 6", output.status.code() == Some(6))?;
    is("it says so", document(&output)?["why"].as_str().is_some_and(|why| why.starts_with("interrupted")))?;
    done(machine, &["awqdeploy", "cancel"], 2)?;
    serves(machine, "old")
}

/// The recovery at boot is the boot's, not the service's.
fn restarts(machine: &Machine) -> Result<(), String> {
    let deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry", "--json"]);
    is("it validates", machine.wait(|machine| step(machine) == "validate"))?;
    machine.run(&["systemctl", "restart", "vllm"]);
    let output = deployment.wait_with_output().map_err(|e| e.to_string())?;
    let document = document(&output)?;
    let why = document["why"].as_str().unwrap_or_default();
    // The server that it validated went away: it fails by itself, or came through, but nobody undid it behind its
    // back.
    is(&format!("no recovery: {document:#}"), !why.starts_with("interrupted"))?;
    let recovery = machine.said(&[
        "systemctl",
        "show",
        "--value",
        "-p",
        "NRestarts,ExecMainStartTimestamp",
        "awqdeploy-recover-vllm",
    ]);
    is(&format!("the recovery never ran: {recovery}"), !recovery.contains("UTC"))?;
    serves(machine, if document["end"] == "committed" { "slow" } else { "old" })
}

fn orphan(machine: &Machine) -> Result<(), String> {
    let leave = "worker=$(echo /var/lib/awqdeploy/store/runtimes/*/bin)/worker; cp /bin/sleep $worker; \
                 setsid -f $worker 1000 </dev/null >/dev/null 2>&1; \
                 until readlink /proc/*/exe | grep -q 'bin/worker$'; do sleep 0.1; done; rm $worker; setsid -f sleep 1001 </dev/null >/dev/null 2>&1";
    done(machine, &["sh", "-c", leave], 0)?;
    let output = done(machine, &["awqdeploy", "deploy", "new", "--yes", "--retry"], 0)?;
    let said = String::from_utf8_lossy(&output.stderr);
    is(
        &format!("it is named: {said}"),
        said.contains("worker 1000`") && said.contains("outlived the service"),
    )?;
    is("it is gone", machine.said(&["pgrep", "-f", "worker 1000"]).is_empty())?;
    is("another's process is not", !machine.said(&["pgrep", "-f", "sleep 1001"]).is_empty())?;
    machine.signal("-KILL", &["-f", "sleep 1001"]);
    serves(machine, "new")
}

/// The service stays up by its supervisor's leave; only the tokens are missing.
fn hangs(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "watched", "--yes", "--retry"], 0)?;
    is("it is watched", machine.status()["watched_until"].is_string())?;
    let began = Instant::now();
    machine.signal("-STOP", &["-f", "awqdeploy engine"]);
    is("it goes back", machine.wait(|machine| machine.status()["current"]["profile"] == "old"))?;
    is("it serves again", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    tell(&format!("hung after the commit: old serves after {:.1} s", began.elapsed().as_secs_f64()));
    // The running server is validated before the lock is free.
    done(machine, &["awqdeploy", "follow"], 6)?;
    let why = machine.status()["last_activation"]["why"].as_str().unwrap_or_default().to_owned();
    is(&why, why.contains("did not stay well") && why.contains("not answered"))?;
    let refused = done(machine, &["awqdeploy", "deploy", "watched", "--yes"], 3)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    is(&said, said.contains("was the same, and failed: did not stay well") && said.contains("--retry"))
}

fn slows_down(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "watched", "--yes", "--retry"], 0)?;
    let began = Instant::now();
    machine.slow_down();
    is("it goes back", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    tell(&format!("slowed down after the commit: old serves after {:.1} s", began.elapsed().as_secs_f64()));
    done(machine, &["awqdeploy", "follow"], 6)?;
    let why = machine.status()["last_activation"]["why"].as_str().unwrap_or_default().to_owned();
    is(&why, why.contains("at 5 looks in a row it decoded at") && why.contains("below the floor of 40.0"))
}

fn crashes(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "watched", "--yes", "--retry"], 0)?;
    let restarts =
        |machine: &Machine| machine.said(&["systemctl", "show", "--value", "-p", "NRestarts", "vllm"]);
    machine.signal("-KILL", &["-f", "awqdeploy engine"]);
    is("systemd restarts it", machine.wait(|machine| restarts(machine) == "1"))?;
    is("it serves again", machine.wait(|machine| serves(machine, "watched").is_ok()))?;
    let began = Instant::now();
    machine.signal("-KILL", &["-f", "awqdeploy engine"]);
    is("it goes back", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    tell(&format!("crashed twice after the commit: old serves after {:.1} s", began.elapsed().as_secs_f64()));
    let why = machine.status()["last_activation"]["why"].as_str().unwrap_or_default().to_owned();
    is(&why, why.contains("its service ended 2 times"))
}

/// The deployer is told to end with everything else, and can start nothing any more: the next boot rolls
/// back.
fn shuts_down(machine: &Machine) -> Result<(), String> {
    let mut deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry"]);
    is("it starts", machine.wait(|machine| step(machine) == "start"))?;
    machine.signal("-RTMIN+4", &["-x", "systemd"]);
    std::thread::sleep(Duration::from_secs(1));
    is("it is off", machine.wait(Machine::is_off))?;
    let _ = deployment.kill();
    let _ = deployment.wait();
    machine.boot()?;
    is("old serves", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    let last = machine.status()["last_activation"].clone();
    is(&format!("it went back: {last}"), last["end"] == "rolled-back")
}
