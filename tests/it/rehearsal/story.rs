//! The rehearsal's contract, played by the program itself: every fault ends as it should, a signal rolls
//! back, and nothing is left running.

use crate::{
    program::{Running, Said, awqdeploy},
    scratch::tempdir,
    stand::{NEVER, Stand, context, patiently},
};
use awqdeploy::{
    domain::{
        activation::machine::{Cause, End},
        generation_id::GenerationId,
    },
    flow::{activation::recover::recover, validate::command::validate},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Every fault, and how the second deployment ends with it.
const FAULTS: &[(&str, &str, i64)] = &[
    ("slow", "rolled-back", 6),
    ("wrong-text", "rolled-back", 6),
    ("crash", "rolled-back", 6),
    ("crash-serving", "rolled-back", 6),
    ("hang", "rolled-back", 6),
    ("dead-engine", "rolled-back", 6),
    ("broken", "rolled-back", 6),
    ("error-stream", "rolled-back", 6),
    ("no-usage", "rolled-back", 6),
    ("no-done", "rolled-back", 6),
    ("no-role", "rolled-back", 6),
    ("two-ends", "rolled-back", 6),
    ("half-character", "rolled-back", 6),
    ("wrong-usage", "rolled-back", 6),
    ("text-code", "rolled-back", 6),
    ("ignores-stop", "rolled-back", 6),
    ("ignores-seed", "rolled-back", 6),
    ("ignores-limit", "rolled-back", 6),
    ("any-model", "rolled-back", 6),
    ("keeps-running", "rolled-back", 6),
    ("wrong-tokens", "rolled-back", 6),
    ("wrong-template", "rolled-back", 6),
    ("empty-answers", "rolled-back", 6),
    ("repeats", "rolled-back", 6),
    ("endless", "rolled-back", 6),
    ("blank", "rolled-back", 6),
    ("next-turn", "rolled-back", 6),
    ("skewed", "rolled-back", 6),
    ("bad-hash", "refused", 4),
    ("missing-file", "refused", 4),
    ("does-not-fit", "refused", 3),
    ("interrupted", "rolled-back", 6),
];

/// By this variable the processes of an embedded service are found.
const MARK: &str = "AWQDEPLOY_EMBEDDED_SERVICE";

/// A rehearsal in a scratch folder of its own.
fn rehearse(scratch: &TempDir, arguments: &[&str]) -> Command {
    let mut command = awqdeploy(&[&["rehearse"], arguments].concat());
    command.env("TMPDIR", scratch.path()).current_dir(scratch.path());
    command
}

fn told(arguments: &[&str], code: i32) -> Value {
    let scratch = tempdir().unwrap();
    let document = Said::by(rehearse(&scratch, &["--json"]).args(arguments)).document(code);
    assert_eq!(left_running(scratch.path()), [0; 0], "{arguments:?} left processes");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{arguments:?} left files");
    document
}

/// The processes of services that were started below this folder.
fn left_running(folder: &Path) -> Vec<i32> {
    let ours = |process: &procfs::process::Process| {
        let environment = process.environ().unwrap_or_default();
        environment.get(OsStr::new(MARK)).is_some_and(|mark| Path::new(mark).starts_with(folder))
    };
    procfs::process::all_processes().unwrap().flatten().filter(ours).map(|process| process.pid).collect()
}

#[test]
fn the_default_story_ends_with_awq() {
    let story = told(&[], 0);
    assert_eq!(story["schema"], "awqdeploy/rehearsal/v1");
    assert_eq!(story["serving"], "awq");
    let acts: Vec<_> = story["acts"].as_array().unwrap().iter().map(ending).collect();
    assert_eq!(acts, [json!(["deploy", "gptq", "committed", 0]), json!(["deploy", "awq", "committed", 0])]);
    assert_eq!(story["acts"][1]["report"]["comparison"]["profile"], "gptq", "{story:#}");
}

#[test]
fn an_upgrade_is_the_first_profile_with_the_newest_vllm() {
    let scratch = tempdir().unwrap();
    let kept = scratch.path().join("kept");
    let arguments = ["--json", "--story", "upgrade", "--keep", kept.to_str().unwrap()];
    let story = Said::by(&mut rehearse(&scratch, &arguments)).document(0);
    assert_eq!(ending(&story["acts"][1]), json!(["deploy", "gptq-upgraded", "committed", 0]));
    assert_eq!(story["acts"][1]["report"]["comparison"]["profile"], "gptq", "{story:#}");
    let root = kept.join("root");
    let generations = Said::by(&mut awqdeploy(&["--root", root.to_str().unwrap(), "generations", "--json"]));
    let generations = generations.document(0);
    let of = |name: &str| -> Vec<String> {
        let all = generations["generations"].as_array().unwrap().iter();
        all.map(|one| one[name].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(of("vllm"), ["0.26.0", awqdeploy::domain::vllm::flags::versions().last().unwrap()]);
    assert_eq!(of("repo")[0], of("repo")[1], "an upgrade keeps the model");
}

#[test]
fn an_upgrade_that_fails_ends_with_the_old_vllm() {
    let story = told(&["--story", "upgrade", "--fault", "wrong-text"], 0);
    assert_eq!(ending(&story["acts"][1]), json!(["deploy", "gptq-upgraded", "rolled-back", 6]), "{story:#}");
    assert_eq!(story["serving"], "gptq");
}

/// The end of an act as the contract promises it.
fn ending(act: &Value) -> Value {
    json!([act["action"], act["profile"], act["end"], act["exit_code"]])
}

#[test]
fn faults_are_listed_by_name() {
    let list = Said::by(&mut awqdeploy(&["rehearse", "--list-faults"])).text();
    let names: Vec<_> = list.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert!(names.iter().all(|(_, about)| !about.trim().is_empty()), "{list}");
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, FAULTS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
}

#[test]
fn every_fault_goes_back_or_is_refused() {
    scope(|scope| {
        for (fault, end, code) in FAULTS {
            scope.spawn(move || {
                let story = told(&["--fault", fault], 0);
                assert_eq!(story["acts"].as_array().unwrap().len(), 2, "{story:#}");
                assert_eq!(ending(&story["acts"][0]), json!(["deploy", "gptq", "committed", 0]), "{fault}");
                assert_eq!(ending(&story["acts"][1]), json!(["deploy", "awq", end, code]), "{story:#}");
                assert_eq!(story["serving"], "gptq", "{fault}");
                assert!(story["acts"][1]["why"].as_str().is_some_and(|why| !why.is_empty()), "{story:#}");
            });
        }
    });
}

/// One's own profiles, found by name in a folder or by the paths of their files.
#[test]
fn own_profiles_are_rehearsed() {
    let profiles = tempdir().unwrap();
    for (name, repo) in [
        ("before", "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ"),
        ("after", "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"),
    ] {
        let text = format!(
            "service = 'llm'\n[model]\nrepo = '{repo}'\nserved-name = 'llm'\n[runtime]\nvllm = '0.26.0'\n\
             [validation]\noutput-tokens = 8\nrepetitions = 1\n"
        );
        fs::write(profiles.path().join(name).with_extension("toml"), text).unwrap();
    }
    let folder = profiles.path().to_str().unwrap();
    let story = told(&["--profiles", folder, "--from", "before", "--to", "after"], 0);
    assert_eq!(story["serving"], "after", "{story:#}");

    let [before, after] = ["before", "after"].map(|name| format!("{folder}/{name}.toml"));
    let story = told(&["--from", &before, "--to", &after, "--fault", "crash"], 0);
    assert_eq!((&story["serving"], &story["acts"][1]["exit_code"]), (&json!("before"), &json!(6)));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "the profiles' folder was written to");
}

/// A rehearsal has a purpose: these gates let a slow engine through, and the exit status says so. Its evidence can be
/// read afterwards, and says what answered.
#[test]
fn what_is_kept_can_be_reported() {
    let scratch = tempdir().unwrap();
    let kept = scratch.path().join("kept");
    let words = ["--keep", kept.to_str().unwrap(), "--progress", "none"];
    assert!(rehearse(&scratch, &words).status().unwrap().success());
    let (root, page) = (kept.join("root"), scratch.path().join("report.html"));
    let words = ["--root", root.to_str().unwrap(), "report", "--html", page.to_str().unwrap()];
    assert!(awqdeploy(&words).status().unwrap().success());
    let page = fs::read_to_string(page).unwrap();
    for told in
        ["A rehearsal: the embedded engine answered", "Throughput by streams", "More streams, longer prompts"]
    {
        assert!(page.contains(told), "the page does not tell `{told}`");
    }
    // Nothing is written over.
    assert_eq!(rehearse(&scratch, &["--keep", kept.to_str().unwrap()]).status().unwrap().code(), Some(2));
}

#[test]
fn gates_that_notice_nothing_are_found_out() {
    let profiles = tempdir().unwrap();
    for name in ["gptq", "awq"] {
        let text = "service = 'llm'\n[model]\nrepo = 'jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ'\n\
                    served-name = 'llm'\n[runtime]\nvllm = '0.26.0'\n\
                    [validation]\nmin-decode-tokens-per-second = 0.001\noutput-tokens = 8\nrepetitions = 1\n";
        fs::write(profiles.path().join(name).with_extension("toml"), text).unwrap();
    }
    let scratch = tempdir().unwrap();
    let folder = profiles.path().to_str().unwrap();
    let said = Said::by(&mut rehearse(&scratch, &["--profiles", folder, "--fault", "slow"]));
    assert_eq!(said.code, Some(1));
    let last = said.stdout.lines().last().unwrap();
    assert_eq!(last, "awq serves: its profile's `[validation]` does not notice the fault `slow`.");
}

#[test]
fn what_cannot_be_rehearsed_is_wrong_usage() {
    for (arguments, said) in [
        (&["--fault", "slwo"][..], "no fault is named `slwo`"),
        (&["--to", "awg"], "did you mean `awq`?"),
        (&["--to", "gptq"], "both are `gptq`"),
        (&["--facts", "nowhere.json"], "there is no file `nowhere.json`"),
        (&["--story", "upgrade", "--fault", "bad-hash"], "an upgrade keeps the model"),
    ] {
        let scratch = tempdir().unwrap();
        let complaint = Said::by(&mut rehearse(&scratch, arguments)).complaint(2);
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
}

/// A rehearsal whose candidate is in the middle of this step.
fn rehearsing(scratch: &TempDir, step: &str) -> Running {
    let mut running = Running::start(&mut rehearse(scratch, &["--json", "--progress", "json"]));
    let forward = json!({ "is": "forward", "step": step });
    running.wait_for(|event| event["data"]["aim"] == 2 && event["data"]["state"] == forward);
    // The state is on record before anything is done.
    if step == "start" {
        running.wait_for(|event| event["event"] == "engine");
    }
    running
}

#[test]
fn a_signal_goes_back_to_what_served() {
    scope(|scope| {
        for (signal, step) in [(Signal::INT, "start"), (Signal::TERM, "validate")] {
            scope.spawn(move || goes_back(signal, step));
        }
    });
}

fn goes_back(signal: Signal, step: &str) {
    let scratch = tempdir().unwrap();
    let running = rehearsing(&scratch, step);
    running.signal(signal);
    let (_, said) = running.end();
    let story = said.document(130);
    assert_eq!(ending(&story["acts"][1]), json!(["deploy", "awq", "rolled-back", 6]), "{story:#}");
    assert_eq!(story["acts"][1]["why"], format!("interrupted during {step}"));
    assert_eq!(story["acts"][1]["returned"]["failures"], json!([]), "{story:#}");
    assert_eq!((&story["serving"], &story["interrupted"]), (&json!("gptq"), &json!(true)));
    assert_eq!(left_running(scratch.path()), [0; 0]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// Nothing of a killed deployer's embedded service stays, and what it left on the disk is undone.
#[test]
fn a_killed_deployer_is_recovered_from() {
    scope(|scope| {
        for step in ["stop", "start", "validate"] {
            scope.spawn(move || is_recovered_from(step));
        }
    });
}

fn is_recovered_from(step: &str) {
    let scratch = tempdir().unwrap();
    let running = rehearsing(&scratch, step);
    assert!(step != "validate" || !left_running(scratch.path()).is_empty(), "no process is marked");
    running.signal(Signal::KILL);
    running.end();
    let began = Instant::now();
    while !left_running(scratch.path()).is_empty() {
        assert!(began.elapsed() < NEVER, "processes outlive their killed owner");
        sleep(Duration::from_millis(20));
    }

    let folder = fs::read_dir(scratch.path()).unwrap().next().unwrap().unwrap().path();
    let mut context = context(&folder);
    let ended = patiently(|| recover(&mut context)).unwrap().unwrap();
    // The activation may have gone on a little before the signal reached it.
    assert!(matches!(ended.end, End::RolledBack { cause: Cause::Interrupted { .. } }), "{ended:?}");
    assert_eq!(context.store.current().unwrap(), Some(GenerationId(1)));
    let report = validate(&context, None, None).unwrap();
    assert_eq!((report.profile.as_str(), report.failures.as_slice()), ("gptq", [].as_slice()));
    let again = patiently(|| recover(&mut context)).unwrap();
    assert!(again.is_none(), "there was something left to recover");
}

/// Also in the moments when its engine begins and nothing looks after it yet.
#[test]
fn a_supervisor_that_is_told_to_stop_at_any_moment_leaves_nothing() {
    let mut stand = Stand::serving();
    stand.context.service_manager.observe("vllm").stop().unwrap();
    let scratch = tempdir().unwrap();
    let root = stand.context.layout().root().to_str().unwrap();
    for moment in 0..40 {
        let mut supervise = awqdeploy(&["--root", root, "supervise"]);
        supervise.env(MARK, scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut supervisor = supervise.spawn().unwrap();
        sleep(Duration::from_millis(moment));
        kill_process(Pid::from_child(&supervisor), Signal::TERM).unwrap();
        supervisor.wait().unwrap();
        assert_eq!(left_running(scratch.path()), [0; 0], "told to stop after {moment} ms");
    }
}
