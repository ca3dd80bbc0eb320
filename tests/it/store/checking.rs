//! The findings of a check, and what it need not read.

use super::{Scene, flip, mib, write};
use awqdeploy::host::{
    models::verify::{Damage, Difference},
    store::hash_cache::HashCache,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

fn damage(path: &str, difference: Difference, pieces: &[u64]) -> Damage {
    Damage { path: path.into(), difference, pieces: pieces.to_vec() }
}

/// Gives everybody back the right to write, as accidents do not ask for it.
fn thaw(path: &Path) -> &Path {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[test]
fn damage_is_found_to_the_piece() {
    let scene = Scene::taken_in();
    let weights = scene.stored().join("model.safetensors");
    flip(&weights, 0);
    flip(&weights, mib(16));
    flip(&weights, mib(24) + 4);
    flip(&scene.stored().join("config.json"), 1);
    assert_eq!(
        scene.damaged(),
        [
            damage("config.json", Difference::Content, &[0]),
            damage("model.safetensors", Difference::Content, &[0, 2, 3])
        ]
    );
}

#[test]
fn another_length_is_found_with_what_is_still_right() {
    use awqdeploy::domain::size::ByteSize;
    let scene = Scene::taken_in();
    let weights = scene.stored().join("model.safetensors");
    let file = fs::OpenOptions::new().write(true).open(thaw(&weights)).unwrap();
    file.set_len(mib(17) as u64).unwrap();
    let cut = Difference::Size(ByteSize(mib(17) as u64));
    assert_eq!(scene.damaged(), [damage("model.safetensors", cut, &[2, 3])]);

    let scene = Scene::taken_in();
    let empty = scene.stored().join("empty");
    fs::write(thaw(&empty), "x").unwrap();
    assert_eq!(scene.damaged(), [damage("empty", Difference::Size(ByteSize(1)), &[0])]);
}

#[test]
fn nothing_else_may_be_in_the_folder() {
    let scene = Scene::taken_in();
    let stored = scene.stored();
    write(&stored.join("sub/modeling_evil.py"), b"import os");
    fs::remove_file(stored.join("config.json")).unwrap();
    symlink("/etc/hostname", stored.join("config.json")).unwrap();
    symlink("/etc", stored.join("etc")).unwrap();
    fs::remove_file(stored.join("empty")).unwrap();
    assert_eq!(
        scene.damaged(),
        [
            damage("config.json", Difference::Link, &[0]),
            damage("empty", Difference::Missing, &[0]),
            damage("etc", Difference::Link, &[]),
            damage("sub/modeling_evil.py", Difference::Added, &[]),
        ]
    );
}

#[test]
fn a_memo_saves_the_reading_and_nothing_else() {
    let scene = Scene::taken_in();
    let cache = scene.store.hash_cache().unwrap();
    assert_eq!(scene.check(&cache).read.0, 0);

    // The length and the time of change are as before.
    flip(&scene.stored().join("model.safetensors"), mib(10));
    let checked = scene.check(&cache);
    assert_eq!(checked.damaged, [damage("model.safetensors", Difference::Content, &[1])]);
    assert_eq!(checked.read.0, mib(24) as u64 + 5, "only the file that was touched");

    // Another file with the right content is read, and found right.
    let config = scene.stored().join("config.json");
    fs::remove_file(&config).unwrap();
    write(&config, b"{}");
    assert_eq!(scene.check(&cache).read.0, mib(24) as u64 + 5 + 2);
}

#[test]
fn what_was_written_just_now_is_not_remembered() {
    let scene = Scene::taken_in();
    let config = scene.stored().join("config.json");
    fs::remove_file(&config).unwrap();
    fs::write(&config, b"{}").unwrap();
    let checked = scene.check(&HashCache::default());
    assert_eq!(checked.damaged, []);
    assert_eq!(checked.noted.len(), 3, "all but the one");
    // Nor what a clock that was set back since says was written later.
    let later = SystemTime::now() + Duration::from_hours(1);
    fs::File::open(&config).unwrap().set_modified(later).unwrap();
    assert_eq!(scene.check(&HashCache::default()).noted.len(), 3);
    write(&config, b"{}");
    assert_eq!(scene.check(&HashCache::default()).noted.len(), 4);
}

#[test]
fn a_memo_that_is_torn_is_no_memo() {
    let scene = Scene::taken_in();
    fs::write(scene.store.layout().hash_cache(), "{\"e3b0").unwrap();
    assert_eq!(scene.store.hash_cache().unwrap(), HashCache::default());
}

/// A lock that came from a hub alone knows no pieces: the file is then damaged as a whole.
#[test]
fn without_pieces_the_whole_file_is_damaged() {
    let mut scene = Scene::taken_in();
    for file in &mut scene.model.files {
        file.pieces = None;
    }
    assert_eq!(scene.damaged(), []);
    flip(&scene.stored().join("model.safetensors"), 3);
    assert_eq!(scene.damaged(), [damage("model.safetensors", Difference::Content, &[0, 1, 2, 3])]);
}
