//! Models in the store: taken in file by file, each proven to be what was locked.

pub mod repair;
pub mod source_folder;
pub mod verify;

use super::{
    os::{
        fs,
        parallel::{self, Progress},
        signals::Interrupt,
        trust,
    },
    store::{
        Store, StoreWriter,
        hash_cache::{HashCache, Stamp},
        hashing,
    },
};
use crate::domain::{
    digest::Sha256Digest,
    lockfile::{LockedFile, LockedModel},
    problem::{Kind, Problem},
    size::ByteSize,
};
use source_folder::Folder;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};
use verify::{Damage, Difference, VerifyResult};

impl Store {
    /// The hash cache of files, which need not be hashed again while they stay untouched.
    pub fn hash_cache(&self) -> Result<HashCache, Problem> {
        HashCache::read(&self.layout().hash_cache())
    }

    /// The lock of a model in the store.
    ///
    /// # Errors
    /// [`Kind::Unverified`] where there is none, or where it is that of another model.
    pub fn model_lock(&self, digest: Sha256Digest) -> Result<LockedModel, Problem> {
        let path = self.layout().model_lock(digest);
        let help = "`awqdeploy deploy PROFILE` puts it there again";
        let text = fs::read(&path)?.ok_or_else(|| {
            Problem::new(Kind::Unverified, format!("there is no lock `{}` in the store", path.display()))
                .help(help)
        })?;
        let model = LockedModel::parse(&path, &text)?;
        if model.digest() != digest {
            return Err(Problem::new(Kind::Unverified, format!("`{}` locks another model", path.display()))
                .help(help));
        }
        Ok(model)
    }

    /// All models in the store.
    pub(crate) fn models(&self) -> Result<Vec<Sha256Digest>, Problem> {
        digests(&self.layout().models())
    }
}

/// The entries of a directory that are named by digests.
pub(super) fn digests(directory: &Path) -> Result<Vec<Sha256Digest>, Problem> {
    Ok(fs::names(directory)?.iter().filter_map(|name| Sha256Digest::from_str(name).ok()).collect())
}

impl StoreWriter<'_> {
    /// Saves the hash cache.
    pub fn keep_hash_cache(&self, cache: &HashCache) -> Result<(), Problem> {
        let path = self.store().layout().hash_cache();
        fs::make_directory(path.parent().unwrap_or(&path))?;
        fs::write(&path, cache.text()?)
    }

    /// Notes in the hash cache what a check has proven, so that the next need not read it.
    pub(crate) fn note(&self, checked: &VerifyResult) -> Result<(), Problem> {
        if checked.noted.is_empty() {
            return Ok(());
        }
        let mut cache = self.store().hash_cache()?;
        checked.noted.iter().for_each(|(content, stamp)| cache.note(*content, *stamp));
        self.keep_hash_cache(&cache)
    }

    /// Takes a finished file, just hashed to be `content`, into the store, in place of an older one. The file
    /// is moved.
    pub(crate) fn adopt(
        &self,
        staged: &Path,
        content: Sha256Digest,
        how: fs::Transfer,
    ) -> Result<(), Problem> {
        let layout = self.store().layout();
        // A file with other owners is left as it is.
        match how {
            fs::Transfer::Linked => fs::sync(staged)?,
            fs::Transfer::Cloned | fs::Transfer::Copied => fs::make_immutable(staged)?,
        }
        fs::make_directory(&layout.blobs())?;
        fs::replace(staged, &layout.blob(content))
    }

    /// Lays a model out of contents that are all in the store. Returns its folder.
    pub(crate) fn lay_out(&self, model: &LockedModel) -> Result<PathBuf, Problem> {
        let layout = self.store().layout();
        let digest = model.digest();
        let path = layout.model(digest);
        let staged = self.stage(&format!("model-{}", digest.short()))?;
        let mut cache = self.store().hash_cache()?;
        for file in &model.files {
            let to = staged.join(&file.path);
            fs::make_directory(to.parent().unwrap_or(&to))?;
            self.link(file.sha256, &to, &mut cache)?;
        }
        fs::sync_file_system(&staged)?;
        fs::make_directory(&layout.models())?;
        // The lock first: a model without one does not count.
        self.keep_model_lock(model)?;
        fs::publish(&staged, &path)?;
        self.keep_hash_cache(&cache)?;
        Ok(path)
    }

    /// Lays a model out in a folder outside of the store, which appears as a whole.
    pub(crate) fn export(&self, model: &LockedModel, to: &Path) -> Result<(), Problem> {
        if !fs::names(to)?.is_empty() {
            return Err(Problem::new(Kind::Usage, format!("`{}` is not empty", to.display()))
                .help("name a folder that is not there yet"));
        }
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let staged = to.with_file_name(format!(".{name}.new"));
        fs::remove_tree(&staged)?;
        fs::make_directory(&staged)?;
        let from = self.store().layout().model(model.digest());
        let mut cache = self.store().hash_cache()?;
        for file in &model.files {
            let (from, to) = (from.join(&file.path), staged.join(&file.path));
            fs::make_directory(to.parent().unwrap_or(&to))?;
            let before = verify::stamp(&from)?;
            fs::reflink_or_copy(&from, &to)?;
            if let (Some(before), Some(after)) = (before, verify::stamp(&from)?) {
                cache.note_links(&file.sha256, &before, &after);
            }
        }
        self.keep_hash_cache(&cache)?;
        // An empty folder may have been made for it.
        fs::remove_tree(to)?;
        fs::publish(&staged, to)
    }

    /// Gives a content another name. That changes the file's stamp, so the hash cache is updated.
    fn link(&self, content: Sha256Digest, to: &Path, cache: &mut HashCache) -> Result<(), Problem> {
        let blob = self.store().layout().blob(content);
        let stamp = || {
            let found = std::fs::symlink_metadata(&blob).map_err(|e| fs::failed("look at", &blob, e))?;
            Ok::<_, Problem>(Stamp::of(&found))
        };
        let before = stamp()?;
        fs::link(&blob, to)?;
        cache.note_links(&content, &before, &stamp()?);
        Ok(())
    }

    /// Keeps the lock of a model in the store beside it.
    pub fn keep_model_lock(&self, model: &LockedModel) -> Result<(), Problem> {
        let layout = self.store().layout();
        fs::make_directory(&layout.model_locks())?;
        fs::write(&layout.model_lock(model.digest()), model.to_toml())
    }
}

/// Takes a model into the store from `source`, unless it is there already; every file is hashed
/// either way. Returns its folder.
pub fn import(
    writer: &StoreWriter<'_>,
    model: &LockedModel,
    source: Option<&Path>,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<PathBuf, Problem> {
    let path = writer.store().layout().model(model.digest());
    if path.is_dir() {
        // The lock may have learnt more, such as pieces.
        writer.keep_model_lock(model)?;
        let checked = verify::stored(&path, model, &HashCache::default(), interrupt, progress)?;
        if !checked.damaged.is_empty() {
            return Err(differ(&path, &checked.damaged)
                .help("`awqdeploy verify PROFILE --repair` brings what is damaged from elsewhere"));
        }
        writer.note(&checked)?;
        writer.own(model, interrupt)?;
        return Ok(path);
    }
    import_missing(writer, model, source, interrupt, progress)?;
    writer.lay_out(model)
}

/// Imports every content of a model that the store does not have yet.
fn import_missing(
    writer: &StoreWriter<'_>,
    model: &LockedModel,
    source: Option<&Path>,
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<(), Problem> {
    let source = source.map(|path| Folder::open(path, &model.repo, &model.revision)).transpose();
    let source = source.map_err(|problem| problem.help("correct `path` in the profile's `[model]`"))?;
    let damaged = gather(writer, model, source.as_slice(), interrupt, progress)?;
    interrupt.check()?;
    if damaged.is_empty() {
        return Ok(());
    }
    Err(match &source {
        Some(source) => differ(source.path(), &damaged).help(
            "fetch these files again; or, if they are meant to be so, lock them anew with `awqdeploy lock PROFILE`",
        ),
        None => Problem::new(Kind::Unverified, format!("the files of `{}` are not in the store", model.repo))
            .help("`awqdeploy fetch PROFILE` gets them; or name their folder as `path` in the profile's `[model]`"),
    })
}

/// Imports from these folders the contents that the store lacks. Returns what is still missing, and how the
/// last folder's file differed.
pub(crate) fn gather(
    writer: &StoreWriter<'_>,
    model: &LockedModel,
    sources: &[Folder],
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Vec<Damage>, Problem> {
    let mut contents: Vec<&LockedFile> = model
        .files
        .iter()
        .map(|file| (file.sha256, file))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect();
    // The largest first, so that no core ends up alone with it.
    contents.sort_by_key(|file| std::cmp::Reverse(file.size));
    let staging = writer.stage("import")?;
    let began = SystemTime::now();
    let bringing = Import { writer, sources, staging: &staging };
    bringing.room(&contents)?;
    let brought = parallel::each(&contents, interrupt, progress, |file, worker| bringing.bring(file, worker));
    fs::remove_tree(&staging)?;
    let brought = brought?;
    let mut cache = writer.store().hash_cache()?;
    let mut damaged = Vec::new();
    for (file, brought) in contents.iter().zip(brought) {
        match brought {
            Ok(stamp) if stamp.is_settled(began) => cache.note(file.sha256, stamp),
            Ok(_) => {}
            Err(difference) => damaged.push(Damage::of(file, difference)),
        }
    }
    writer.keep_hash_cache(&cache)?;
    damaged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(damaged)
}

struct Import<'a> {
    writer: &'a StoreWriter<'a>,
    sources: &'a [Folder],
    staging: &'a Path,
}

impl Import<'_> {
    /// Makes sure that a content is in the store. Returns the stamp that it was hashed under, or why it is
    /// not there.
    fn bring(
        &self,
        file: &LockedFile,
        worker: &mut parallel::Worker<'_>,
    ) -> Result<Result<Stamp, Difference>, Problem> {
        let blob = self.writer.store().layout().blob(file.sha256);
        let known = verify::stamp(&blob)?;
        if let Some(stamp) = known
            && trust::is_ours(&blob)
            && hashing::whole(&blob, worker)? == (file.size, file.sha256)
        {
            return Ok(Ok(stamp));
        }
        // A file that somebody else can write to, as an earlier version linked it, is imported again: from
        // itself, too.
        if known.is_some()
            && !trust::is_ours(&blob)
            && let Ok(stamp) = self.take(file, &blob, worker)?
        {
            return Ok(Ok(stamp));
        }
        let mut difference = Difference::Missing;
        for source in self.sources {
            let Some(from) = source.find(&file.path)? else { continue };
            match self.take(file, &from, worker)? {
                Ok(stamp) => return Ok(Ok(stamp)),
                Err(found) => difference = found,
            }
        }
        Ok(Err(difference))
    }

    /// Imports one file, if it is the locked one.
    fn take(
        &self,
        file: &LockedFile,
        from: &Path,
        worker: &mut parallel::Worker<'_>,
    ) -> Result<Result<Stamp, Difference>, Problem> {
        let blob = self.writer.store().layout().blob(file.sha256);
        let staged = self.staging.join(file.sha256.to_string());
        fs::remove(&staged)?;
        let how = fs::reflink_or_copy(from, &staged)?;
        // Hashed in the store, so that a bad copy cannot pass.
        let (size, sha256) = hashing::whole(&staged, worker)?;
        if size != file.size {
            return Ok(Err(Difference::Size(size)));
        }
        if sha256 != file.sha256 {
            return Ok(Err(Difference::Content));
        }
        self.writer.adopt(&staged, sha256, how)?;
        let stamp = verify::stamp(&blob)?;
        stamp.map(Ok).ok_or_else(|| Problem::doing(format_args!("find `{}`", blob.display()), "it went away"))
    }

    /// Whether copies of this folder's files can share their blocks: tried with the smallest.
    fn clones(&self, contents: &[&LockedFile], source: &Folder) -> bool {
        let smallest = contents.iter().rev().find(|file| file.size > ByteSize(0));
        let Some(Ok(Some(from))) = smallest.map(|file| source.find(&file.path)) else { return false };
        let tried = self.staging.join("clone");
        let clones = fs::clone(&from, &tried).unwrap_or(false);
        clones && fs::remove(&tried).is_ok()
    }

    /// A problem if copies would not fit. Links and clones need no room; whether they work cannot be told
    /// before, so the room is then not checked.
    fn room(&self, contents: &[&LockedFile]) -> Result<(), Problem> {
        if self.sources.is_empty() {
            return Ok(());
        }
        let device = |path: &Path| {
            let found = std::fs::metadata(path).map_err(|e| fs::failed("look at", path, e))?;
            Ok::<_, Problem>(std::os::unix::fs::MetadataExt::dev(&found))
        };
        let ours = device(self.staging)?;
        let costs_nothing = |source: &Folder| {
            device(source.path()).is_ok_and(|theirs| theirs == ours)
                && (trust::is_ours(source.path()) || self.clones(contents, source))
        };
        if self.sources.iter().all(costs_nothing) {
            return Ok(());
        }
        let layout = self.writer.store().layout();
        let missing = contents.iter().filter(|file| !layout.blob(file.sha256).exists());
        let needed: ByteSize = missing.map(|file| file.size).sum();
        let free = fs::available(self.staging)?;
        if needed <= free {
            return Ok(());
        }
        let what =
            format!("the model needs {needed} more in `{}`, and {free} are free", layout.root().display());
        Err(Problem::new(Kind::Unverified, what)
            .help("`awqdeploy gc` removes what nothing needs; or put the model's folder on that file system"))
    }
}

/// The problem with a damaged model, file by file.
pub(crate) fn differ(folder: &Path, damaged: &[Damage]) -> Problem {
    let lines: Vec<String> = damaged.iter().map(ToString::to_string).collect();
    let count = damaged.len();
    let files = if count == 1 { "1 file is" } else { &format!("{count} files are") };
    Problem::new(Kind::Unverified, format!("{files} not what was locked in `{}`", folder.display()))
        .because(lines.join("\n"))
}
