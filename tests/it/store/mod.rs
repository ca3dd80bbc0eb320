//! Models in the store: taken in, checked, repaired, remembered.

mod checking;
mod faults;
mod folder;
mod gc;
mod hardening;
mod import;
mod prove;
mod repair;
pub(crate) mod trust;
mod trust_as_root;

use super::{scratch::tempdir, stand::FORKED};
use awqdeploy::{
    domain::{
        lockfile::{LockedModel, PIECE},
        problem::Problem,
        store::layout::Layout,
    },
    host::{
        models::{
            self,
            source_folder::Folder,
            verify::{self, Damage, VerifyResult},
        },
        os::signals::Interrupt,
        store::{Store, hash_cache::HashCache},
    },
};
use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::LazyLock,
    thread,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// Made once: it takes longer than the tests.
static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| bytes(1, mib(24) + 5));

/// A model's folder and a root, both thrown away.
pub(crate) struct Scene {
    place: PathBuf,
    _dir: Option<TempDir>,
    pub(crate) store: Store,
    pub(crate) model: LockedModel,
}

/// Bytes that no two files and no two pieces share.
pub(crate) fn bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(seed);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    // As old as files usually are: what was written just now is not trusted to stay.
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    until_the_clock_ticked();
}

/// The clock of a file system stands for some milliseconds. Before it has ticked, a further change need not show.
pub(crate) fn until_the_clock_ticked() {
    thread::sleep(Duration::from_millis(40));
}

pub(crate) fn mib(count: u64) -> usize {
    usize::try_from(count * (PIECE.0 / 8)).unwrap()
}

impl Scene {
    /// Three pieces and a bit, one small file, one below a folder, one that is empty.
    pub(crate) fn new() -> Self {
        let dir = tempdir().unwrap();
        let place = dir.path().to_owned();
        Self::in_folder(&place, Some(dir))
    }

    /// Makes one in a folder that is there.
    pub(crate) fn at(place: &Path) -> Self {
        Self::in_folder(place, None)
    }

    fn in_folder(place: &Path, dir: Option<TempDir>) -> Self {
        let folder = place.join("source");
        write(&folder.join("model.safetensors"), &WEIGHTS);
        write(&folder.join("config.json"), b"{}");
        write(&folder.join("original/params.json"), b"{ }");
        write(&folder.join("empty"), b"");
        write(&folder.join(".cache/note"), b"not the model's");
        let model = lock(&folder).unwrap();
        Self { store: Store::new(Layout::new(place.join("root"))), model, place: place.to_owned(), _dir: dir }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.place.join("source")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place
    }

    pub(crate) fn folder(&self) -> Folder {
        Folder::open(&self.source(), "o/n", "main").unwrap()
    }

    /// Where the model lies in the store.
    pub(crate) fn stored(&self) -> PathBuf {
        self.store.layout().model(self.model.digest())
    }

    pub(crate) fn take_in(&self, source: Option<&Path>) -> Result<PathBuf, Problem> {
        let writer = self.store.writer(FORKED, "test")?;
        models::import(&writer, &self.model, source, &Interrupt::default(), &mut |_| ())
    }

    /// A scene in which the model is in the store, as a copy: the source may be spoilt apart from it.
    pub(crate) fn taken_in() -> Self {
        let scene = Self::new();
        scene.private();
        scene.take_in(Some(&scene.source())).unwrap();
        until_the_clock_ticked();
        scene
    }

    /// Another model in the same store.
    pub(crate) fn with_model(&self, model: LockedModel) -> Self {
        Self { model, store: self.store.clone(), place: self.place.clone(), _dir: None }
    }

    /// Makes the files of the source unreadable to others, so that they are copied and not linked.
    pub(crate) fn private(&self) {
        for file in &self.model.files {
            fs::set_permissions(self.source().join(&file.path), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    pub(crate) fn check(&self, cache: &HashCache) -> VerifyResult {
        verify::stored(&self.stored(), &self.model, cache, &Interrupt::default(), &mut |_| ()).unwrap()
    }

    pub(crate) fn damaged(&self) -> Vec<Damage> {
        self.check(&HashCache::default()).damaged
    }
}

pub(crate) fn lock(folder: &Path) -> Result<LockedModel, Problem> {
    let folder = Folder::open(folder, "o/n", "main")?;
    let files = folder.survey(&Interrupt::default(), &mut |_| ())?;
    LockedModel::of("o/n".into(), "main".into(), folder.commit(), files)
}

/// Changes one byte of a file, whoever may write to it, and leaves its time of change as it was.
pub(crate) fn flip(path: &Path, at: usize) {
    let metadata = fs::metadata(path).unwrap();
    let mode = metadata.permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at as u64).unwrap();
    fs::set_permissions(path, mode).unwrap();
    fs::File::open(path).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
}
