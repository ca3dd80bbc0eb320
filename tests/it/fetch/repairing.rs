//! `verify --repair` from the hub.

use super::{Bench, LARGE, killed::program, model, same};
use crate::hub::{Fault, When};
use awqdeploy::{
    domain::lockfile::PIECE,
    flow::models::{
        fetch,
        verify::{Damaged, Which, verify},
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

/// The same by the program, as an operator does it.
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
