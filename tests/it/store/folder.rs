//! Folders that are not ours: what is read of them, and what is refused.

use super::{Scene, bytes, lock, mib, write};
use crate::scratch::tempdir;
use awqdeploy::{
    domain::{digest::Sha256Digest, problem::Kind},
    host::{models::source_folder::Folder, os::signals::Interrupt},
};
use std::{fs, os::unix::fs::symlink, path::Path};

#[test]
fn a_survey_has_every_file_and_its_pieces() {
    let scene = Scene::new();
    let paths: Vec<_> = scene.model.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["config.json", "empty", "model.safetensors", "original/params.json"]);
    let content = bytes(1, mib(24) + 5);
    let weights = &scene.model.files[2];
    assert_eq!(weights.sha256, Sha256Digest::of(&content));
    let pieces: Vec<_> = content.chunks(8 << 20).map(Sha256Digest::of).collect();
    assert_eq!(pieces.len(), 4);
    assert_eq!(weights.pieces.as_ref(), Some(&pieces));
    assert_eq!(scene.model.files[0].pieces, None);
    assert_eq!(scene.model.files[0].sha256, Sha256Digest::of("{}"));
    // `printf '{}' | git hash-object --stdin`: what `hf cache verify` compares small files by.
    let git = scene.model.files[0].git_sha1.unwrap().to_string();
    assert_eq!(git, "9e26dfeeb6e641a33dae4961196235bdb965b21b");
    assert_eq!(weights.git_sha1, None);
}

#[test]
fn a_length_of_whole_pieces_has_no_empty_piece() {
    let dir = tempdir().unwrap();
    write(&dir.path().join("one"), &bytes(1, mib(8)));
    write(&dir.path().join("two"), &bytes(2, mib(16)));
    let model = lock(dir.path()).unwrap();
    assert_eq!(model.files[0].pieces, None);
    assert_eq!(model.files[1].pieces.as_ref().map(Vec::len), Some(2));
}

/// A cache as `huggingface_hub` keeps it: links into `blobs`, a folder for each commit, and names for some.
fn cache(root: &Path) -> String {
    let repository = root.join("models--o--n");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = repository.join("snapshots").join(commit);
    write(&repository.join("blobs/abc"), b"{}");
    fs::create_dir_all(&snapshot).unwrap();
    symlink("../../blobs/abc", snapshot.join("config.json")).unwrap();
    write(&repository.join("refs/main"), commit.as_bytes());
    commit.to_owned()
}

#[test]
fn a_hubs_cache_is_read_through_its_links() {
    let dir = tempdir().unwrap();
    let commit = cache(dir.path());
    let repository = dir.path().join("models--o--n");
    for path in [dir.path(), &repository, &repository.join("snapshots").join(&commit)] {
        let folder = Folder::open(path, "o/n", "main").unwrap();
        assert_eq!(folder.commit().unwrap().to_string(), commit);
        let files = folder.survey(&Interrupt::default(), &mut |_| ()).unwrap();
        assert_eq!(files.len(), 1, "{}", path.display());
        assert_eq!(files[0].sha256, Sha256Digest::of("{}"));
    }
    assert!(Folder::open(&repository, "o/n", &commit).is_ok());
    let unknown = Folder::open(&repository, "o/n", "v2").unwrap_err();
    assert!(unknown.help.unwrap().contains(&commit));
    write(&repository.join("refs/evil"), b"../../..");
    assert!(Folder::open(&repository, "o/n", "evil").is_err());
    // Where links are not to be had, the files lie in the snapshot itself, and there are no `blobs`.
    let snapshot = repository.join("snapshots").join(&commit);
    fs::remove_file(snapshot.join("config.json")).unwrap();
    fs::remove_dir_all(repository.join("blobs")).unwrap();
    write(&snapshot.join("config.json"), b"{}");
    let files = Folder::open(dir.path(), "o/n", "main").unwrap().survey(&Interrupt::default(), &mut |_| ());
    assert_eq!(files.unwrap().len(), 1);
}

#[test]
fn nothing_outside_is_read() {
    for (target, what) in [
        ("/etc/hostname", "outside of its folder"),
        ("../outside", "outside of its folder"),
        ("../source-beside/file", "outside of its folder"),
        ("nowhere", "a link to nothing"),
    ] {
        let scene = Scene::new();
        write(&scene.path().join("outside"), b"secret");
        write(&scene.path().join("source-beside/file"), b"secret");
        symlink(target, scene.source().join("added.json")).unwrap();
        let refused = lock(&scene.source()).unwrap_err();
        assert_eq!(refused.kind, Kind::Unverified);
        assert!(refused.to_string().contains(what), "{target}: {refused}");
    }
    let scene = Scene::new();
    fs::remove_file(scene.source().join("config.json")).unwrap();
    symlink("/etc/hostname", scene.source().join("config.json")).unwrap();
    let refused = scene.take_in(Some(&scene.source())).unwrap_err().in_one_line();
    assert!(refused.contains("`config.json` is a link"), "{refused}");
    assert!(!scene.stored().exists());
}

#[test]
fn what_is_no_file_is_refused() {
    let scene = Scene::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.source().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    // Not only refused: a pipe that was opened would be waited for, for ever.
    let refused = lock(&scene.source()).unwrap_err();
    assert!(refused.to_string().contains("is not a file"), "{refused}");
}

#[test]
fn a_link_that_stays_inside_is_a_file() {
    let scene = Scene::new();
    symlink("config.json", scene.source().join("same.json")).unwrap();
    let model = lock(&scene.source()).unwrap();
    let same = model.files.iter().find(|file| file.path == Path::new("same.json")).unwrap();
    assert_eq!(same.sha256, Sha256Digest::of("{}"));
}

#[test]
fn a_person_can_stop_it() {
    let scene = Scene::new();
    let interrupt = Interrupt::default();
    interrupt.raise();
    let stopped = scene.folder().survey(&interrupt, &mut |_| ()).unwrap_err();
    assert_eq!(stopped.kind, Kind::Interrupted);
}
