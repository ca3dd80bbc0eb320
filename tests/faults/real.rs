//! The same faults under a real systemd: real signals to real processes, a real power cut that loses what was not
//! synced, a real boot. A fault strikes as soon as the journal shows the step that it is meant for.

use crate::{Table, machine::Machine, tell};
use serde_json::Value;
use std::{
    fmt,
    thread::sleep,
    time::{Duration, Instant},
};

const ROOT: &str = "/var/lib/awqdeploy";
/// The deployer that carries an activation out, and the one that a person started.
const DEPLOYER: &[&str] = &["-f", "awqdeploy --root /var/lib/awqdeploy .*activate [0-9]"];
const FOLLOWER: &[&str] = &["-f", "^awqdeploy (deploy|rollback)"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blow {
    /// SIGKILL to the deployer.
    Kill,
    /// SIGTERM to the deployer.
    Terminate,
    /// Ctrl-C in the terminal that the command was given in.
    CtrlC,
    /// SIGKILL to everything in that terminal.
    Terminal,
    /// The power.
    Cut,
}

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Forward(&'static str),
    Back(&'static str),
    /// In the boot after a power cut, while the service starts.
    Boot,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Story {
    First,
    Replacement,
    Rollback,
}

type Schedule = (Story, Vec<(Blow, Place)>);

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first deployment",
            Self::Replacement => "replacement",
            Self::Rollback => "rollback",
        })
    }
}

impl Blow {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
            Self::CtrlC => "Ctrl-C",
            Self::Terminal => "terminal killed",
            Self::Cut => "power cut",
        }
    }
}

/// Runs every `each`th schedule.
pub(crate) fn run(each: usize, table: &mut Table) {
    let machine = Machine::up("schedules");
    let all = schedules();
    let chosen: Vec<_> = all.iter().step_by(each).collect();
    tell(&format!("under systemd: {} of {} schedules", chosen.len(), all.len()));
    let mut ready = None;
    for (story, blows) in chosen {
        if ready != Some(*story) {
            set(&machine, *story);
        }
        let (went, back) = schedule(&machine, *story, blows);
        let faults: Vec<_> = blows.iter().map(|(blow, _)| blow.name()).collect();
        if let Err(why) = &went {
            tell(&format!("{story} {blows:?}: {why}"));
        }
        let went = went.map_err(|why| format!("{blows:?}: {why}"));
        ready = went.as_ref().is_ok_and(|committed| !committed).then_some(*story);
        table.add(*story as usize, &story.to_string(), &faults.join(", then "), went, back);
    }
}

fn schedules() -> Vec<Schedule> {
    let forward = ["stop", "point", "start", "validate"].map(Place::Forward);
    let strong = [Blow::Kill, Blow::Terminate, Blow::CtrlC, Blow::Cut];
    let mut all = Vec::new();
    for story in [Story::Replacement, Story::Rollback, Story::First] {
        let back: &[&str] =
            if story == Story::First { &["stop", "point"] } else { &["stop", "point", "start"] };
        for first in forward {
            all.push((story, vec![(Blow::Terminal, first)]));
            for blow in strong {
                all.push((story, vec![(blow, first)]));
                if blow == Blow::Cut {
                    for again in [Blow::Kill, Blow::Cut].iter().filter(|_| story != Story::First) {
                        all.push((story, vec![(blow, first), (*again, Place::Boot)]));
                    }
                    continue;
                }
                for second in back {
                    for again in strong {
                        all.push((story, vec![(blow, first), (again, Place::Back(second))]));
                    }
                }
            }
        }
    }
    all
}

/// Brings the machine to where a story begins.
fn set(machine: &Machine, story: Story) {
    let awqdeploy = |arguments: &[&str]| {
        let output = machine.run(&[&["awqdeploy"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "awqdeploy {}: {said}", arguments.join(" "));
    };
    // A schedule that failed may have left its deployer at work.
    machine.run(&["systemctl", "stop", "awqdeploy-activation-*"]);
    machine.run(&["systemctl", "stop", "vllm"]);
    machine.run(&["systemctl", "reset-failed"]);
    machine.run(&["sh", "-c", "cd /var/lib/awqdeploy && rm -rf current generations activations"]);
    match story {
        Story::First => {}
        Story::Replacement => awqdeploy(&["deploy", "old", "--yes"]),
        Story::Rollback => {
            awqdeploy(&["deploy", "new", "--yes"]);
            awqdeploy(&["deploy", "old", "--yes"]);
        }
    }
}

/// Runs one schedule to its end: whether it was committed, and how long after the last fault something proven served.
fn schedule(machine: &Machine, story: Story, blows: &[(Blow, Place)]) -> (Result<bool, String>, f64) {
    let before = newest(machine);
    let command: &[&str] = match story {
        Story::Rollback => &["awqdeploy", "rollback", "new", "--yes"],
        _ => &["awqdeploy", "deploy", "new", "--yes"],
    };
    let mut child = machine.start(command);
    let mut struck = Instant::now();
    for (blow, place) in blows {
        if !machine.wait(|machine| is_at(machine, before, *place)) {
            let said =
                machine.said(&["sh", "-c", "awqdeploy history; journalctl --no-pager -n 40 -t awqdeploy"]);
            let _ = child.kill();
            let _ = child.wait();
            return (Err(format!("never came to {place:?}:\n{said}")), 0.0);
        }
        struck = Instant::now();
        strike(machine, *blow, *place);
    }
    let settled = machine.wait(|machine| settled(machine, before));
    let _ = child.kill();
    let _ = child.wait();
    if !settled {
        return (Err("never settles".to_owned()), struck.elapsed().as_secs_f64());
    }
    let went = judge(machine, story, blows);
    (went, struck.elapsed().as_secs_f64())
}

fn strike(machine: &Machine, blow: Blow, place: Place) {
    match (blow, place) {
        // After a boot there is no deployer: the service is what can be killed.
        (Blow::Kill, Place::Boot) => machine.signal("-KILL", &["-f", "awqdeploy .*supervise"]),
        (Blow::Kill, _) => machine.signal("-KILL", DEPLOYER),
        (Blow::Terminate, _) => machine.signal("-TERM", DEPLOYER),
        (Blow::CtrlC, _) => machine.signal("-INT", FOLLOWER),
        (Blow::Terminal, _) => machine.signal("-KILL", FOLLOWER),
        (Blow::Cut, _) => {
            machine.cut();
            machine.boot();
        }
    }
}

/// The newest activation's number, read from outside.
fn newest(machine: &Machine) -> u64 {
    let names = machine.names(&format!("{ROOT}/activations"));
    names.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0)
}

/// Every state on record of the newest activation, if that is newer than `before`.
fn states(machine: &Machine, before: u64) -> Vec<Value> {
    let number = newest(machine);
    if number <= before {
        return Vec::new();
    }
    let journal = machine.read(&format!("{ROOT}/activations/{number}/journal.jsonl")).unwrap_or_default();
    let whole = journal.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
    let entries = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.map(|entry| entry["state"].clone()).collect()
}

/// Whether the step has begun. A step that takes a millisecond may be over by then: the fault strikes the next one.
fn is_at(machine: &Machine, before: u64, place: Place) -> bool {
    let (is, step) = match place {
        Place::Forward(step) => ("forward", step),
        Place::Back(step) => ("back", step),
        Place::Boot => return machine.said(&["systemctl", "is-active", "vllm"]) != "inactive",
    };
    states(machine, before).iter().any(|state| state["is"] == is && state["step"] == step)
}

/// Whether the activation has an end and nobody is at work any more.
fn settled(machine: &Machine, before: u64) -> bool {
    if states(machine, before).last().is_none_or(|state| state["is"] != "done") {
        return false;
    }
    // What serves again is validated after the end is on record, and systemd may still be starting it after a boot.
    let units = machine.said(&[
        "systemctl",
        "list-units",
        "--plain",
        "--no-legend",
        "--all",
        "awqdeploy-activation-*",
    ]);
    let starting = machine.said(&["systemctl", "is-active", "vllm"]);
    if !units.is_empty() || matches!(starting.as_str(), "activating" | "deactivating") {
        sleep(Duration::from_millis(100));
        return false;
    }
    true
}

/// What must be so after any faults: an end on record that says what serves, and that is proven and answers.
fn judge(machine: &Machine, story: Story, blows: &[(Blow, Place)]) -> Result<bool, String> {
    let status = machine.status();
    let end = status["last_activation"]["end"].as_str().unwrap_or("none").to_owned();
    let committed = match end.as_str() {
        "committed" => true,
        "rolled-back" => false,
        end => return Err(format!("the end is `{end}`: {}", status["last_activation"]["why"])),
    };
    let only_terminal = blows.iter().all(|(blow, _)| *blow == Blow::Terminal);
    if only_terminal && !committed {
        return Err("it does not outlive its terminal".to_owned());
    }
    let expected = match (committed, story) {
        (true, _) => Some("new"),
        (false, Story::First) => None,
        (false, _) => Some("old"),
    };
    if status["serving"].as_str() != expected {
        return Err(format!("{end}, and {} serves: {status:#}", status["serving"]));
    }
    match (expected, machine.completion().as_str()) {
        (Some(_), "200") if status["proven"] == true => Ok(committed),
        (None, "000") => Ok(committed),
        (_, answer) => Err(format!("{end}; proven: {}; a completion gets {answer}", status["proven"])),
    }
}
