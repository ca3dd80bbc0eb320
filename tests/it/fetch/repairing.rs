//! `verify --repair` from the hub.

use super::{Bench, LARGE, SMALL, killed::program, model, same};
use crate::{
    hub::{Fault, When},
    stand::FOREVER,
};
use awqdeploy::{
    domain::{lockfile::PIECE, problem::Kind},
    flow::{
        event::Event,
        models::{
            fetch,
            verify::{Damaged, Which, verify},
        },
    },
    host::models::repair::PieceSource,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

/// Flips a byte in a file of the store.
fn damage(path: &Path, at: usize) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_piece_is_brought_from_the_hub_and_no_other() {
    let bench = Bench::new();
    bench.lock_pieces();
    let folder = bench.fetched().path;
    damage(&folder.join(LARGE), usize::try_from(PIECE.0).unwrap() + 3);
    bench.hub.sent();
    let context = bench.context();
    let hub = fetch::pieces(&context, Some("awq"), &bench.settings).unwrap().unwrap();
    let sources: [&dyn PieceSource; 1] = [&hub];
    let which = Which::Profile("awq".to_owned());
    let verified = verify(&context, &which, Damaged::Repaired(&sources)).unwrap();
    assert!(verified.is_clean());
    assert_eq!(verified.models[0].repaired[0].pieces, [1]);
    assert_eq!(bench.hub.sent(), PIECE.0);
    same(&folder, &model());
}

/// Repairs by the program, as an operator does it.
#[test]
fn the_command_repairs_from_the_hub_or_says_that_it_cannot() {
    let bench = Bench::new();
    bench.lock_pieces();
    let folder = bench.fetched().path;
    let verify = |words: &[&str]| {
        let words = [&["verify", "awq", "--json"], words].concat();
        let output = program(&bench, &words).stdout(Stdio::piped()).output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), document)
    };
    damage(&folder.join(LARGE), usize::try_from(PIECE.0).unwrap() + 3);
    damage(&folder.join("config.json"), 0);
    let (code, told) = verify(&[]);
    assert_eq!((code, told["damaged"].as_array().unwrap().len()), (Some(4), 2), "{told}");

    bench.hub.trap(LARGE, Fault::Status { status: 404, retry_after: None }, When::Always);
    let (code, left) = verify(&["--repair"]);
    assert_eq!(code, Some(4), "{left}");
    assert_eq!(
        (&left["damaged"][0]["path"], &left["repaired"][0]["path"]),
        (&LARGE.into(), &"config.json".into())
    );

    bench.hub.mend();
    bench.hub.sent();
    let (code, repaired) = verify(&["--repair"]);
    assert_eq!((code, repaired["damaged"].as_array().unwrap().len()), (Some(0), 0), "{repaired}");
    assert_eq!(repaired["repaired"][0]["pieces"], json!([1]));
    assert_eq!(bench.hub.sent(), PIECE.0);
    same(&folder, &model());
    assert_eq!(verify(&[]).0, Some(0));
}

#[test]
fn without_pieces_the_file_is_brought_and_an_absent_hub_is_an_honest_end() {
    let bench = Bench::with("alternatives = [\"mirror/model\"]");
    bench.lock().unwrap();
    let folder = bench.fetched().path;
    damage(&folder.join(LARGE), 3);
    let context = bench.context();
    let which = Which::Profile("awq".to_owned());
    let repair = || {
        let hub = fetch::pieces(&context, Some("awq"), &bench.settings).unwrap().unwrap();
        verify(&context, &which, Damaged::Repaired(&[&hub])).unwrap()
    };
    bench.hub.remove(super::REPO);
    assert!(!repair().is_clean(), "there is nobody to ask");
    bench.hub.put("mirror/model", model());
    assert!(repair().is_clean(), "the alternative has it");
    same(&folder, &model());
}

/// Nobody listens: that is found out once, and told.
#[test]
fn a_hub_that_cannot_be_reached_is_asked_once_and_named() {
    let mut bench = Bench::with("alternatives = [\"mirror/model\"]");
    bench.lock_pieces();
    let folder = bench.fetched().path;
    for path in [LARGE, SMALL, "config.json"] {
        damage(&folder.join(path), 0);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.settings.endpoint = format!("http://{free}");
    let (context, which) = (bench.context(), Which::Profile("awq".to_owned()));
    let hub = fetch::pieces(&context, Some("awq"), &bench.settings).unwrap().unwrap();
    bench.told.borrow_mut().clear();
    let verified = verify(&context, &which, Damaged::Repaired(&[&hub])).unwrap();
    assert!(!verified.is_clean());
    let [why] = verified.models[0].unavailable.as_slice() else { panic!("{:?}", verified.models) };
    assert!(why.starts_with("the hub at `127.0.0.1`: no connection: "), "{why}");
    let told = bench.told.borrow();
    let warnings = told.iter().filter(|event| matches!(event, Event::Warning(_)));
    assert_eq!(warnings.collect::<Vec<_>>(), [&Event::Warning(why.clone())]);
}

/// A refusal of a repository is one for all of its files, and for the locked commit as for its branch.
#[test]
fn a_repository_that_refuses_is_asked_once() {
    let bench = Bench::with("alternatives = [\"mirror/model\"]");
    bench.lock_pieces();
    let folder = bench.fetched().path;
    for path in [LARGE, SMALL] {
        damage(&folder.join(path), 0);
    }
    bench.hub.change(super::REPO, |repo| repo.token = Some("hf_secret".to_owned()));
    bench.hub.seen();
    let (context, which) = (bench.context(), Which::Profile("awq".to_owned()));
    let hub = fetch::pieces(&context, Some("awq"), &bench.settings).unwrap().unwrap();
    let verified = verify(&context, &which, Damaged::Repaired(&[&hub])).unwrap();
    let text = verified.models[0].unavailable.join("; ");
    assert!(text.contains("`owner/model`: access denied (HTTP 401)"), "{text}");
    let of = |repo: &str| {
        let seen = bench.hub.seen();
        seen.iter().filter(|seen| seen.path.contains(repo)).count()
    };
    assert_eq!(of("owner/model"), 1);
}

/// Another host has the contents in its store. The `ssh` here runs what it is asked to run.
#[test]
fn a_peer_is_asked_by_piece_and_before_the_hub() {
    let bench = Bench::new();
    bench.lock_pieces();
    let folder = bench.fetched().path;
    let other = bench.root.path().join("it's there");
    let mut copy = std::process::Command::new("cp");
    copy.arg("-r").arg(bench.root.path().join("root")).arg(&other);
    assert!(copy.status().unwrap().success());
    let bin = bench.root.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let noted = bench.root.path().join("noted");
    bench.hub.sent();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nfor last; do :; done\nexec sh -c \"$last\"\n",
        noted.display()
    );
    fs::write(bin.join("ssh"), script).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let verify = |from: &str| {
        let words = ["verify", "awq", "--json", "--repair", "--from", from];
        let mut command = program(&bench, &words);
        command.env("PATH", &path).env("HF_HUB_OFFLINE", "1");
        let output = command.output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), document, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let address = format!("ssh://somebody@gpu2:2222{}", other.display());
    for from in [address.as_str(), other.to_str().unwrap()] {
        damage(&folder.join(LARGE), usize::try_from(PIECE.0).unwrap() + 3);
        damage(&folder.join(SMALL), 0);
        let (code, document, told) = verify(from);
        assert_eq!(code, Some(0), "{from}: {document} {told}");
        assert_eq!(document["repaired"].as_array().unwrap().len(), 2);
        same(&folder, &model());
    }
    let asked = fs::read_to_string(&noted).unwrap();
    assert_eq!(asked.lines().count(), 2, "a line each piece: {asked}");
    assert!(asked.contains("-p2222 -- somebody@gpu2 "), "{asked}");
    assert!(asked.contains("tail -c +8388609 "), "{asked}");
    assert_eq!(bench.hub.sent(), 0);

    // One that has nothing of it, and one that fails.
    damage(&folder.join(SMALL), 0);
    let (code, ..) = verify("ssh://gpu2/nothing/here");
    assert_eq!(code, Some(4));
    fs::write(bin.join("ssh"), "#!/bin/sh\necho 'connect to host gpu2: Connection refused' >&2; exit 255\n")
        .unwrap();
    let (code, document, told) = verify("ssh://gpu2");
    assert_eq!(code, Some(4), "{told}");
    let why = document["models"][0]["unavailable"].to_string();
    assert!(why.contains("`ssh gpu2`: connect to host gpu2: Connection refused"), "{why}");
    let (code, _, told) = verify("ssh://-oProxyCommand=id");
    assert_eq!(code, Some(2), "{told}");
    let (code, _, told) = verify("/nowhere/at/all");
    assert_eq!(code, Some(2), "{told}");
}

/// A model whose lock is gone says so, and the others are verified.
#[test]
fn all_are_verified_although_one_cannot_be() {
    let bench = Bench::new();
    bench.lock().unwrap();
    bench.fetched();
    let store = bench.root.path().join("root/store");
    let stray = "0".repeat(64);
    fs::create_dir(store.join("models").join(&stray)).unwrap();
    let verified = verify(&bench.context(), &Which::All, Damaged::Told).unwrap();
    assert!(!verified.is_clean());
    let problems: Vec<bool> = verified.models.iter().map(|model| model.problem.is_some()).collect();
    assert_eq!(problems.iter().filter(|problem| **problem).count(), 1, "{problems:?}");
    assert_eq!(problems.len(), 2);
    let output = program(&bench, &["verify", "--all"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("there is no lock") && text.contains("are what was locked"), "{text}");
}

/// A file that a fetch is about to bring is not missing yet.
#[test]
fn a_model_on_its_way_is_waited_for_and_not_called_absent() {
    let bench = Bench::new();
    bench.lock().unwrap();
    let (context, which) = (bench.context(), Which::Profile("awq".to_owned()));
    let kind = || verify(&context, &which, Damaged::Told).unwrap_err().kind;
    assert_eq!(kind(), Kind::Unverified);
    let writer = context.store.writer(FOREVER, "awqdeploy fetch awq").unwrap();
    assert_eq!(kind(), Kind::Busy);
    drop(writer);
}
