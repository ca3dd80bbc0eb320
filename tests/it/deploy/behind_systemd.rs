//! The program where systemd runs the host, as far as it comes before it changes a service: what it refuses, with
//! which exit status, and that nothing has changed then.

use crate::{
    private_host::{Host, Looks},
    program::{Running, Said},
    stand::FORKED,
};
use awqdeploy::domain::{
    activation::machine::{Activation, Cause, End, State, Step},
    generation_id::GenerationId,
    lockfile::{LockedFile, LockedModel},
    size::ByteSize,
};
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::json;
use std::{fs, path::Path};

const DEPLOY: [&str; 5] = ["--progress", "none", "deploy", "tiny", "--yes"];

/// The complaint on a host that looks so, with the plan that it shows before left out. Nothing may have changed.
fn complaint(host: &Host, looks: Looks, code: i32) -> Option<String> {
    let said = Said::by(&mut host.that_looks(looks, &DEPLOY)?);
    assert_eq!(said.code, Some(code), "{}", said.stderr);
    host.unchanged();

    let mut arguments = DEPLOY.to_vec();
    arguments.push("--json");
    let json = Said::by(&mut host.that_looks(looks, &arguments)?).document(code);
    assert_eq!(json["exit_code"], code, "{json:#}");
    host.unchanged();
    Some(said.stderr.replace(host.path("").to_str().unwrap(), "DIR/"))
}

#[test]
fn without_systemd_it_names_the_rehearsal() {
    let host = Host::new();
    let Some(text) = complaint(&host, Looks::Bare, 2) else { return };
    assert_snapshot!(text, @r"
    error: systemd does not run this host
    help: see the same migration without it: `awqdeploy rehearse`
    ");
}

#[test]
fn without_root_it_names_sudo() {
    let host = Host::new();
    let Some(text) = complaint(&host, Looks::SystemdAndNobody, 2) else { return };
    assert_snapshot!(text, @r"
    error: only root may change the system's services
    help: run the same command with `sudo`
    ");
}

#[test]
fn another_at_work_is_named() {
    let host = Host::new();
    let store = host.store();
    let _locked = store.writer(FORKED, "awqdeploy deploy other").unwrap();
    let Some(text) = complaint(&host, Looks::Systemd, 5) else { return };
    assert!(text.contains(&format!("`awqdeploy deploy other` (process {})", std::process::id())), "{text}");
}

/// All roots of a host share its GPUs.
#[test]
fn another_root_at_work_is_named() {
    let host = Host::new();
    let Some(text) = complaint(&host, Looks::OtherRoot, 5) else { return };
    assert_snapshot!(text, @r"
    error: `awqdeploy --root /srv/b` (process 7) has been at work since 2026-01-01T00:00:00Z
    help: wait until it is done; `awqdeploy status` shows how far it is
    ");
}

#[test]
fn what_is_stuck_needs_a_person() {
    let host = Host::new();
    {
        let store = host.store();
        let writer = store.writer(FORKED, "test").unwrap();
        let (_, mut journal) = writer.begin_activation().unwrap();
        let cause = Cause::Failed { step: Step::Start, why: "it does not start".into() };
        let end = End::Stuck { cause, step: Step::Stop, why: "it does not stop".into() };
        let (from, to) = (Some(GenerationId(1)), GenerationId(1));
        journal.record(&Activation { from, to, state: State::Done { end } }).unwrap();
    }
    let Some(text) = complaint(&host, Looks::Systemd, 7) else { return };
    assert!(text.contains("the rollback failed at stop: it does not stop"), "{text}");
    assert!(text.contains("`awqdeploy recover`"), "{text}");
}

#[test]
fn a_flipped_byte_is_found() {
    let host = Host::new();
    let mut bytes = fs::read(host.path("model/model.safetensors")).unwrap();
    bytes[3 << 20] ^= 1;
    fs::write(host.path("model/model.safetensors"), bytes).unwrap();
    let Some(text) = complaint(&host, Looks::Systemd, 4) else { return };
    assert!(text.contains("`model.safetensors` has another content"), "{text}");
}

/// The unit may be the only record of how they served until now, and what it runs must not be stopped.
#[test]
fn a_unit_that_somebody_wrote_is_left_alone() {
    let host = Host::new();
    let Some(text) = complaint(&host, Looks::OwnUnit, 3) else { return };
    assert_snapshot!(text, @r"
    error: `/etc/systemd/system/vllm.service` was not made by awqdeploy
    help: keep it as the rollback target with `awqdeploy adopt UNIT`; or stop and disable it and move its file away; or give the profiles another `service`
    ");
}

#[test]
fn a_runtime_that_cannot_be_installed_changes_nothing() {
    let host = Host::new();
    host.install("uv", "#!/bin/sh\necho \"error: hash mismatch for vllm\" >&2\nexit 2\n");
    let Some(mut command) = host.that_looks(Looks::Systemd, &DEPLOY) else { return };
    let said = Said::by(&mut command);
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    assert!(said.stderr.contains("hash mismatch for vllm"), "{}", said.stderr);
    assert!(said.stderr.ends_with("help: nothing was changed; what uv said is above\n"), "{}", said.stderr);
    host.still_serves();
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let host = Host::new();
    let Some(text) = complaint(&host, Looks::FullDisk, 4) else { return };
    assert_snapshot!(text, @r"
    error: the model needs 4.0 MiB more in `DIR/root`, and 1.0 MiB are free
    help: `awqdeploy gc` removes what nothing needs; or put the model's folder on that file system
    ");
}

/// A real file of weights takes many seconds to hash, a model minutes.
#[test]
fn ctrl_c_while_a_model_is_verified_is_heard_at_once() {
    let host = Host::new();
    let size = host.write_weights(1 << 30);
    let path = host.path("profiles/locks/tiny.toml");
    let mut lock = LockedModel::parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
    for file in lock.files.iter_mut().filter(|file| file.path == Path::new("model.safetensors")) {
        *file = LockedFile::new(file.path.clone(), ByteSize(size), file.sha256);
    }
    fs::write(&path, lock.to_toml()).unwrap();

    let arguments = ["deploy", "tiny", "--yes", "--json", "--progress", "json"];
    let Some(mut command) = host.that_looks(Looks::Systemd, &arguments) else { return };
    let mut running = Running::start(&mut command);
    running.wait_for(|event| event["event"] == "progress" && event["data"]["done"] != json!(0));
    running.signal(Signal::INT);
    let (_, said) = running.end();
    // Hashed to its end, the file would be found to be another.
    let document = said.document(130);
    assert_eq!((&document["end"], &document["exit_code"]), (&json!("refused"), &json!(130)));
    assert_eq!(document["why"], "stopped before anything was changed");
    host.unchanged();
}

#[test]
fn the_status_says_what_serves() {
    let host = Host::new();
    let Some(mut command) = host.that_looks(Looks::SystemdAndNobody, &["status", "--json"]) else { return };
    let status = Said::by(&mut command).document(0);
    assert_eq!(status["schema"], "awqdeploy/status/v1");
    assert_eq!((&status["current"]["generation"], &status["current"]["profile"]), (&json!(1), &json!("awq")));
    assert_eq!((&status["serving"], &status["service"]), (&json!("awq"), &json!("active")));
    assert_eq!(status["last_activation"]["end"], "committed");

    // Without a systemd to ask nothing is known to serve; what is on record is shown all the same.
    let status = Said::by(&mut host.that_looks(Looks::Bare, &["status", "--json"]).unwrap()).document(0);
    assert_eq!((&status["serving"], &status["current"]["profile"]), (&json!(null), &json!("awq")));
}

#[test]
fn a_dry_run_shows_the_plan_and_what_it_changes() {
    let host = Host::new();
    let said = Said::by(&mut host.awqdeploy(&["deploy", "tiny", "--dry-run"])).text();
    assert!(said.contains("changes from generation 1 (awq)"), "{said}");
    assert!(said.contains("- ") && said.contains("+      --tensor-parallel-size 1"), "{said}");
    let plan = Said::by(&mut host.awqdeploy(&["deploy", "tiny", "--dry-run", "--json"])).document(0);
    assert_eq!((&plan["schema"], &plan["profile"]), (&json!("awqdeploy/plan/v1"), &json!("tiny")));
    host.unchanged();
}
