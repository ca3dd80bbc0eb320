//! Repair: only what is damaged is brought, and only what is right gets in.

use super::{Scene, bytes, flip, mib, write};
use crate::stand::{FORKED, NEVER};
use awqdeploy::{
    domain::{
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
    },
    host::{
        models::{
            repair::{PieceSource, Repaired},
            verify::{self, Damage},
        },
        os::signals::Interrupt,
        store::hash_cache::HashCache,
    },
};
use std::{
    fs,
    ops::Range,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    sync::{Condvar, Mutex},
};

/// A source that notes what it is asked for.
struct Noting<'a> {
    source: &'a dyn PieceSource,
    asked: Mutex<Vec<(String, Range<u64>)>>,
}

impl PieceSource for Noting<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    fn read(
        &self,
        model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        self.asked.lock().unwrap().push((file.path.display().to_string(), range.clone()));
        self.source.read(model, file, range)
    }
}

/// A source that has everything, and all of it wrong; or one that cannot be reached.
struct Liar;
struct Away;

impl PieceSource for Liar {
    fn name(&self) -> String {
        "a liar".to_owned()
    }

    fn read(&self, _: &LockedModel, _: &LockedFile, range: Range<u64>) -> Result<Option<Vec<u8>>, Problem> {
        Ok(Some(bytes(99, usize::try_from(range.end - range.start).unwrap())))
    }
}

impl PieceSource for Away {
    fn name(&self) -> String {
        "away".to_owned()
    }

    fn read(&self, _: &LockedModel, _: &LockedFile, _: Range<u64>) -> Result<Option<Vec<u8>>, Problem> {
        Err(Problem::new(Kind::Unexpected, "cannot be reached"))
    }
}

fn repair(scene: &Scene, sources: &[&dyn PieceSource]) -> Vec<Damage> {
    let writer = scene.store.writer(FORKED, "test").unwrap();
    let repaired = writer.repair(&scene.model, scene.damaged(), sources, &Interrupt::default());
    let Repaired { left, .. } = repaired.unwrap();
    left
}

#[test]
fn a_flipped_byte_costs_one_piece() {
    let scene = Scene::taken_in();
    flip(&scene.stored().join("model.safetensors"), mib(17));
    let folder = scene.folder();
    let source = Noting { source: &folder, asked: Mutex::default() };
    assert_eq!(repair(&scene, &[&Away, &Liar, &source]), []);
    let piece = mib(16) as u64..mib(24) as u64;
    assert_eq!(source.asked.into_inner().unwrap(), [("model.safetensors".to_owned(), piece)]);
    assert_eq!(scene.damaged(), []);
    assert_eq!(scene.check(&scene.store.hash_cache().unwrap()).read.0, 0);
}

#[test]
fn everything_that_can_be_wrong_is_put_right() {
    let scene = Scene::taken_in();
    let stored = scene.stored();
    fs::remove_file(stored.join("config.json")).unwrap();
    symlink("/etc/hostname", stored.join("config.json")).unwrap();
    fs::remove_file(stored.join("empty")).unwrap();
    fs::remove_dir_all(stored.join("original")).unwrap();
    symlink("/etc", stored.join("original")).unwrap();
    write(&stored.join("modeling_evil.py"), b"import os");
    let weights = stored.join("model.safetensors");
    fs::remove_file(&weights).unwrap();
    write(&weights.join("a/folder/in/its/place"), b"");
    assert_eq!(scene.damaged().len(), 7);
    assert_eq!(repair(&scene, &[&scene.folder()]), []);
    assert_eq!(scene.damaged(), []);
    assert_eq!(fs::read("/etc/hostname").is_ok(), Path::new("/etc/hostname").exists());
}

/// An engine that has the file mapped, and a source that is the same file, must not see a change.
#[test]
fn a_damaged_file_is_replaced_and_never_written_to() {
    let scene = Scene::taken_in();
    let weights = scene.stored().join("model.safetensors");
    flip(&weights, 5);
    let before = fs::metadata(&weights).unwrap().ino();
    let open = fs::File::open(&weights).unwrap();
    assert_eq!(repair(&scene, &[&scene.folder()]), []);
    assert_ne!(fs::metadata(&weights).unwrap().ino(), before);
    let mut old = vec![0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut old, 0).unwrap();
    assert_eq!(old[5], bytes(1, 6)[5] ^ 0x40);
}

#[test]
fn wrong_bytes_never_get_in() {
    let scene = Scene::taken_in();
    let weights = scene.stored().join("model.safetensors");
    flip(&weights, 5);
    flip(&scene.stored().join("config.json"), 0);
    let damaged = scene.damaged();
    assert_eq!(repair(&scene, &[&Liar, &Away]), damaged);
    assert_eq!(scene.damaged(), damaged);
    // A source that has one of the two mends the one.
    fs::remove_file(scene.source().join("config.json")).unwrap();
    assert_eq!(repair(&scene, &[&scene.folder()]), damaged[..1]);
    assert_eq!(scene.damaged(), damaged[..1]);
}

/// Without pieces nobody knows which bytes are right: each source is tried for the whole file.
#[test]
fn a_file_without_pieces_is_brought_as_a_whole() {
    let mut scene = Scene::taken_in();
    for file in &mut scene.model.files {
        file.pieces = None;
    }
    flip(&scene.stored().join("model.safetensors"), 5);
    assert_eq!(repair(&scene, &[&Liar]), scene.damaged());
    assert_eq!(repair(&scene, &[&Liar, &scene.folder()]), []);
    assert_eq!(scene.damaged(), []);
}

/// Where the pieces of a lock are not those of its file, nothing can be right; that is told, not stored.
#[test]
fn pieces_that_contradict_the_file_are_not_believed() {
    let mut scene = Scene::taken_in();
    let weights = scene.model.files.iter_mut().find(|file| file.pieces.is_some()).unwrap();
    weights.pieces.as_mut().unwrap()[0] = awqdeploy::domain::digest::Sha256Digest::of(bytes(99, mib(8)));
    let check = || {
        verify::stored(
            &scene.stored(),
            &scene.model,
            &HashCache::default(),
            &Interrupt::default(),
            &mut |_| (),
        )
    };
    let told = check().unwrap_err();
    assert_eq!(told.to_string(), "the lock contradicts itself about `model.safetensors`");
    // With a damage besides, there is no right content that has these pieces.
    flip(&scene.stored().join("model.safetensors"), 5);
    let damaged = check().unwrap().damaged;
    assert_eq!(damaged[0].pieces, [0]);
    assert_eq!(repair(&scene, &[&Liar, &scene.folder()]), damaged);
}

/// A source that answers only once it was asked for two pieces.
struct Together<'a> {
    source: &'a dyn PieceSource,
    asked: Mutex<usize>,
    changed: Condvar,
}

impl PieceSource for Together<'_> {
    fn name(&self) -> String {
        self.source.name()
    }

    fn read(
        &self,
        model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        self.changed.notify_all();
        let (asked, late) = self.changed.wait_timeout_while(asked, NEVER, |asked| *asked < 2).unwrap();
        drop(asked);
        if late.timed_out() {
            return Err(Problem::new(Kind::Unexpected, "one piece after the other"));
        }
        self.source.read(model, file, range)
    }
}

#[test]
fn several_pieces_are_asked_for_at_once() {
    let scene = Scene::taken_in();
    let weights = scene.stored().join("model.safetensors");
    flip(&weights, 5);
    flip(&weights, mib(9));
    let folder = scene.folder();
    let source = Together { source: &folder, asked: Mutex::default(), changed: Condvar::new() };
    assert_eq!(repair(&scene, &[&source]), []);
    assert_eq!(scene.damaged(), []);
}

/// Why nothing came is told, once for each source.
#[test]
fn what_sources_lack_is_told() {
    let scene = Scene::taken_in();
    for at in [5, mib(9)] {
        flip(&scene.stored().join("model.safetensors"), at);
    }
    let writer = scene.store.writer(FORKED, "test").unwrap();
    let repaired =
        writer.repair(&scene.model, scene.damaged(), &[&Away, &Liar], &Interrupt::default()).unwrap();
    assert_eq!(repaired.left.len(), 1);
    assert_eq!(
        repaired.troubles.into_iter().collect::<Vec<_>>(),
        ["a liar: its `model.safetensors` is not what was locked", "away: cannot be reached"]
    );
}
