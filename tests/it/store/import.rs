//! Taking a model into the store.

use super::{Scene, bytes, flip, lock, mib, write};
use awqdeploy::{
    domain::{digest::Sha256Digest, problem::Kind},
    host::store::hash_cache::HashCache,
};
use std::{
    error::Error,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    entries.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_model_is_a_plain_folder_of_shared_contents() {
    let scene = Scene::taken_in();
    for file in &scene.model.files {
        let path = scene.stored().join(&file.path);
        let blob = scene.store.layout().blob(file.sha256);
        assert_eq!(Sha256Digest::of(fs::read(&path).unwrap()), file.sha256);
        assert_eq!(inode(&path), inode(&blob));
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o444, "{}", path.display());
        assert!(metadata.is_file());
    }
    assert_eq!(fs::metadata(scene.stored()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(scene.store.model_lock(scene.model.digest()).unwrap(), scene.model);
    assert!(names(&scene.store.layout().staging()).is_empty());
    assert_eq!(scene.damaged(), []);
}

/// On a file system that cannot share blocks, the store has the same files and no copies.
#[test]
fn what_everybody_may_read_takes_no_room() {
    let scene = Scene::new();
    scene.take_in(Some(&scene.source())).unwrap();
    let (stored, source) = (scene.stored().join("config.json"), scene.source().join("config.json"));
    let linked = inode(&stored) == inode(&source);
    let mode = fs::metadata(&source).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644, "the source is not ours to change");
    assert!(linked || fs::metadata(&stored).unwrap().nlink() == 2);
}

#[test]
fn two_models_share_what_they_have_in_common() {
    let scene = Scene::taken_in();
    write(&scene.source().join("config.json"), b"{ \"other\": 1 }");
    let other = scene.with_model(lock(&scene.source()).unwrap());
    let weights = Path::new("model.safetensors");
    // The rest is in the store already: the source need not have it.
    fs::remove_file(scene.source().join(weights)).unwrap();
    other.take_in(Some(&scene.source())).unwrap();
    assert_ne!(other.stored(), scene.stored());
    assert_eq!(inode(&other.stored().join(weights)), inode(&scene.stored().join(weights)));
    assert_eq!(names(&scene.store.layout().blobs()).len(), 5);
    assert_eq!((other.damaged(), scene.damaged()), (vec![], vec![]));
    // The new link changed the file's stamp; the memo knows why.
    let cache = scene.store.hash_cache().unwrap();
    assert_eq!(scene.check(&cache).read.0, 0);
}

#[test]
fn a_source_that_differs_leaves_nothing() {
    let scene = Scene::new();
    flip(&scene.source().join("model.safetensors"), mib(9));
    write(&scene.source().join("config.json"), b"{}\n");
    fs::remove_file(scene.source().join("empty")).unwrap();
    let refused = scene.take_in(Some(&scene.source())).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified);
    assert_eq!(
        refused.source().unwrap().to_string(),
        "`config.json` has 3 bytes: truncated or replaced\n`empty` is missing\n`model.safetensors` has another content"
    );
    assert!(!scene.stored().exists());
    assert!(names(&scene.store.layout().staging()).is_empty());
    // The right files are kept: the next try brings the rest.
    assert_eq!(names(&scene.store.layout().blobs()).len(), 1);
}

#[test]
fn a_damaged_content_is_brought_again() {
    let scene = Scene::taken_in();
    let weights = &scene.model.files[2];
    fs::remove_dir_all(scene.stored()).unwrap();
    flip(&scene.store.layout().blob(weights.sha256), 77);
    let refused = scene.take_in(None).unwrap_err();
    assert!(refused.to_string().contains("not in the store"), "{refused}");
    scene.take_in(Some(&scene.source())).unwrap();
    assert_eq!(scene.damaged(), []);
}

#[test]
fn what_is_in_the_store_is_hashed_again() {
    let scene = Scene::taken_in();
    scene.take_in(None).unwrap();
    flip(&scene.stored().join("model.safetensors"), mib(20));
    let refused = scene.take_in(None).unwrap_err();
    assert!(refused.help.as_ref().unwrap().contains("--repair"), "{refused}");
}

/// The service's check reads nothing of what the import has just hashed.
#[test]
fn an_import_is_remembered() {
    let scene = Scene::taken_in();
    let cache = scene.store.hash_cache().unwrap();
    assert_eq!(scene.check(&cache).read.0, 0);
    assert!(scene.check(&HashCache::default()).read.0 > 24 << 20);
}

#[test]
fn a_cache_without_its_file_is_no_source() {
    let scene = Scene::new();
    let missing = scene.take_in(Some(&scene.path().join("nowhere"))).unwrap_err();
    assert_eq!(missing.kind, Kind::Unverified);
    assert!(missing.help.unwrap().contains("`path`"));
    assert_eq!(bytes(1, 9).len(), 9);
}

/// Earlier versions linked what anybody owned: whoever did can write to the store.
#[test]
#[ignore = "needs root: tests/real/all"]
fn what_an_earlier_version_linked_becomes_ours() {
    if super::trust::as_root().is_none() {
        return;
    }
    let scene = Scene::new();
    scene.take_in(Some(&scene.source())).unwrap();
    let weights = scene.stored().join("model.safetensors");
    let hers = scene.path().join("hers");
    fs::hard_link(&weights, &hers).unwrap();
    std::os::unix::fs::chown(&hers, Some(65534), Some(65534)).unwrap();
    scene.take_in(Some(&scene.source())).unwrap();
    for file in &scene.model.files {
        for path in [scene.stored().join(&file.path), scene.store.layout().blob(file.sha256)] {
            assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{}", path.display());
        }
    }
    flip(&hers, mib(9));
    assert_eq!(scene.damaged(), []);
    // Also before the model is laid out: only its contents are there.
    fs::remove_dir_all(scene.stored()).unwrap();
    let blob = scene.store.layout().blob(scene.model.files[0].sha256);
    std::os::unix::fs::chown(&blob, Some(65534), Some(65534)).unwrap();
    scene.take_in(None).unwrap();
    assert_eq!(fs::metadata(&blob).unwrap().uid(), 0);
    assert_eq!(scene.damaged(), []);
}

/// Whoever owns a file by one name writes to it by all.
#[test]
#[ignore = "needs root: tests/real/all"]
fn a_model_of_somebody_elses_is_copied() {
    if super::trust::as_root().is_none() {
        return;
    }
    let scene = Scene::new();
    let folder = scene.source();
    let every = ["model.safetensors", "config.json", "original/params.json", "empty", "original", ""];
    for name in every {
        std::os::unix::fs::chown(folder.join(name), Some(65534), Some(65534)).unwrap();
    }
    scene.take_in(Some(&folder)).unwrap();
    flip(&folder.join("model.safetensors"), mib(9));
    assert_eq!(scene.damaged(), []);
}
