//! Repairs a model in the store: only damaged pieces are brought again, and only proven ones get in.
//!
//! Nothing is written to in place. The damaged file may be somebody else's too, and an engine may have it
//! mapped: a whole new file takes its name.

use super::{
    digests,
    source_folder::Folder,
    state::reaching,
    verify::{Damage, Difference, range_of, stamp},
};
use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
    },
    host::{
        os::{fs, parallel, signals::Interrupt, trust},
        store::{Store, StoreWriter, hash_cache::HashCache, hashing},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::ErrorKind,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// Pieces brought at once: a source that is far away answers each after a while, and many together.
const AT_ONCE: usize = 8;

/// A source of a model's bytes. They are not trusted, but hashed. Several pieces are asked for at once.
pub trait PieceSource: Sync {
    /// The name for people: "`/srv/models/awq`".
    fn name(&self) -> String;

    /// Reads these bytes of a file, at most a piece. Nothing where the source does not have them.
    ///
    /// # Errors
    /// What kept it from finding out. The next source is then asked. A source that cannot be reached says so again
    /// without another attempt.
    fn read(
        &self,
        model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem>;
}

/// The folder of a profile, or a hub's cache.
impl PieceSource for Folder {
    fn name(&self) -> String {
        format!("`{}`", self.path().display())
    }

    fn read(
        &self,
        _model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        self.find(&file.path)?.map_or(Ok(None), |path| bytes(&path, &range))
    }
}

/// Every copy of the same content in the store: a link may have been replaced where another is whole.
struct Copies<'a> {
    store: &'a Store,
    names: Names,
}

/// The paths in the store's models that have each content.
type Names = BTreeMap<Sha256Digest, Vec<PathBuf>>;

impl<'a> Copies<'a> {
    /// Reads the locks of all models in the store. One without a lock cannot be repaired.
    fn of(store: &'a Store) -> Result<Self, Problem> {
        let mut names = Names::new();
        for digest in digests(&store.layout().models())? {
            let Ok(model) = store.model_lock(digest) else { continue };
            let folder = store.layout().model(digest);
            for file in model.files {
                names.entry(file.sha256).or_default().push(folder.join(&file.path));
            }
        }
        Ok(Self { store, names })
    }

    fn names(&self, content: Sha256Digest) -> &[PathBuf] {
        self.names.get(&content).map_or(&[], Vec::as_slice)
    }
}

impl PieceSource for Copies<'_> {
    fn name(&self) -> String {
        "the store".to_owned()
    }

    fn read(
        &self,
        _model: &LockedModel,
        file: &LockedFile,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let blob = self.store.layout().blob(file.sha256);
        for path in std::iter::once(&blob).chain(self.names(file.sha256)) {
            if let Some(bytes) = bytes(path, &range)?
                && piece_of(file, &range).is_none_or(|expected| Sha256Digest::of(&bytes) == expected)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// The result of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The damage that is left.
    pub left: Vec<Damage>,
    /// Why sources did not give what they were asked for.
    pub troubles: BTreeSet<String>,
}

impl StoreWriter<'_> {
    /// Repairs a model in the store, from copies in the store and as far as these sources allow.
    pub fn repair(
        &self,
        model: &LockedModel,
        damaged: Vec<Damage>,
        sources: &[&dyn PieceSource],
        interrupt: &Interrupt,
    ) -> Result<Repaired, Problem> {
        let folder = self.store().layout().model(model.digest());
        let staging = self.stage("repair")?;
        let mut cache = self.store().hash_cache()?;
        let (mut left, mut mended) = (Vec::new(), Vec::new());
        let files: BTreeMap<&Path, &LockedFile> =
            model.files.iter().map(|file| (file.path.as_path(), file)).collect();
        // Strange files first: they may be in the way.
        for strange in damaged.iter().filter(|damage| !files.contains_key(damage.path.as_path())) {
            fs::remove(&folder.join(&strange.path))?;
        }
        let copies = Copies::of(self.store())?;
        let all: Vec<&dyn PieceSource> =
            std::iter::once(&copies as &dyn PieceSource).chain(sources.iter().copied()).collect();
        let troubles = Mutex::default();
        for damage in damaged {
            interrupt.check()?;
            let Some(file) = files.get(damage.path.as_path()) else { continue };
            let repairing = Repairing { model, file, sources: &all, interrupt, troubles: &troubles };
            let staged = staging.join(file.sha256.to_string());
            if repairing.assemble(&folder.join(&file.path), &damage, &staged)? {
                self.replace(file.sha256, &staged, copies.names(file.sha256), &mut cache)?;
                mended.push(file.sha256);
            } else {
                left.push(damage);
            }
        }
        fs::remove_tree(&staging)?;
        self.change_damages(|damages| {
            for content in mended {
                damages.repaired(content);
            }
            damages.checked(model, reaching(&left));
        })?;
        self.keep_hash_cache(&cache)?;
        Ok(Repaired { left, troubles: troubles.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Makes every content of a model a file of ours. A file that an earlier version linked may have another
    /// name, by which others can write to it. Each copy is hashed.
    pub(crate) fn own(&self, model: &LockedModel, interrupt: &Interrupt) -> Result<(), Problem> {
        let layout = self.store().layout();
        let foreign = |file: &&LockedFile| {
            let blob = layout.blob(file.sha256);
            blob.exists() && !trust::is_ours(&blob)
        };
        let files: Vec<&LockedFile> = model.files.iter().filter(foreign).collect();
        if files.is_empty() {
            return Ok(());
        }
        let staging = self.stage("own")?;
        let mut cache = self.store().hash_cache()?;
        let copies = Copies::of(self.store())?;
        for file in files {
            let staged = staging.join(file.sha256.to_string());
            fs::duplicate(&layout.blob(file.sha256), &staged)?;
            if !is_right(file, &staged, interrupt)? {
                let what = format!("`{}` changed while it was copied", file.path.display());
                return Err(Problem::new(Kind::Unverified, what).help(
                    "somebody else owns it: `awqdeploy verify --all --repair` brings it from elsewhere",
                ));
            }
            self.replace(file.sha256, &staged, copies.names(file.sha256), &mut cache)?;
        }
        self.keep_hash_cache(&cache)
    }

    /// Gives a proven file every name that its content has in the store.
    fn replace(
        &self,
        content: Sha256Digest,
        staged: &Path,
        names: &[PathBuf],
        cache: &mut HashCache,
    ) -> Result<(), Problem> {
        let began = SystemTime::now();
        self.adopt(staged, content, fs::Transfer::Copied)?;
        let blob = self.store().layout().blob(content);
        for link in names {
            if link.is_dir() {
                fs::remove_tree(link)?;
            }
            fs::make_directory(link.parent().unwrap_or(link))?;
            fs::link(&blob, staged)?;
            fs::replace(staged, link)?;
        }
        // Last: each new name changes the stamp.
        if let Some(stamp) = stamp(&blob)?.filter(|stamp| stamp.is_settled(began)) {
            cache.note(content, stamp);
        }
        Ok(())
    }
}

struct Repairing<'a> {
    model: &'a LockedModel,
    file: &'a LockedFile,
    sources: &'a [&'a dyn PieceSource],
    interrupt: &'a Interrupt,
    troubles: &'a Mutex<BTreeSet<String>>,
}

impl Repairing<'_> {
    /// Puts the right content at `staged`. `false` where no source has a missing piece.
    fn assemble(&self, damaged: &Path, damage: &Damage, staged: &Path) -> Result<bool, Problem> {
        let known = self.file.pieces.is_some() || self.file.piece_count() == 0;
        if known {
            begin(damaged, damage, self.file, staged)?;
            return Ok(self.fill(&damage.pieces, self.sources, staged)? && self.is_right(staged)?);
        }
        // The right pieces are unknown: all of them are read, from one source after the other.
        let all: Vec<u64> = (0..self.file.piece_count()).collect();
        for source in self.sources {
            create(self.file, staged)?;
            if self.fill(&all, std::slice::from_ref(source), staged)? {
                if self.is_right(staged)? {
                    return Ok(true);
                }
                self.differs(*source);
            }
        }
        Ok(false)
    }

    /// Brings these pieces, several at once. `false` where no source has one of them: the others are then let go.
    fn fill(&self, pieces: &[u64], sources: &[&dyn PieceSource], staged: &Path) -> Result<bool, Problem> {
        let target =
            OpenOptions::new().write(true).open(staged).map_err(|e| fs::failed("write", staged, e))?;
        let ranges: Vec<_> = pieces.iter().filter_map(|piece| range_of(*piece, self.file.size.0)).collect();
        let lacking = AtomicBool::new(false);
        parallel::each_of(AT_ONCE, &ranges, self.interrupt, &mut |_| (), |range, _| {
            if lacking.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Some(bytes) = self.piece(range, sources)? {
                return target.write_all_at(&bytes, range.start).map_err(|e| fs::failed("write", staged, e));
            }
            lacking.store(true, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(!lacking.into_inner())
    }

    /// A piece from the first source that has it right.
    fn piece(&self, range: &Range<u64>, sources: &[&dyn PieceSource]) -> Result<Option<Vec<u8>>, Problem> {
        let expected = piece_of(self.file, range);
        for source in sources {
            match source.read(self.model, self.file, range.clone()) {
                Ok(Some(bytes)) => {
                    let is_whole = bytes.len() as u64 == range.end - range.start;
                    if is_whole && expected.is_none_or(|expected| Sha256Digest::of(&bytes) == expected) {
                        return Ok(Some(bytes));
                    }
                    self.differs(*source);
                }
                Ok(None) => {}
                Err(problem) if problem.kind == Kind::Interrupted => return Err(problem),
                // A source that cannot be asked counts as one that has nothing.
                Err(problem) => self.note(format!("{}: {}", source.name(), problem.in_one_line())),
            }
        }
        Ok(None)
    }

    fn differs(&self, source: &dyn PieceSource) {
        self.note(format!("{}: its `{}` is not what was locked", source.name(), self.file.path.display()));
    }

    fn note(&self, trouble: String) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).insert(trouble);
    }

    fn is_right(&self, staged: &Path) -> Result<bool, Problem> {
        is_right(self.file, staged, self.interrupt)
    }
}

fn is_right(file: &LockedFile, staged: &Path, interrupt: &Interrupt) -> Result<bool, Problem> {
    let files = [staged];
    let found = parallel::each(&files, interrupt, &mut |_| (), |path, worker| hashing::whole(path, worker))?;
    Ok(found == [(file.size, file.sha256)])
}

/// Copies what is left of the damaged file, in the right length.
fn begin(damaged: &Path, damage: &Damage, file: &LockedFile, staged: &Path) -> Result<(), Problem> {
    match damage.difference {
        Difference::Content => {
            fs::duplicate(damaged, staged)?;
            resize(file, staged)
        }
        // Of one piece nothing is right.
        Difference::Size(_) if file.piece_count() > 0 => {
            fs::duplicate_part(damaged, staged, file.size.0)?;
            resize(file, staged)
        }
        Difference::Size(_)
        | Difference::Unreadable
        | Difference::Missing
        | Difference::Link
        | Difference::Special
        | Difference::Added
        | Difference::Mode => create(file, staged),
    }
}

fn create(file: &LockedFile, staged: &Path) -> Result<(), Problem> {
    fs::remove(staged)?;
    fs::write_new(staged, "")?;
    resize(file, staged)
}

fn resize(file: &LockedFile, staged: &Path) -> Result<(), Problem> {
    let target = OpenOptions::new().write(true).open(staged);
    target.and_then(|target| target.set_len(file.size.0)).map_err(|e| fs::failed("write", staged, e))
}

/// The locked hash of a piece; nothing where none is locked.
fn piece_of(file: &LockedFile, range: &Range<u64>) -> Option<Sha256Digest> {
    if file.piece_count() == 0 {
        return Some(file.sha256);
    }
    let index = usize::try_from(range.start / crate::domain::lockfile::PIECE.0).ok()?;
    file.pieces.as_ref()?.get(index).copied()
}

/// Reads these bytes of a file; nothing where there is no file, or it is too short.
pub(super) fn bytes(path: &Path, range: &Range<u64>) -> Result<Option<Vec<u8>>, Problem> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() >= range.end => {}
        _ => return Ok(None),
    }
    let length = usize::try_from(range.end - range.start)
        .map_err(|e| Problem::new(Kind::Unexpected, "a piece is larger than the memory").because(e))?;
    let mut bytes = vec![0; length];
    match fs::open_file(path).and_then(|file| file.read_exact_at(&mut bytes, range.start)) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(fs::failed("read", path, e)),
    }
}
