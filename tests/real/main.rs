//! The whole road on real parts: a real vLLM under a real systemd, driven through the program's command line.
//!
//! It needs root, and takes minutes. `prepare` brings what it needs; `with-systemd` boots a systemd that has nothing to
//! do with this machine's own.

#![allow(clippy::disallowed_methods, reason = "tests start the programs that they test")]
#![allow(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

mod adopting;
#[path = "../as_vllm.rs"]
mod as_vllm;
mod configs;
#[allow(dead_code, reason = "tests/systemd uses the rest of it")]
mod machine;
mod parser;
mod quality;
#[path = "../skipped.rs"]
mod skipped;
mod systemd;

use machine::{Machine, PARTS, Said, alone, bind, prepare, profiles};
use serde_json::Value;
use skipped::skipped;
use std::process::Child;
use systemd::Systemd;

/// Where awqdeploy installs its units.
const UNITS: &str = "/etc/systemd/system";
/// Where it keeps everything else.
const ROOT: &str = "/var/lib/awqdeploy";

#[test]
#[ignore = "needs root, vLLM and a systemd of its own: tests/real/all"]
fn a_migration_there_and_back() {
    if !rustix::process::geteuid().is_root() {
        skipped("booting a systemd in namespaces needs root; run `cargo test --test real` as root");
        return;
    }
    let _alone = alone();
    let Some(machine) = boot("real") else {
        skipped("that systemd cannot be had here");
        return;
    };
    lock(&machine);
    adopting::start_by_hand(&machine);
    adopting::adopt(&machine);
    let old = healthy_but_broken(&machine);
    vllm_has_a_word(&machine);
    let awq = migration(&machine);
    assert_ne!(old, awq, "both loaded the same model");
    too_slow(&machine, &awq);
    killed_engine(&machine, &awq);
    adopting::there_and_back(&machine, &old);
    interrupted(&machine, &old);
    power_cut(&machine, &old);
    stopped(&machine);
}

/// Several ranks are several processes, which find each other and share memory: all of it in the sandbox.
#[test]
#[ignore = "needs root, vLLM and a systemd of its own: tests/real/all"]
fn several_ranks() {
    if !rustix::process::geteuid().is_root() {
        skipped("booting a systemd in namespaces needs root; run `cargo test --test real` as root");
        return;
    }
    let _alone = alone();
    let Some(machine) = boot("ranks") else {
        skipped("that systemd cannot be had here");
        return;
    };
    for (profile, ranks) in [("two-ranks", 2), ("four-ranks", 4)] {
        machine.run(&["awqdeploy", "lock", profile]).succeeded();
        committed(&machine.awqdeploy(&["deploy", profile, "--yes", "--json"], 0), profile);
        serves(&machine, profile);
        let processes = machine.vllm_processes();
        let workers = processes.iter().filter(|process| process.contains("VLLM::Worker")).count();
        assert_eq!(workers, ranks, "{processes:#?}");
        let exposure =
            machine.run(&["systemd-analyze", "security", "--no-pager", "--threshold=15", "vllm.service"]);
        assert_eq!(exposure.code, Some(0), "{}", exposure.stdout);
        units_are_clean(&machine);
    }
    let again = machine.awqdeploy(&["deploy", "four-ranks", "--yes", "--json"], 0);
    assert_eq!(again["end"], "unchanged", "{again:#}");
    let generations = machine.names(&format!("{ROOT}/generations"));
    assert_eq!(generations, ["1", "2"], "an unchanged deployment made a generation");
    stopped(&machine);
}

/// Under the systemd that `AWQDEPLOY_SYSTEMD` names: `257`, or by default this machine's own.
fn boot(name: &str) -> Option<Machine> {
    let mut more = vec![("--bind", bind(&prepare(), PARTS))];
    let systemd = match std::env::var("AWQDEPLOY_SYSTEMD").as_deref() {
        Err(_) => Systemd::Own,
        Ok("257") => Systemd::Trixie,
        Ok(other) => panic!("there is no systemd {other} to test under"),
    };
    if systemd == Systemd::Trixie {
        // The locked wheels are for this machine's Python, which that Debian does not have.
        for part in ["/usr/bin/python3.11", "/usr/lib/python3.11"] {
            more.push(("--ro-bind", part.to_owned()));
        }
    }
    Machine::boot_with(name, systemd, &profiles(name), &more)
}

fn lock(machine: &Machine) {
    for profile in ["gptq", "awq", "too-fast", "broken", "refused"] {
        machine.run(&["awqdeploy", "lock", profile]).succeeded();
    }
    let locks = machine.names("/etc/awqdeploy/locks");
    assert_eq!(
        locks,
        ["awq.toml", "broken.toml", "gptq.toml", "refused.toml", "too-fast.toml"],
        "one lock for each profile"
    );
}

/// The installed vLLM, asked: it agrees with each plan, and what it does not take is refused before anything is stopped.
fn vllm_has_a_word(machine: &Machine) {
    for profile in ["gptq", "awq"] {
        let document = machine
            .awqdeploy(&["plan", profile, "--checkpoint", &checkpoint(profile), "--ask-engine", "--json"], 0);
        let rows = document["engine"].as_array().expect("it was asked");
        assert!(rows.len() > 8 && rows.iter().all(|row| row["agrees"] == true), "{document:#}");
        let planned = rows.iter().filter(|row| !row["planned"].is_null()).count();
        assert!(planned >= 7, "hardly anything was compared: {document:#}");
    }
    let before = (machine.status()["current"].clone(), machine.service("InvocationID"));
    let refused = machine.run(&["awqdeploy", "deploy", "refused", "--yes", "--json"]).document(3);
    assert_eq!(refused["end"], "refused", "{refused:#}");
    let why = refused["why"].as_str().unwrap_or_default();
    assert!(why.contains("does not take the plan's command line"), "{refused:#}");
    let after = (machine.status()["current"].clone(), machine.service("InvocationID"));
    assert_eq!(before, after, "the old service was touched");
}

fn checkpoint(profile: &str) -> String {
    format!("/srv/awqdeploy-real/models/qwen3next-tiny-{profile}")
}

/// AWQ takes over, and is compared with what somebody set up by hand. Meanwhile a second deployment is turned away.
fn migration(machine: &Machine) -> String {
    let arguments = ["deploy", "awq", "--yes", "--json"];
    let activations = format!("{ROOT}/activations");
    let before = machine.names(&activations).len();
    let mut deployment = machine.start_awqdeploy(&arguments);
    machine.wait("the activation of awq goes on, or ended", |machine| {
        machine.names(&activations).len() > before || deployment.try_wait().is_ok_and(|ended| ended.is_some())
    });

    let second = machine.run(&["awqdeploy", "deploy", "gptq", "--yes", "--json"]);
    let refusal = second.document(5);
    assert_eq!(refusal["end"], "refused", "{refusal:#}");
    let why = format!("{refusal} {}", second.stderr);
    assert!(why.contains("deploy awq"), "does not name who holds the lock: {why}");

    let output = deployment.wait_with_output().expect("the deployment ends");
    let document = Said::of(&arguments, &output).document(0);
    committed(&document, "awq");
    let comparison = &document["report"]["comparison"];
    assert_eq!(comparison["profile"], "old", "{document:#}");
    let ratio = comparison["ratio"].as_f64().expect("a comparison has a ratio");
    assert!(ratio > 0.0, "{document:#}");
    swept(&document["report"]["sweep"]);
    serves(machine, "awq");
    machine.model()
}

/// Checks what was measured beyond one stream: the profile asks for more than the context and the engine hold.
fn swept(sweep: &Value) {
    let left_out =
        ["a prompt of 4096 tokens: the context has 2048", "4 streams: the engine answers 2 at once"];
    let said = sweep["left_out"].as_array().expect("it says what was left out");
    assert!(left_out.iter().all(|wanted| said.iter().any(|said| said == wanted)), "{sweep:#}");
    for streams in sweep["streams"].as_array().expect("a list of levels") {
        assert!(streams["output_throughput"].as_f64().is_some_and(|rate| rate > 0.2), "{sweep:#}");
        assert_eq!(streams["completed"].as_u64(), streams["samples"].as_array().map(|all| all.len() as u64));
    }
    for prompt in sweep["prompts"].as_array().expect("a list of lengths") {
        // The lengths are estimated from characters, and counted by the server.
        assert!(prompt["input_len"].as_u64().is_some_and(|tokens| (40..800).contains(&tokens)), "{sweep:#}");
    }
}

/// A server that never has the speed that its gate asks for.
fn too_slow(machine: &Machine, awq: &str) {
    let document = machine.awqdeploy(&["deploy", "too-fast", "--yes", "--json"], 6);
    rolled_back(&document, "too-fast");
    let report = &document["report"];
    assert_eq!(report["profile"], "too-fast", "the evidence is not the candidate's: {document:#}");
    let speed = report["throughput"]["decode_tokens_per_second"]["median"].as_f64();
    assert!(speed.is_some_and(|speed| speed > 0.2 && speed < 10_000.0), "{document:#}");
    assert_ne!(report["failures"], Value::Array(Vec::new()), "{document:#}");
    assert_eq!(document["returned"]["profile"], "awq", "what it returned to was not validated: {document:#}");
    serves(machine, "awq");
    assert_eq!(machine.model(), awq);
}

/// The first migration fails: /health says 200, every request gets 500. The adopted server comes back, in our own unit
/// and on the store's copy of its model. The runtime is installed from the lock with no network.
fn healthy_but_broken(machine: &Machine) -> String {
    let document = machine.awqdeploy(&["deploy", "broken", "--yes", "--json"], 6);
    rolled_back(&document, "broken");
    assert_eq!(document["returned_to"], 1, "{document:#}");
    serves(machine, "old");
    units_are_clean(machine);
    assert!(machine.names(UNITS).contains(&"vllm.service.by-hand".to_owned()), "the old unit is gone");
    machine.model()
}

/// vLLM then leaves with exit status 0, as if all were well: systemd must start it again all the same.
fn killed_engine(machine: &Machine, awq: &str) {
    let restarts = machine.service("NRestarts");
    let generation = machine.status()["current"]["generation"].clone();
    machine.run(&["pkill", "-KILL", "-f", "VLLM::EngineCore"]).succeeded();
    machine.wait("systemd restarted the service", |machine| machine.service("NRestarts") != restarts);
    machine.wait("the service answers again", |machine| machine.completion() == 200);
    serves(machine, "awq");
    assert_eq!(machine.model(), awq);
    assert_eq!(machine.status()["current"]["generation"], generation, "a restart is no rollback");
}

/// Somebody presses Ctrl-C while the candidate loads.
fn interrupted(machine: &Machine, old: &str) {
    let deployment = starting(machine);
    machine.run(&["pkill", "-INT", "-f", "^awqdeploy deploy awq"]).succeeded();
    let output = deployment.wait_with_output().expect("the deployment ends");
    let document = Said::of(&["awqdeploy", "deploy", "awq"], &output).document(6);
    rolled_back(&document, "awq");
    assert_eq!(document["why"], "interrupted during start", "{document:#}");
    serves(machine, "old");
    assert_eq!(machine.model(), old);
}

/// The power goes while the candidate loads: the next boot brings back what served before.
fn power_cut(machine: &Machine, old: &str) {
    let deployment = starting(machine);
    machine.power_cut();
    drop(deployment);
    machine.wait("the service answers after the power cut", |machine| machine.completion() == 200);
    let status = machine.status();
    assert_eq!(status["last_activation"]["end"], "rolled-back", "{status:#}");
    assert_eq!(status["last_activation"]["why"], "interrupted during start", "{status:#}");
    serves(machine, "old");
    assert_eq!(machine.model(), old);
}

/// A deployment of awq whose candidate has begun to load.
fn starting(machine: &Machine) -> Child {
    let deployment = machine.start_awqdeploy(&["deploy", "awq", "--yes", "--json"]);
    machine.wait("the candidate loads", |machine| {
        machine.status()["last_activation"]["step"] == "start"
            && machine.vllm_processes().iter().any(|process| process.contains("vllm.entrypoints"))
    });
    deployment
}

fn stopped(machine: &Machine) {
    machine.run(&["systemctl", "stop", "vllm"]).succeeded();
    assert_eq!(machine.vllm_processes(), [""; 0], "processes outlive the service");
}

fn committed(document: &Value, profile: &str) {
    assert_eq!(document["schema"], "awqdeploy/activation/v1", "{document:#}");
    assert_eq!(document["profile"], profile, "{document:#}");
    assert_eq!(document["end"], "committed", "{document:#}");
    assert_eq!(document["exit_code"], 0, "{document:#}");
    assert_eq!(document["report"]["failures"], Value::Array(Vec::new()), "{document:#}");
}

fn rolled_back(document: &Value, profile: &str) {
    assert_eq!(document["schema"], "awqdeploy/activation/v1", "{document:#}");
    assert_eq!(document["profile"], profile, "{document:#}");
    assert_eq!(document["end"], "rolled-back", "{document:#}");
    assert_eq!(document["exit_code"], 6, "{document:#}");
}

/// This profile serves, answers, is what `status` says, and no process of another vLLM is left from any stop.
fn serves(machine: &Machine, profile: &str) {
    assert_eq!(machine.completion(), 200, "{profile} does not answer");
    let status = machine.status();
    assert_eq!(status["schema"], "awqdeploy/status/v1", "{status:#}");
    assert_eq!(status["current"]["profile"], profile, "{status:#}");
    assert_eq!(status["serving"], profile, "{status:#}");

    let processes = machine.vllm_processes();
    let engines = processes.iter().filter(|process| process.contains("VLLM::EngineCore")).count();
    assert_eq!(engines, 1, "{processes:#?}");
    for process in &processes {
        let pid = process.split(' ').next().expect("pgrep prints the process number first");
        let group = machine.run(&["cat", &format!("/proc/{pid}/cgroup")]).stdout;
        // Empty: it ended while we looked.
        assert!(
            group.is_empty() || group.contains("/vllm.service"),
            "a stray process of vLLM: {process}\n{group}"
        );
    }
}

/// systemd has nothing to say about the installed units.
fn units_are_clean(machine: &Machine) {
    let units: Vec<String> = machine
        .names(UNITS)
        .into_iter()
        .filter(|name| name.ends_with(".service"))
        .map(|name| format!("{UNITS}/{name}"))
        .collect();
    assert!(units.contains(&format!("{UNITS}/vllm.service")), "{units:?}");
    let mut command = vec!["systemd-analyze", "verify"];
    command.extend(units.iter().map(String::as_str));
    let said = machine.run(&command);
    let complaints = format!("{}{}", said.stdout, said.stderr);
    assert_eq!((said.code, complaints.as_str()), (Some(0), ""), "systemd-analyze verify");
}
