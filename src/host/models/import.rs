//! Models taken into the store from folders on this host.

use super::{
    source_folder::{Folder, Found},
    verify::{self, Damage, Difference, differ},
};
use crate::{
    domain::{
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        size::ByteSize,
    },
    host::{
        os::{
            fs,
            parallel::{self, Progress},
            signals::Interrupt,
            trust,
        },
        store::{
            StoreWriter,
            hash_cache::{HashCache, Stamp, TICK},
            hashing,
        },
    },
};
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A file is linked from this length on: to wait until a link can be told from a change costs more than a short copy.
const LEAST_TO_LINK: ByteSize = ByteSize::mib(1);
/// How often a source that changes is hashed before it is copied.
const LINK_TRIES: u32 = 2;

/// The stamp of a staged file. That of a link is as new as the link: a change within the same tick of the clock would
/// not show, so the next tick is waited for.
fn at_rest(staged: &Path, how: fs::Transfer) -> Result<Option<Stamp>, Problem> {
    let stamp = verify::stamp(staged)?;
    if how == fs::Transfer::Linked && stamp.is_some_and(|stamp| !stamp.ticked_since(SystemTime::now())) {
        std::thread::sleep(TICK);
    }
    Ok(stamp)
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
        writer.note(model, &checked)?;
        if !checked.damaged.is_empty() {
            return Err(differ(&path, &checked.damaged)
                .help("`awqdeploy verify PROFILE --repair` brings what is damaged from elsewhere"));
        }
        writer.own(model, interrupt)?;
        return Ok(path);
    }
    import_missing(writer, model, source, interrupt, progress)?;
    writer.lay_out(model)
}

/// Brings every content of a model that the store does not have yet.
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

/// Brings what these folders have of the contents that the store lacks. Returns what is still missing,
/// and how the last folder's file differed.
pub(crate) fn gather(
    writer: &StoreWriter<'_>,
    model: &LockedModel,
    sources: &[Folder],
    interrupt: &Interrupt,
    progress: Progress<'_>,
) -> Result<Vec<Damage>, Problem> {
    let mut contents = model.contents();
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
            Ok(Some(stamp)) if stamp.is_settled(began) => cache.note(file.sha256, stamp),
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
    /// Makes sure that a content is in the store. The stamp that it was hashed under, if it stayed the same; or why
    /// the content is not there.
    fn bring(
        &self,
        file: &LockedFile,
        worker: &mut parallel::Worker<'_>,
    ) -> Result<Result<Option<Stamp>, Difference>, Problem> {
        let blob = self.writer.store().layout().blob(file.sha256);
        let known = verify::stamp(&blob)?;
        let began = SystemTime::now();
        if let Some(stamp) = known
            && trust::is_ours(&blob)
            && hashing::whole(&blob, worker)? == (file.size, file.sha256)
        {
            let same = stamp.is_quiet(began) && verify::stamp(&blob)? == Some(stamp);
            return Ok(Ok(same.then_some(stamp)));
        }
        // A file that somebody else can write to, as an earlier version linked it, is taken anew: from itself, too.
        if known.is_some()
            && !trust::is_ours(&blob)
            && let Ok(stamp) = self.take(file, &blob, worker)?
        {
            return Ok(Ok(stamp));
        }
        let mut difference = Difference::Missing;
        for source in self.sources {
            let from = match source.look(&file.path) {
                Found::Nothing => continue,
                // Lengths first: nothing of a wrong one is read.
                Found::File(_, size) if size != file.size => Err(Difference::Size(size)),
                Found::File(from, _) => Ok(from),
                Found::Outside(_) => Err(Difference::Link),
                Found::NoFile => Err(Difference::Special),
                Found::Unreadable(_) => Err(Difference::Unreadable),
            };
            let taken = match from {
                Ok(from) if fs::open_file(&from).is_err() => Err(Difference::Unreadable),
                Ok(from) => self.take(file, &from, worker)?,
                Err(found) => Err(found),
            };
            match taken {
                Ok(stamp) => return Ok(Ok(stamp)),
                Err(found) => difference = found,
            }
        }
        Ok(Err(difference))
    }

    /// Takes one file, if it is what was locked: linked, where that is possible and it stays the same while it is
    /// hashed; else copied. Hashed where it will be read from, so that a bad copy cannot pass.
    fn take(
        &self,
        file: &LockedFile,
        from: &Path,
        worker: &mut parallel::Worker<'_>,
    ) -> Result<Result<Option<Stamp>, Difference>, Problem> {
        let blob = self.writer.store().layout().blob(file.sha256);
        let staged = self.staging.join(file.sha256.to_string());
        for tries in 0.. {
            fs::remove(&staged)?;
            let tick: fs::Tick<'_> = &|_| worker.count(0);
            let how = if tries < LINK_TRIES && file.size >= LEAST_TO_LINK {
                fs::transfer(from, &staged, tick)?
            } else {
                fs::transfer_own(from, &staged, tick)?
            };
            let Some(before) = at_rest(&staged, how)? else { break };
            let (size, sha256) = hashing::whole(&staged, worker)?;
            let same = verify::stamp(&staged)? == Some(before);
            match () {
                () if !same && how == fs::Transfer::Linked => continue,
                () if size != file.size => return Ok(Err(Difference::Size(size))),
                () if sha256 != file.sha256 => return Ok(Err(Difference::Content)),
                () => {}
            }
            self.writer.adopt(&staged, sha256, how)?;
            let after = verify::stamp(&blob)?;
            if how != fs::Transfer::Linked || after.is_some_and(|after| after.is_only_linked_since(&before)) {
                return Ok(Ok(after));
            }
            // The file changed while it got its name.
            fs::remove(&blob)?;
        }
        Err(Problem::doing(format_args!("take `{}`", from.display()), "it went away"))
    }

    /// Whether files of this folder share their blocks with what is made of them: tried with the smallest.
    fn clones(&self, contents: &[&LockedFile], source: &Folder) -> bool {
        let smallest = contents.iter().rev().find(|file| file.size > ByteSize(0));
        let Some(Ok(Some(from))) = smallest.map(|file| source.find(&file.path)) else { return false };
        let tried = self.staging.join("clone");
        let clones = fs::clone(&from, &tried).unwrap_or(false);
        clones && fs::remove(&tried).is_ok()
    }

    /// A problem if copies would not fit. Links and clones need no room, which cannot be told before they
    /// are tried; then this is not asked either.
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
