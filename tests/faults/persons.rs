//! People beside a deployment: they stop its service, isolate targets, hold its locks, and press Ctrl-C late.

use super::{
    machine::Machine,
    scenes::{Scene, document, done, is, serves, step},
};
use std::{
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

pub(crate) const SCENES: &[Scene] = &[
    ("a stop by hand, then a rollback to what is current", restarts_what_is_current),
    ("a stop by hand in the watch window", stops_what_is_watched),
    ("a stop by hand in mid-activation", stops_a_candidate),
    ("Ctrl-C after the commit", interrupts_too_late),
    ("nobody to ask in the watch window", asks_in_vain),
    ("another deployment that is refused in the watch window", refuses_in_the_window),
    ("a lock held in the watch window", holds_locks_in_the_window),
    ("a lock held when the deployer is killed", holds_the_lock_of_the_dead),
    ("a target started anew in mid-activation", starts_the_target),
    ("something else runs than should", runs_something_else),
    ("collections in the watch window", collects_in_the_window),
    ("systemd executed anew, over and over, on the way back", executes_anew_on_the_way_back),
    ("the service killed on the way back", kills_on_the_way_back),
    ("an engine that stands still while it is validated", stands_still),
];

const ROOT: &str = "/var/lib/awqdeploy";
const HOST_LOCK: &str = "/run/awqdeploy/activation.lock";

fn service(machine: &Machine, property: &str) -> String {
    machine.said(&["systemctl", "show", "--value", "-p", property, "vllm"])
}

/// The folder of the newest activation.
fn newest(machine: &Machine) -> String {
    let numbers = machine.names(&format!("{ROOT}/activations"));
    let newest = numbers.iter().filter_map(|name| name.parse::<u64>().ok()).max().unwrap_or_default();
    format!("{ROOT}/activations/{newest}")
}

fn unit(machine: &Machine) -> String {
    let number = newest(machine).rsplit('/').next().unwrap_or_default().to_owned();
    format!("awqdeploy-activation-vllm-{number}.service")
}

/// How often this is in the transcript of the newest activation.
fn told(machine: &Machine, what: &str) -> usize {
    machine.read(&format!("{}/events.jsonl", newest(machine))).unwrap_or_default().matches(what).count()
}

/// Somebody holds a lock for so many seconds, or waits for it first. Returns once that process is there.
fn hold(machine: &Machine, lock: &str, seconds: &str) -> Child {
    let child = machine.start(&["flock", lock, "sleep", seconds]);
    machine.wait(|machine| !machine.said(&["pgrep", "-f", &format!("^flock {lock}")]).is_empty());
    child
}

fn watched(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "watched", "--yes", "--retry"], 0)?;
    is("it is watched", machine.status()["watched_until"].is_string())
}

fn restarts_what_is_current(machine: &Machine) -> Result<(), String> {
    let rollback = ["awqdeploy", "rollback", "watched", "--yes"];
    watched(machine)?;
    machine.run(&["systemctl", "stop", "vllm"]);
    done(machine, &rollback, 0)?;
    serves(machine, "watched")?;
    is("systemd keeps it", service(machine, "Restart") == "always")?;
    let said = String::from_utf8_lossy(&done(machine, &["awqdeploy", "recover"], 0)?.stdout).into_owned();
    is(&said, said.contains("nothing to recover"))?;
    machine.cut();
    machine.boot()?;
    is("it serves after a boot", machine.wait(|machine| serves(machine, "watched").is_ok()))?;
    // Now it does not stay well: there is another one that is proven.
    machine.run(&["systemctl", "stop", "vllm"]);
    done(machine, &rollback, 0)?;
    machine.slow_down();
    is("it goes back to another", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    done(machine, &["awqdeploy", "follow"], 6)?;
    is("systemd keeps that", service(machine, "Restart") == "always")
}

/// Three looks without an answer would be too many.
fn stops_what_is_watched(machine: &Machine) -> Result<(), String> {
    watched(machine)?;
    machine.run(&["systemctl", "stop", "vllm"]);
    let stopped = |machine: &Machine| told(machine, "somebody stopped its service") > 5;
    is("the watch goes on", machine.wait(stopped))?;
    is("it stays stopped", machine.unit("vllm") == "inactive")?;
    let status = machine.said(&["awqdeploy", "status"]);
    is(&status, status.contains("does not serve") && status.contains("a person stopped it"))?;
    machine.run(&["systemctl", "start", "vllm"]);
    serves(machine, "watched")?;
    is("it is still watched", machine.status()["watched_until"].is_string())?;
    done(machine, &["awqdeploy", "deploy", "watched", "--yes"], 0)?;
    machine.slow_down();
    is("and goes back if it does not stay well", machine.wait(|machine| serves(machine, "old").is_ok()))
}

fn stops_a_candidate(machine: &Machine) -> Result<(), String> {
    for at in ["start", "validate"] {
        let deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry", "--json"]);
        is("it gets there", machine.wait(|machine| step(machine) == at))?;
        machine.run(&["systemctl", "stop", "vllm"]);
        let document = document(&deployment.wait_with_output().map_err(|e| e.to_string())?)?;
        let why = document["why"].as_str().unwrap_or_default();
        is(&format!("{document:#}"), why == format!("interrupted during {at}"))?;
        serves(machine, "old")?;
    }
    done(machine, &["awqdeploy", "deploy", "new", "--yes"], 0)?;
    serves(machine, "new")
}

fn interrupts_too_late(machine: &Machine) -> Result<(), String> {
    watched(machine)?;
    done(machine, &["systemctl", "kill", "--kill-whom=main", "--signal=INT", &unit(machine)], 0)?;
    let looks = told(machine, "\"watched\"");
    is("it goes on looking", machine.wait(|machine| told(machine, "\"watched\"") > looks + 2))?;
    // An end is another matter.
    let began = Instant::now();
    machine.run(&["systemctl", "stop", &unit(machine)]);
    is("it ends when it is told to", began.elapsed() < Duration::from_secs(20))?;
    serves(machine, "watched")
}

/// Neither the message bus nor systemd's own socket is there for a while.
fn asks_in_vain(machine: &Machine) -> Result<(), String> {
    watched(machine)?;
    // All in one: nothing can be started inside meanwhile.
    let away = "for way in /run/dbus/system_bus_socket /run/systemd/private; do mv $way $way.away; done; sleep 5; \
                for way in /run/dbus/system_bus_socket /run/systemd/private; do mv $way.away $way; done";
    done(machine, &["sh", "-ec", away], 0)?;
    let looks = told(machine, "\"tokens_per_second\"");
    let more = |machine: &Machine| told(machine, "\"tokens_per_second\"") > looks + 2;
    is("it goes on looking", machine.wait(more))?;
    is("it is still watched", machine.status()["watched_until"].is_string())?;
    serves(machine, "watched")?;
    machine.slow_down();
    is("it goes back if it does not stay well", machine.wait(|machine| serves(machine, "old").is_ok()))
}

/// Refuses in the window: an activation that was ordered has touched nothing, and leaves the watch as it was.
fn refuses_in_the_window(machine: &Machine) -> Result<(), String> {
    watched(machine)?;
    let mut host = hold(machine, HOST_LOCK, "1000");
    done(machine, &["awqdeploy", "deploy", "new", "--yes", "--retry"], 5)?;
    machine.signal("-KILL", &["-f", "sleep 1000"]);
    let _ = host.wait();
    is("it is still watched", machine.status()["watched_until"].is_string())?;
    machine.slow_down();
    is("it goes back if it does not stay well", machine.wait(|machine| serves(machine, "old").is_ok()))
}

/// A fetch is enough to hold the one, and another root's activation holds the other.
fn holds_locks_in_the_window(machine: &Machine) -> Result<(), String> {
    watched(machine)?;
    let mut root = hold(machine, &format!("{ROOT}/lock"), "40");
    machine.slow_down();
    is(
        "it says that it waits",
        machine.wait(|machine| told(machine, "this has to roll back, and waits") == 1),
    )?;
    let _ = root.wait();
    is("it goes back all the same", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    done(machine, &["awqdeploy", "follow"], 6)?;
    watched(machine)?;
    let mut host = hold(machine, HOST_LOCK, "1000");
    machine.slow_down();
    is(
        "it waits for the host",
        machine.wait(|machine| told(machine, "this has to roll back, and waits") == 1),
    )?;
    sleep(Duration::from_secs(2));
    is("nothing is touched meanwhile", step(machine).is_empty() && machine.unit("vllm") == "active")?;
    machine.signal("-KILL", &["-f", "sleep 1000"]);
    let _ = host.wait();
    is("it goes back", machine.wait(|machine| step(machine).starts_with("back")))?;
    is("alone", !machine.run(&["flock", "-n", HOST_LOCK, "true"]).status.success())?;
    is("to what served", machine.wait(|machine| serves(machine, "old").is_ok()))
}

/// The exit status is that of the activation's end, not of one that waited in vain.
fn holds_the_lock_of_the_dead(machine: &Machine) -> Result<(), String> {
    let deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry"]);
    is("it starts", machine.wait(|machine| step(machine) == "start"))?;
    let mut squatter = hold(machine, &format!("{ROOT}/lock"), "40");
    machine.signal("-KILL", &["-f", &format!("awqdeploy --root {ROOT} .*activate [0-9]+$")]);
    let output = deployment.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    is(&format!("{}: {said}", output.status), output.status.code() == Some(6))?;
    let _ = squatter.wait();
    serves(machine, "old")
}

/// The deployer is gone for good, and its candidate serves: what a boot does now is not enough.
fn starts_the_target(machine: &Machine) -> Result<(), String> {
    let mut deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry"]);
    let loads = |machine: &Machine| step(machine) == "start" && service(machine, "MainPID") != "0";
    is("it loads", machine.wait(loads))?;
    let program = format!("{ROOT}/bin/awqdeploy");
    let script = format!(
        "mv {program} {program}.away; systemctl kill --kill-whom=all --signal=KILL {unit}; sleep 2; \
         systemctl stop {unit}; mv {program}.away {program}",
        unit = unit(machine)
    );
    done(machine, &["sh", "-c", &script], 0)?;
    let _ = deployment.kill();
    let _ = deployment.wait();
    is("nobody is at work", !["active", "activating"].contains(&&*machine.unit(&unit(machine))))?;
    is("the candidate is up", machine.wait(|machine| machine.unit("vllm") == "active"))?;
    done(machine, &["systemctl", "start", "multi-user.target"], 0)?;
    is("old serves", machine.wait(|machine| serves(machine, "old").is_ok()))?;
    let status = machine.status();
    is(&format!("{status:#}"), status["runs"] == status["current"]["generation"])?;
    is("systemd keeps it", service(machine, "Restart") == "always")
}

/// Plays the scene before as earlier versions had it: the records say one thing, and another runs.
fn runs_something_else(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "new", "--yes", "--retry"], 0)?;
    let status = machine.status();
    let (new, old) = (status["current"]["generation"].clone(), status["last_activation"]["from"].clone());
    for mend in [&["systemctl", "start", "multi-user.target"][..], &["awqdeploy", "recover"]] {
        done(machine, &["ln", "-sfn", &format!("generations/{old}"), &format!("{ROOT}/current")], 0)?;
        let status = machine.status();
        is(&format!("{status:#}"), status["runs"] == new && status["serving"] == "new")?;
        let said = machine.said(&["awqdeploy", "status"]);
        is(&said, said.contains("is current, and does not run"))?;
        done(machine, mend, 0)?;
        is("what is current runs", machine.wait(|machine| serves(machine, "old").is_ok()))?;
        is("by its process", machine.wait(|machine| machine.status()["runs"] == old))?;
        machine.wait(|machine| machine.status()["last_activation"]["end"].is_string());
        done(machine, &["awqdeploy", "rollback", &new.to_string(), "--yes"], 0)?;
    }
    done(machine, &["ln", "-sfn", &format!("generations/{old}"), &format!("{ROOT}/current")], 0)?;
    done(machine, &["awqdeploy", "deploy", "old", "--yes", "--retry"], 0)?;
    serves(machine, "old")
}

/// Frees what nothing needs, over and over: what the watched one would go back to is needed.
fn collects_in_the_window(machine: &Machine) -> Result<(), String> {
    done(machine, &["awqdeploy", "deploy", "new", "--yes", "--retry"], 0)?;
    let new = machine.status()["current"]["generation"].clone();
    watched(machine)?;
    let collect = "n=0; until [ -e /run/enough ]; do awqdeploy gc >/dev/null && n=$((n+1)); done; echo $n";
    let collector = machine.start(&["timeout", "300", "sh", "-c", collect]);
    machine.slow_down();
    let back = machine.wait(|machine| serves(machine, "new").is_ok());
    // Its generation may be gone by then. Its end is not.
    let followed = done(machine, &["awqdeploy", "follow"], 6);
    machine.run(&["touch", "/run/enough"]);
    is("it goes back", back)?;
    followed?;
    let collected = collector.wait_with_output().map_err(|e| e.to_string())?;
    machine.run(&["rm", "/run/enough"]);
    let times = String::from_utf8_lossy(&collected.stdout).trim().to_owned();
    is("it collected meanwhile", times.parse::<u32>().is_ok_and(|times| times > 0))?;
    let status = machine.status();
    is(&format!("{status:#}"), status["runs"] == new)?;
    done(machine, &["awqdeploy", "verify", "--all"], 0).map(drop)
}

/// Ends a deployment of `new` while it starts. What served before takes its time to come up.
fn on_the_way_back(machine: &Machine) -> Result<Child, String> {
    done(machine, &["awqdeploy", "deploy", "slow", "--yes", "--retry"], 0)?;
    let deployment = machine.start(&["awqdeploy", "deploy", "new", "--yes", "--retry", "--json"]);
    is("it starts", machine.wait(|machine| step(machine) == "start"))?;
    let _cancelled = machine.start(&["awqdeploy", "cancel"]);
    is("it goes back", machine.wait(|machine| step(machine) == "back: start"))?;
    Ok(deployment)
}

/// The way back took one try, and what served before serves.
fn went_back(machine: &Machine, deployment: Child) -> Result<(), String> {
    let output = deployment.wait_with_output().map_err(|e| e.to_string())?;
    let document = document(&output)?;
    is(&format!("{document:#}"), output.status.code() == Some(6) && document["end"] == "rolled-back")?;
    serves(machine, "slow")?;
    is("systemd keeps it", service(machine, "Restart") == "always")
}

fn executes_anew_on_the_way_back(machine: &Machine) -> Result<(), String> {
    let deployment = on_the_way_back(machine)?;
    let mut times = 0;
    while step(machine) == "back: start" {
        done(machine, &["systemctl", if times % 2 == 0 { "daemon-reexec" } else { "daemon-reload" }], 0)?;
        times += 1;
        sleep(Duration::from_millis(500));
    }
    is(&format!("{times} times"), times > 2)?;
    let journal = machine.read(&format!("{}/journal.jsonl", newest(machine))).unwrap_or_default();
    let tries = journal.matches(r#""is":"back","step":"start""#).count();
    is(&format!("one try: {journal}"), tries == 1)?;
    went_back(machine, deployment)
}

/// Once is a try; systemd does not start it meanwhile.
fn kills_on_the_way_back(machine: &Machine) -> Result<(), String> {
    let deployment = on_the_way_back(machine)?;
    is("it loads", machine.wait(|machine| service(machine, "MainPID") != "0"))?;
    machine.run(&["systemctl", "kill", "--kill-whom=all", "--signal=KILL", "vllm"]);
    went_back(machine, deployment)
}

/// Neither an end nor an answer: the candidate is left all the same, and does not hold up the way back.
fn stands_still(machine: &Machine) -> Result<(), String> {
    let deployment = machine.start(&["awqdeploy", "deploy", "slow", "--yes", "--retry", "--json"]);
    is("it is validated", machine.wait(|machine| step(machine) == "validate"))?;
    machine.signal("-STOP", &["-f", "awqdeploy engine"]);
    let output = deployment.wait_with_output().map_err(|e| e.to_string())?;
    let document = document(&output)?;
    let why = document["why"].as_str().unwrap_or_default();
    is(&format!("{document:#}"), output.status.code() == Some(6) && !why.starts_with("interrupted"))?;
    serves(machine, "old")
}
