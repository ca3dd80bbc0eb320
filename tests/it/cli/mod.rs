//! The command line as a shell meets it: what is wrong is said with an exit status and a remedy, as text and as
//! JSON; what is asked for is printed.

mod contract;
mod problem;
mod screens;
mod terminal;
mod wrapping;

use super::{
    private_host::Host,
    program::{Said, awqdeploy},
    scratch::tempdir,
    skipped::skipped,
    stand::PROGRAM,
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};
use tempfile::TempDir;

const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts");

/// Runs it in an empty folder with these profiles, on a root that is not there yet.
fn run(folder: &TempDir, arguments: &[&str]) -> Said {
    let said = Said::by(
        awqdeploy(&["--root", "root", "--profiles", "profiles"]).args(arguments).current_dir(folder),
    );
    assert!(!folder.path().join("root").exists(), "{arguments:?} made the root");
    said
}

fn folder(profiles: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("profiles")).unwrap();
    for (name, text) in profiles {
        fs::write(folder.path().join("profiles").join(name).with_extension("toml"), text).unwrap();
    }
    folder
}

fn facts(name: &str) -> String {
    format!("{FACTS}/{name}.json")
}

#[test]
fn a_missing_profile_names_those_that_there_are() {
    let folder = folder(&[("awq", ""), ("gptq", "")]);
    assert_snapshot!(run(&folder, &["deploy", "awg", "--yes"]).complaint(2), @r"
    error: no profile named `awg`
    help: did you mean `awq`? there are `awq` and `gptq` in `profiles`
    ");
    assert_snapshot!(run(&folder, &["plan", "llama"]).complaint(2), @r"
    error: no profile named `llama`
    help: there are `awq` and `gptq` in `profiles`
    ");
    assert_snapshot!(run(&folder, &["plan", "./awg.toml"]).complaint(2), @r"
    error: no file `./awg.toml`
    help: give the path of a profile, or its name alone to find it among the profiles
    ");
    let missing = Said::by(awqdeploy(&["--profiles", "nowhere", "plan", "awq"]).current_dir(&folder));
    assert_snapshot!(missing.complaint(2), @r"
    error: no folder of profiles at `nowhere`
    help: `awqdeploy init OWNER/MODEL` writes a first profile there; or name another folder: `--profiles DIR`
    ");
}

#[test]
fn a_mistake_in_a_profile_has_its_place() {
    let rest = "[model]\nrepo = 'owner/name'\nserved-name = 'x'\n[runtime]\nvllm = '0.26.0'\n";
    let folder = folder(&[
        ("syntax", &format!("service = \n{rest}")),
        ("key", &format!("service = 'vllm'\n{rest}[listen]\nprot = 8000\n")),
        ("type", &format!("service = 'vllm'\n{rest}[listen]\nport = '8000'\n")),
    ]);
    for (name, line, column) in [("syntax", 1, 11), ("key", 8, 1), ("type", 8, 8)] {
        let path = format!("profiles/{name}.toml");
        let place = format!("--> {path}:{line}:{column}\n");
        for command in [&["plan", name][..], &["deploy", name, "--yes"]] {
            let text = run(&folder, command).complaint(2);
            assert!(text.contains(&place) && text.contains('^') && text.contains("help: "), "{text}");
        }
        let problem = run(&folder, &["plan", name, "--json"]).document(2);
        assert_eq!(problem["schema"], "awqdeploy/error/v1");
        assert_eq!((&problem["exit_code"], &problem["code"]), (&json!(2), &json!("usage")));
        let found = json!([problem["place"]["path"], problem["place"]["line"], problem["place"]["column"]]);
        assert_eq!(found, json!([path, line, column]));

        let document = run(&folder, &["deploy", name, "--yes", "--json"]).document(2);
        assert_eq!((&document["end"], &document["exit_code"]), (&json!("refused"), &json!(2)));
        let why = document["why"].as_str().unwrap();
        assert!(why.starts_with(&format!("{path}:{line}:{column}: ")), "{why}");
        assert!(document["help"].is_string(), "{document:#}");
    }
}

#[test]
fn a_plan_is_a_document() {
    let folder = folder(&[]);
    let arguments = ["--profiles", PROFILES, "plan", "awq", "--facts", &facts("four-16gb"), "--json"];
    let plan = Said::by(awqdeploy(&arguments).current_dir(&folder)).document(0);
    assert_eq!((&plan["schema"], &plan["refusal"]), (&json!("awqdeploy/plan/v1"), &Value::Null));
    let argv: Vec<String> = serde_json::from_value(plan["serve"]["argv"].clone()).unwrap();
    let size = argv.iter().position(|word| word == "--tensor-parallel-size").unwrap();
    assert_eq!(argv[size + 1], "4");
    assert!(
        plan["serve"]["env"].as_object().is_some_and(|env| env.values().all(Value::is_string)),
        "{plan:#}"
    );
    let unit = plan["unit"].as_str().unwrap();
    assert!(unit.contains("\n[Service]\n") && unit.contains("--tensor-parallel-size 4"), "{unit}");
}

#[test]
fn more_ranks_than_gpus_are_refused_with_what_would_work() {
    let facts = facts("one-16gb");
    let shipped = fs::read_to_string(format!("{PROFILES}/awq.toml")).unwrap();
    let four = shipped.replace("tensor-parallel-size = \"auto\"", "tensor-parallel-size = 4");
    let folder =
        folder(&[("awq", &four), ("gptq", &fs::read_to_string(format!("{PROFILES}/gptq.toml")).unwrap())]);
    let profiles = folder.path().join("profiles").display().to_string();
    fs::create_dir_all(folder.path().join("profiles/runtimes")).unwrap();
    fs::copy(
        format!("{PROFILES}/runtimes/vllm-0.26.0.toml"),
        folder.path().join("profiles/runtimes/vllm-0.26.0.toml"),
    )
    .unwrap();
    let arguments = ["--profiles", &profiles, "plan", "awq", "--facts", &facts];
    let text = Said::by(&mut awqdeploy(&arguments)).complaint(3);
    assert_snapshot!(text, @r#"
    error: `tensor-parallel-size = 4` needs 4 GPUs, and this host has 1
    help: set `tensor-parallel-size = "auto"`: it would plan TP 1 with 32.0 GiB of experts in RAM, predicted 28 tokens/s
    "#);

    let said = Said::by(awqdeploy(&arguments).arg("--json"));
    let plan = said.document(3);
    assert_eq!((plan["schema"].as_str(), said.stderr.as_str()), (Some("awqdeploy/plan/v1"), ""));
    assert_eq!(plan["refusal"]["code"], "tensor-parallel-exceeds-gpus");
    for part in ["message", "help"] {
        let told = plan["refusal"][part].as_str().unwrap();
        assert!(text.contains(told), "{told}");
    }
    assert_eq!((&plan["serve"], &plan["unit"]), (&Value::Null, &Value::Null));
}

#[test]
fn an_unknown_flag_of_vllm_is_refused() {
    let text = fs::read_to_string(format!("{PROFILES}/awq.toml")).unwrap();
    let text = text.replace("\"--generation-config\", \"vllm\"", "\"--swap-space\", \"4\"");
    let gptq = fs::read_to_string(format!("{PROFILES}/gptq.toml")).unwrap();
    let folder = folder(&[("awq", &text), ("gptq", &gptq)]);
    fs::create_dir(folder.path().join("profiles/runtimes")).unwrap();
    let runtime = "vllm-0.26.0.toml";
    fs::copy(format!("{PROFILES}/runtimes/{runtime}"), folder.path().join("profiles/runtimes").join(runtime))
        .unwrap();
    assert_snapshot!(run(&folder, &["plan", "awq", "--facts", &facts("four-16gb")]).complaint(3), @r"
    error: vLLM `0.26.0` does not know `--swap-space`: it is gone since 0.18.1
    help: the swap space did nothing but a check; leave it out
    ");
}

#[test]
fn an_empty_root_is_shown_as_such() {
    let folder = folder(&[]);
    let shown = run(&folder, &["status"]).text();
    assert!(shown.starts_with("nothing is deployed below root\n"), "{shown}");
    assert_eq!(
        run(&folder, &["status", "--json"]).document(0),
        json!({
            "schema": "awqdeploy/status/v1", "proven": false, "watched_until": null, "root": "root", "current": null,
            "serving": null, "service": null, "as_found": null, "last_activation": null, "report": null, "runs": null, "damaged": [], "damaged_models": [],
            "since": null, "restarts": 0, "why_not": null, "way_back": null,
        })
    );
    assert_eq!(run(&folder, &["generations"]).text(), "there are no generations\n");
    assert_eq!(
        run(&folder, &["generations", "--json"]).document(0),
        json!({ "schema": "awqdeploy/generations/v1", "generations": [] })
    );
    for command in [&["validate"][..], &["verify"], &["rollback", "--yes"], &["rollback", "7", "--yes"]] {
        let text = run(&folder, command).complaint(2);
        assert!(text.contains("help: "), "{command:?}: {text}");
    }
}

/// A program that reads the progress must not be told of each of the pieces in which a file is hashed.
#[test]
fn progress_for_programs_comes_in_percents() {
    let host = Host::new();
    host.write_weights(64 << 20);
    Said::by(&mut host.awqdeploy(&["lock", "tiny"])).text();
    let said = Said::by(&mut host.awqdeploy(&["verify", "tiny", "--progress", "json"]));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let events = said.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let progress = events.filter(|event| event["event"] == "progress").count();
    assert!((1..=101).contains(&progress), "{progress} events");
}

/// A script that forgot `--yes` must not hang, nor deploy.
#[test]
fn nobody_there_to_ask_is_wrong_usage() {
    let host = Host::new();
    let said = Said::by(&mut host.awqdeploy(&["deploy", "tiny"]));
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert_eq!(said.stderr, "error: nobody is there to ask\nhelp: say `--yes` to go on without asking\n");
    assert!(said.stdout.contains("--served-model-name tiny"), "the plan was not shown: {}", said.stdout);
}

/// At a terminal it asks, and whatever is no yes changes nothing.
#[test]
fn no_and_ctrl_c_at_the_question_change_nothing() {
    for answer in ["n", "\x03"] {
        let host = Host::new();
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &format!("exec {PROGRAM} deploy tiny"), "/dev/null"]);
        host.settle(&mut terminal);
        let Some((code, shown)) = answered(&mut terminal, "Deploy tiny? [y/N]", answer) else {
            skipped("a terminal needs `script` of util-linux");
            return;
        };
        assert_eq!(code, Some(130), "{shown}");
        assert!(shown.contains("not agreed; nothing was changed"), "{shown}");
        assert!(shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR), "the cursor stays hidden: {shown:?}");
        host.unchanged();
    }
}

const SHOW_CURSOR: &str = "\x1b[?25h";
const HIDE_CURSOR: &str = "\x1b[?25l";

/// Answers a question, and returns the exit status and all that was shown. Nothing where the command is not there.
fn answered(terminal: &mut Command, question: &str, answer: &str) -> Option<(Option<i32>, String)> {
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut chunk) {
        shown.push_str(&String::from_utf8_lossy(&chunk[..length]));
        if shown.contains(question) {
            // Before the terminal is set for it an answer is echoed, and lost: then it is given again.
            let _ended = input.write_all(answer.as_bytes());
            sleep(Duration::from_millis(50));
        }
    }
    assert!(shown.contains(question), "{shown}");
    Some((child.wait().unwrap().code(), shown))
}

#[test]
fn every_help_has_examples() {
    let commands = commands();
    for expected in
        ["plan", "deploy", "rollback", "status", "generations", "validate", "verify", "recover", "rehearse"]
    {
        assert!(commands.iter().any(|command| command == expected), "no `{expected}` in {commands:?}");
    }
    for command in commands {
        for flag in ["-h", "--help"] {
            let help = Said::by(&mut awqdeploy(&[&command, flag])).text();
            let examples = help
                .split("Examples:\n")
                .nth(1)
                .unwrap_or_else(|| panic!("`{command} {flag}` has no examples"));
            assert!(examples.starts_with(&format!("  awqdeploy {command}")), "{examples}");
        }
    }
    let help = Said::by(&mut awqdeploy(&["--help"])).text();
    for status in ["0  done", "3  the plan was refused", "6  it failed and was rolled back", "7  stuck"] {
        assert!(help.contains(status), "{help}");
    }
}

/// The names of all commands that the help shows.
fn commands() -> Vec<String> {
    let help = Said::by(&mut awqdeploy(&["--help"])).text();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// They were called so before; scripts may still say it.
#[test]
fn commands_are_known_by_their_old_names() {
    for (old, new) in [("watch", "follow"), ("collect", "gc")] {
        let help = Said::by(&mut awqdeploy(&["help", old])).text();
        assert!(help.contains(&format!("Usage: awqdeploy {new} ")), "{help}");
        assert!(!commands().contains(&old.to_owned()), "`{old}` is shown");
    }
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let commands = commands();
    let man = Said::by(&mut awqdeploy(&["man"])).text();
    assert!(man.starts_with(".ie") && man.contains(".SH \"EXIT STATUS\""), "{man}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Said::by(&mut awqdeploy(&["completions", shell])).text();
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not complete `{command}`");
        }
    }
    for command in &commands {
        assert!(man.contains(&format!("awqdeploy {command}")), "the manual does not describe `{command}`");
    }
    assert!(!man.contains("awqdeploy engine"), "the manual describes what is hidden");
}

/// `awqdeploy man | head -1`
#[test]
fn a_reader_that_leaves_is_no_problem() {
    for arguments in [&["man"][..], &["completions", "bash"], &["--help"], &["rehearse", "--list-faults"]] {
        let mut child = awqdeploy(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = child.wait_with_output().unwrap();
        assert_eq!((said.status.code(), said.stderr.as_slice()), (Some(0), [].as_slice()), "{arguments:?}");
    }
}
