//! Plays the faults under a real systemd: real signals to real processes, a real power cut that loses what was not
//! synced, a real boot. A fault strikes as soon as the journal shows the step that it is meant for.

use super::{Table, choice::Choice, machine::Machine, skipped::skipped, story::Story, tell};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{
    fmt,
    process::Child,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
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
    /// A person stops the service, or restarts it.
    Stop,
    Restart,
    /// systemd is started anew, or its message bus.
    Reexec,
    Bus,
    /// Another user holds on to the root's lock, as far as they can.
    Squat,
}

impl Blow {
    /// The faults that a deployment takes no notice of.
    const HARMLESS: [Self; 4] = [Self::Terminal, Self::Reexec, Self::Bus, Self::Squat];

    /// Whether it is what a person does to the service itself: it may make a step fail.
    fn is_by_hand(self) -> bool {
        matches!(self, Self::Stop | Self::Restart)
    }
}

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Forward(&'static str),
    Back(&'static str),
    /// After the boot that follows a power cut, as soon as there is something to strike.
    Boot,
}

/// When the blows of a schedule struck.
struct Struck {
    last: Instant,
    /// By the clock of the host: the first that is to lead back.
    first: Option<Timestamp>,
}

/// A squatter: an unprivileged user holds the locks for longer than an activation takes.
const SQUAT: &str = "for lock in /var/lib/awqdeploy/lock /run/awqdeploy/activation.lock; do \
     setpriv --reuid 65534 --regid 65534 --clear-groups timeout 20 flock $lock sleep 20 & done; wait";

/// A story, and what happens to it.
struct Schedule {
    story: Story,
    blows: Vec<(Blow, Place)>,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
            Self::CtrlC => "Ctrl-C",
            Self::Terminal => "terminal killed",
            Self::Cut => "power cut",
            Self::Stop => "stop by hand",
            Self::Restart => "restart by hand",
            Self::Reexec => "systemd anew",
            Self::Bus => "bus anew",
            Self::Squat => "another user at the lock",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(step) => f.write_str(step),
            Self::Back(step) => write!(f, "back: {step}"),
            Self::Boot => f.write_str("boot"),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blows: Vec<_> = self.blows.iter().map(|(blow, place)| format!("{blow} at {place}")).collect();
        write!(f, "{}, {}", self.story, blows.join(", then "))
    }
}

/// Runs the chosen schedules on machines side by side: most of each is waiting.
pub(crate) fn run(choice: &Choice, table: &mut Table) {
    let all = schedules();
    let wanted = |schedule: &&Schedule| choice.wants(&schedule.to_string());
    let chosen: Vec<_> = all.iter().filter(wanted).step_by(choice.each).collect();
    tell(&format!("under systemd: {} of {} schedules", chosen.len(), all.len()));
    let (next, shared) = (AtomicUsize::new(0), Mutex::new(&mut *table));
    let lost = thread::scope(|scope| {
        let machines: Vec<_> = (0..choice.machines.min(chosen.len()))
            .map(|number| {
                let (chosen, next, shared) = (&chosen, &next, &shared);
                let up = move || Machine::up(&format!("schedules-{number}"), choice.systemd);
                scope.spawn(move || match up() {
                    Some(machine) => run_on(machine, up, chosen, next, shared),
                    None => skipped("that systemd cannot be had here"),
                })
            })
            .collect();
        machines.into_iter().filter_map(|machine| machine.join().err()).count()
    });
    for _ in 0..lost {
        table.add(
            0,
            "any",
            "none",
            Err("a machine was lost, with the schedule that it was at".to_owned()),
            0.0,
        );
    }
}

/// Takes one schedule after the other until none is left. A machine that does not come up again is replaced.
fn run_on(
    mut machine: Machine,
    up: impl Fn() -> Option<Machine>,
    chosen: &[&Schedule],
    next: &AtomicUsize,
    table: &Mutex<&mut Table>,
) {
    let mut ready = None;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(schedule @ Schedule { story, blows }) = chosen.get(number) else { return };
        if machine.is_off() {
            drop(machine);
            machine = up().expect("what booted once boots again");
        }
        if ready != Some(*story) {
            set(&machine, *story);
        }
        let (went, back) = play(&machine, schedule);
        let told = match &went {
            Ok(true) => "committed".to_owned(),
            Ok(false) => format!("went back in {back:.1} s"),
            Err(_) => "FAILED".to_owned(),
        };
        tell(&format!("{} of {}: {schedule}: {told}", number + 1, chosen.len()));
        // A restarted generation runs again: it is stopped anew.
        let as_before = went.as_ref().is_ok_and(|committed| !committed) && *story != Story::Same;
        ready = as_before.then_some(*story);
        let faults: Vec<_> = blows.iter().map(|(blow, _)| blow.to_string()).collect();
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.add(*story as usize, &story.to_string(), &faults.join(", then "), went, back);
    }
}

/// The names of all schedules.
pub(crate) fn names() -> Vec<String> {
    schedules().iter().map(Schedule::to_string).collect()
}

fn schedules() -> Vec<Schedule> {
    let mut all = Vec::new();
    for story in [Story::Replacement, Story::Rollback, Story::First] {
        for first in ["stop", "point", "start", "validate"].map(Place::Forward) {
            let harmless = Blow::HARMLESS.into_iter().chain([Blow::Stop, Blow::Restart]);
            all.extend(harmless.map(|blow| Schedule { story, blows: vec![(blow, first)] }));
            for blow in [Blow::Kill, Blow::Terminate, Blow::CtrlC] {
                all.push(Schedule { story, blows: vec![(blow, first)] });
                let again = [Blow::Kill, Blow::Terminate, Blow::CtrlC, Blow::Cut];
                all.extend(pairs(story, (blow, first), &again));
            }
            all.push(Schedule { story, blows: vec![(Blow::Cut, first)] });
            // Where nothing served before, nothing is started at boot.
            if story != Story::First {
                let again =
                    [Blow::Kill, Blow::Cut].map(|again| vec![(Blow::Cut, first), (again, Place::Boot)]);
                all.extend(again.map(|blows| Schedule { story, blows }));
            }
        }
    }
    // The generation and its rollback target are one: each fault at each step has all that there is.
    for place in ["stop", "point", "start", "validate"].map(Place::Forward) {
        let blows = [Blow::Terminal, Blow::Kill, Blow::Terminate, Blow::CtrlC, Blow::Cut];
        all.extend(blows.map(|blow| Schedule { story: Story::Same, blows: vec![(blow, place)] }));
    }
    // Nobody follows it any more: only the deployer itself can be struck.
    let (story, strong) = (Story::Withdrawal, [Blow::Kill, Blow::Terminate, Blow::Cut]);
    for first in steps_back(story) {
        for blow in strong {
            all.push(Schedule { story, blows: vec![(blow, first)] });
            if blow != Blow::Cut {
                all.extend(pairs(story, (blow, first), &strong));
            }
        }
    }
    all
}

/// After the first blow each of these, at each step of the rollback.
fn pairs(story: Story, first: (Blow, Place), again: &[Blow]) -> Vec<Schedule> {
    let second = steps_back(story).into_iter().flat_map(|place| again.iter().map(move |blow| (*blow, place)));
    second.map(|second| Schedule { story, blows: vec![first, second] }).collect()
}

fn steps_back(story: Story) -> Vec<Place> {
    let steps: &[&str] = if story == Story::First { &["stop", "point"] } else { &["stop", "point", "start"] };
    steps.iter().map(|step| Place::Back(step)).collect()
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
        Story::Replacement | Story::Withdrawal => awqdeploy(&["deploy", "old", "--yes"]),
        Story::Same | Story::SameWithdrawal => {
            awqdeploy(&["deploy", "old", "--yes"]);
            machine.run(&["systemctl", "stop", "vllm"]);
        }
        Story::Rollback => {
            awqdeploy(&["deploy", "new", "--yes"]);
            awqdeploy(&["deploy", "old", "--yes"]);
        }
    }
}

/// Plays one schedule to its end: whether it was committed, and how long after the last fault something proven served.
fn play(machine: &Machine, schedule: &Schedule) -> (Result<bool, String>, f64) {
    let before = newest(machine);
    let mut child = machine.start(match schedule.story {
        Story::Rollback => &["awqdeploy", "rollback", "new", "--yes"],
        Story::Same => &["awqdeploy", "rollback", "old", "--yes"],
        Story::Withdrawal => &["awqdeploy", "deploy", "watched", "--yes", "--retry"],
        _ => &["awqdeploy", "deploy", "new", "--yes"],
    });
    let struck = strike_all(machine, schedule, before, &mut child);
    let settled = machine.wait(|machine| settled(machine, before));
    let _ = child.kill();
    let output = child.wait_with_output();
    let (went, began) = match struck {
        Err(why) => (Err(why), Instant::now()),
        Ok(struck) if !settled => (Err("never settles".to_owned()), struck.last),
        Ok(struck) => {
            let went = judge(machine, schedule);
            (went.and_then(|committed| heeded(machine, before, committed, &struck)), struck.last)
        }
    };
    let back = began.elapsed().as_secs_f64();
    let went = went.map_err(|why| {
        let said =
            output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        let log = "awqdeploy history; journalctl --no-pager -n 40 -t awqdeploy";
        format!("{schedule}: {why}\n{said}{}", machine.said(&["sh", "-c", log]))
    });
    (went, back)
}

/// When the last blow struck.
fn strike_all(
    machine: &Machine,
    schedule: &Schedule,
    before: u64,
    child: &mut Child,
) -> Result<Struck, String> {
    let mut refused =
        |machine: &Machine| newest(machine) <= before && child.try_wait().is_ok_and(|ended| ended.is_some());
    if schedule.story == Story::Withdrawal {
        let committed = |machine: &Machine| {
            states(machine, before).last().is_some_and(|state| state["end"] == "committed")
        };
        if !machine.wait(|machine| committed(machine) || refused(machine)) {
            return Err("nothing is committed".to_owned());
        }
        machine.slow_down();
    }
    let mut struck: Option<Struck> = None;
    for (blow, place) in &schedule.blows {
        machine
            .wait(|machine| is_at(machine, before, *place) || refused(machine) || settled(machine, before));
        match (is_at(machine, before, *place), &struck) {
            (true, _) => {}
            // On a busy machine a blow may come after the commit: then there is no rollback to strike.
            (false, Some(_)) => break,
            (false, None) => return Err(format!("never came to {place}")),
        }
        let last = Instant::now();
        strike(machine, *blow, *place)?;
        let leads_back = !Blow::HARMLESS.contains(blow) && !blow.is_by_hand();
        let leads_back = leads_back && matches!(place, Place::Forward(_));
        let now = leads_back.then(Timestamp::now);
        struck = Some(Struck { last, first: struck.and_then(|struck| struck.first).or(now) });
    }
    struck.ok_or_else(|| "nothing struck".to_owned())
}

/// Checks that a fault that was to lead to a rollback did: a commit that is on record after it took no heed of it.
/// One that was on its way comes within this time.
fn heeded(machine: &Machine, before: u64, committed: bool, struck: &Struck) -> Result<bool, String> {
    const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(1);
    let at =
        entries(machine, before).last().and_then(|entry| entry["at"].as_str()?.parse::<Timestamp>().ok());
    match (struck.first, at) {
        (Some(first), Some(at)) if committed && at.duration_since(first) > ON_ITS_WAY => {
            Err(format!("it was committed at {at} in spite of what struck it at {first}"))
        }
        _ => Ok(committed),
    }
}

fn strike(machine: &Machine, blow: Blow, place: Place) -> Result<(), String> {
    match (blow, place) {
        // After a boot there is no deployer: the service is what can be killed.
        (Blow::Kill, Place::Boot) => machine.signal("-KILL", &["-f", "awqdeploy .*supervise"]),
        (Blow::Kill, _) => machine.signal("-KILL", DEPLOYER),
        (Blow::Terminate, _) => machine.signal("-TERM", DEPLOYER),
        (Blow::CtrlC, _) => machine.signal("-INT", FOLLOWER),
        (Blow::Terminal, _) => machine.signal("-KILL", FOLLOWER),
        (Blow::Cut, _) => {
            machine.cut();
            return machine.boot();
        }
        (Blow::Stop, _) => drop(machine.run(&["systemctl", "stop", "vllm"])),
        (Blow::Restart, _) => drop(machine.run(&["systemctl", "restart", "--no-block", "vllm"])),
        (Blow::Reexec, _) => drop(machine.run(&["systemctl", "daemon-reexec"])),
        (Blow::Bus, _) => drop(machine.run(&["systemctl", "restart", "dbus"])),
        (Blow::Squat, _) => drop(machine.start(&["sh", "-c", SQUAT])),
    }
    Ok(())
}

/// The newest activation's number, read from outside.
fn newest(machine: &Machine) -> u64 {
    let names = machine.names(&format!("{ROOT}/activations"));
    names.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0)
}

/// Everything on record of the newest activation, if that is newer than `before`.
fn entries(machine: &Machine, before: u64) -> Vec<Value> {
    let number = newest(machine);
    if number <= before {
        return Vec::new();
    }
    let journal = machine.read(&format!("{ROOT}/activations/{number}/journal.jsonl")).unwrap_or_default();
    let whole = journal.rsplit_once('\n').map_or("", |(whole, _torn)| whole);
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Every state of it.
fn states(machine: &Machine, before: u64) -> Vec<Value> {
    entries(machine, before).iter().map(|entry| entry["state"].clone()).collect()
}

/// Whether the step has begun. A step that takes a millisecond may be over by then: the fault strikes the next one.
fn is_at(machine: &Machine, before: u64, place: Place) -> bool {
    let (is, step) = match place {
        Place::Forward(step) => ("forward", step),
        Place::Back(step) => ("back", step),
        Place::Boot => return machine.unit("vllm") != "inactive",
    };
    states(machine, before).iter().any(|state| state["is"] == is && state["step"] == step)
}

/// Whether the activation has an end and nobody is at work any more.
fn settled(machine: &Machine, before: u64) -> bool {
    if states(machine, before).last().is_none_or(|state| state["is"] != "done") {
        return false;
    }
    // The running server is validated after the end is on record.
    let at_work = |unit: String| unit.starts_with("awqdeploy-activation-");
    !machine.names("/run/systemd/transient").into_iter().any(at_work)
}

/// Checks what must be so after any faults: an end on record that names the running generation, which is proven and
/// answers.
fn judge(machine: &Machine, schedule: &Schedule) -> Result<bool, String> {
    let Schedule { story, blows } = schedule;
    let status = machine.status();
    let last = &status["last_activation"];
    let (end, why) = (last["end"].as_str().unwrap_or("none"), last["why"].as_str().unwrap_or_default());
    let committed = match end {
        "committed" => true,
        "rolled-back" => false,
        end => return Err(format!("the end is `{end}`: {why}")),
    };
    if !committed && blows.iter().all(|(blow, _)| Blow::HARMLESS.contains(blow)) {
        return Err(format!("it does not outlive what is harmless: {why}"));
    }
    let cause = if *story == Story::Withdrawal { "did not stay well" } else { "interrupted" };
    if !committed && !why.starts_with(cause) && !blows.iter().any(|(blow, _)| blow.is_by_hand()) {
        return Err(format!("it went back by itself: {why}"));
    }
    let expected = match (committed, story) {
        (_, Story::Same | Story::SameWithdrawal) => Some("old"),
        (true, _) => Some("new"),
        (false, Story::First) => None,
        (false, _) => Some("old"),
    };
    // After a boot systemd may still be starting it, or start again what was killed.
    let answers = |machine: &Machine| machine.completion() == "200";
    let answer = if expected.is_some() && !machine.wait(answers) { "none" } else { &machine.completion() };
    let status = machine.status();
    if status["serving"].as_str() != expected {
        return Err(format!("{end}, and {} serves: {status:#}", status["serving"]));
    }
    // A proven generation is restarted whenever it dies.
    let restart = machine.said(&["systemctl", "show", "--value", "-p", "Restart", "vllm"]);
    match (expected, answer) {
        (Some(_), _) if restart != "always" && restart != "on-failure" => {
            Err(format!("{end}; Restart={restart}"))
        }
        (Some(_), "200") if status["proven"] == true => Ok(committed),
        (None, "000") => Ok(committed),
        (_, answer) => Err(format!("{end}; proven: {}; a completion gets {answer}", status["proven"])),
    }
}
