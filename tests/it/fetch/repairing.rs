//! `verify --repair` from the hub.

use super::{Bench, LARGE, model, same};
use awqdeploy::{
    domain::lock::PIECE,
    flow::{
        fetch,
        verify::{Damaged, Which, verify},
    },
    host::repair::PieceSource,
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

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
    let world = bench.world();
    let hub = fetch::pieces(&world, Some("awq"), &bench.settings).unwrap().unwrap();
    let sources: [&dyn PieceSource; 1] = [&hub];
    let which = Which::Profile("awq".to_owned());
    let verified = verify(&world, &which, Damaged::Repaired(&sources), &|_| ()).unwrap();
    assert!(verified.is_clean());
    assert_eq!(verified.models[0].repaired[0].pieces, [1]);
    assert_eq!(bench.hub.sent(), PIECE.0);
    same(&folder, &model());
}

#[test]
fn without_pieces_the_file_is_brought_and_an_absent_hub_is_an_honest_end() {
    let bench = Bench::with("alternatives = [\"mirror/model\"]");
    bench.lock().unwrap();
    let folder = bench.fetched().path;
    damage(&folder.join(LARGE), 3);
    let world = bench.world();
    let which = Which::Profile("awq".to_owned());
    let repair = || {
        let hub = fetch::pieces(&world, Some("awq"), &bench.settings).unwrap().unwrap();
        verify(&world, &which, Damaged::Repaired(&[&hub]), &|_| ()).unwrap()
    };
    bench.hub.remove(super::REPO);
    assert!(!repair().is_clean(), "there is nobody to ask");
    bench.hub.put("mirror/model", model());
    assert!(repair().is_clean(), "the alternative has it");
    same(&folder, &model());
}
