//! `fetch`: gets a locked model into the store: from this host, else from the hub.

mod locate;

use super::{not_locked, online};
use crate::{
    domain::{
        hub::cache_folder,
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        profile::Model,
        size::ByteSize,
        spelling::lines,
    },
    flow::{context::Context, event::Event},
    host::{
        fetch::{self, FetchOptions, FetchProgress},
        hub::{Reach, Settings, Source, pieces::HubPieces},
        models::{self, source_folder::Folder, verify},
        os::fs,
        store::{StoreWriter, partial_file},
    },
};
use std::{
    cell::Cell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// The space that stays free on the file system of the store: a full one breaks more than a download.
const SPARE: ByteSize = ByteSize::mib(256);

/// The result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The model's folder in the store.
    pub path: PathBuf,
    /// Files of the model.
    pub files: usize,
    /// Bytes of the model.
    pub bytes: ByteSize,
    /// Bytes of contents that were on this host already: in the store, in folders, in caches.
    pub(crate) found: ByteSize,
    /// Bytes of contents that came from the hub.
    pub downloaded: ByteSize,
}

/// A fetch of one model.
pub(crate) struct FetchJob<'a> {
    /// The context.
    pub(crate) context: &'a Context,
    /// The model by the profile.
    pub(crate) wanted: &'a Model,
    /// The lock of the model.
    pub(crate) model: &'a LockedModel,
    /// The settings of the hub.
    pub(crate) settings: &'a Settings,
}

/// Gets the model of a profile into the store.
pub fn fetch(context: &Context, name: &str, settings: &Settings) -> Result<Fetched, Problem> {
    let profile = context.library.load(name)?;
    let model = context.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let writer = context.store.writer(Duration::ZERO, &format!("awqdeploy fetch {}", profile.name()))?;
    FetchJob { context, wanted: profile.model(), model: &model, settings }.fill(&writer)
}

/// The hub as a source for repairs: for a profile also its alternatives. Nothing where the hub may not be
/// asked.
pub fn pieces(
    context: &Context,
    profile: Option<&str>,
    settings: &Settings,
) -> Result<Option<HubPieces>, Problem> {
    if settings.reach == Reach::Offline {
        return Ok(None);
    }
    let profile = profile.map(|name| context.library.load(name)).transpose()?;
    let others = profile.iter().flat_map(|profile| {
        let Model { repo, alternatives, revision, .. } = profile.model();
        let source = |repo: &String| Source { repo: repo.clone(), revision: revision.clone() };
        std::iter::once(repo).chain(alternatives).map(source).collect::<Vec<_>>()
    });
    HubPieces::new(settings, others.collect(), context.interrupt.clone()).map(Some)
}

impl FetchJob<'_> {
    /// Gets the model into the store, unless it is there. Folders and caches on this host come first; only
    /// what they lack is downloaded.
    pub(crate) fn fill(&self, writer: &StoreWriter<'_>) -> Result<Fetched, Problem> {
        let Self { context, model, .. } = self;
        let path = context.layout().model(model.digest());
        let all = total(model.contents());
        let fetched = |path, downloaded| {
            let (files, bytes) = (model.files.len(), model.size());
            Fetched { path, files, bytes, found: all.less(downloaded), downloaded }
        };
        if path.is_dir() {
            // The lock may have learnt more, such as pieces. `verify` tells whether the model is still whole.
            writer.keep_model_lock(model)?;
            self.still_whole(writer, &path)?;
            return Ok(fetched(path, ByteSize(0)));
        }
        let missing = self.import(writer)?;
        let folder = context.layout().downloads();
        self.tidy(&folder)?;
        if !missing.is_empty() {
            self.download(writer, &folder, &missing)?;
        }
        Ok(fetched(writer.lay_out(model)?, total(&missing)))
    }

    /// A problem with a model in the store that is not what was locked. What was hashed before and is untouched is not
    /// read.
    fn still_whole(&self, writer: &StoreWriter<'_>, path: &Path) -> Result<(), Problem> {
        let Self { context, model, .. } = self;
        context.store.not_damaged(model)?;
        let (cache, of) = (context.store.hash_cache()?, model.size());
        let checked = verify::stored(path, model, &cache, &context.interrupt, &mut |done| {
            context.tell(Event::Progress { done, of });
        })?;
        writer.note(model, &checked)?;
        if checked.damaged.is_empty() {
            return Ok(());
        }
        Err(models::differ(path, &checked.damaged)
            .help("`awqdeploy verify --all --repair` brings what is damaged from elsewhere"))
    }

    /// Takes what folders on this host have, each file only if it is what was locked. Returns what is
    /// still missing.
    fn import(&self, writer: &StoreWriter<'_>) -> Result<Vec<LockedFile>, Problem> {
        let Self { context, model, .. } = self;
        context.tell(Event::Stage(format!("look for the files of `{}` on this host", model.repo)));
        let sources = self.folders();
        let of = total(model.contents());
        let damaged = models::gather(writer, model, &sources, &context.interrupt, &mut |done| {
            context.tell(Event::Progress { done, of });
        })?;
        for other in damaged.iter().filter(|damage| damage.difference != verify::Difference::Missing) {
            context.tell(Event::Warning(format!("not taken from this host: {other}")));
        }
        let missing: BTreeSet<&Path> = damaged.iter().map(|damage| damage.path.as_path()).collect();
        let contents = model.contents().into_iter();
        Ok(contents.filter(|file| missing.contains(file.path.as_path())).cloned().collect())
    }

    /// The profile's folder, and the cache of `huggingface_hub` for the same repositories.
    fn folders(&self) -> Vec<Folder> {
        let Self { wanted, model, settings, .. } = self;
        let open = |path: &Path, repo: &str, revision: &str| Folder::open(path, repo, revision).ok();
        let mut folders: Vec<Folder> = wanted
            .path
            .iter()
            .chain(&model.from)
            .filter_map(|path| open(path, &model.repo, &model.revision))
            .collect();
        let revisions =
            model.commit.map(|commit| commit.to_string()).into_iter().chain([model.revision.clone()]);
        for revision in revisions {
            for repo in self.repos() {
                let kept = settings.cache.as_ref().map(|cache| cache.join(cache_folder(repo)));
                // A cache without this commit has nothing for us.
                let kept = kept.filter(|kept| kept.is_dir());
                folders.extend(kept.and_then(|kept| open(&kept, repo, &revision)));
            }
        }
        folders
    }

    /// The locked repository, then all others that may have the same files.
    fn repos(&self) -> Vec<&str> {
        let mut repos = vec![self.model.repo.as_str()];
        for repo in std::iter::once(&self.wanted.repo).chain(&self.wanted.alternatives) {
            if !repos.contains(&repo.as_str()) {
                repos.push(repo);
            }
        }
        repos
    }

    /// Removes the remains of earlier fetches, except those that some lock still wants and the store lacks.
    fn tidy(&self, folder: &Path) -> Result<(), Problem> {
        let Self { context, model, .. } = self;
        if fs::names(folder)?.is_empty() {
            return Ok(());
        }
        let mut wanted = model.files.clone();
        for name in context.library.locked()? {
            // A lock that cannot be read is reported when it is needed.
            wanted
                .extend(context.library.lock(&name).ok().flatten().into_iter().flat_map(|model| model.files));
        }
        wanted.retain(|file| !context.layout().blob(file.sha256).exists());
        partial_file::discard_others(folder, &wanted)
    }

    fn download(
        &self,
        writer: &StoreWriter<'_>,
        folder: &Path,
        missing: &[LockedFile],
    ) -> Result<(), Problem> {
        let Self { context, model, settings, .. } = self;
        if settings.reach == Reach::Offline {
            return Err(not_here(model, missing));
        }
        fs::make_directory(folder)?;
        room(folder, missing)?;
        let hub = online(settings)?;
        context.tell(Event::Stage(format!("ask `{}` for `{}`", hub.address(), model.repo)));
        let wanted = self.locate(&hub, missing)?;
        let of = total(missing);
        context.tell(Event::Stage(format!("fetch {} ({of}) of `{}`", files(missing.len()), model.repo)));
        let means = FetchOptions { folder, settings, interrupt: &context.interrupt };
        let last = Cell::new(ByteSize(0));
        let mut cache = context.store.hash_cache()?;
        let fetched = fetch::fetch(&wanted, &means, &mut |news| {
            match news {
                FetchProgress::Progress(done) if done != last.replace(done) => {
                    context.tell(Event::Progress { done, of });
                }
                FetchProgress::Progress(_) => {}
                FetchProgress::Trouble(text) => context.tell(Event::Warning(text)),
                FetchProgress::Whole(file, path) => {
                    writer.adopt(path, file.sha256, fs::Transfer::Copied)?;
                    partial_file::discard(folder, file)?;
                    // The file was hashed on its way, and is immutable now.
                    if let Some(stamp) = verify::stamp(&context.layout().blob(file.sha256))? {
                        cache.note(file.sha256, stamp);
                    }
                }
            }
            Ok(())
        });
        writer.keep_hash_cache(&cache)?;
        fetched
    }
}

fn total<'a>(files: impl IntoIterator<Item = &'a LockedFile>) -> ByteSize {
    files.into_iter().map(|file| file.size).sum()
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn not_here(model: &LockedModel, missing: &[LockedFile]) -> Problem {
    let names = lines(missing.iter().map(|file| format!("`{}`", file.path.display())));
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Problem::new(
        Kind::Unverified,
        format!(
            "{} of `{}` {verb} not on this host, and offline mode is on",
            files(missing.len()),
            model.repo
        ),
    )
    .because(names)
    .help("name a folder that has them as `path` in the profile's `[model]`, or go online")
}

/// A problem if these files do not fit on the disk.
fn room(folder: &Path, missing: &[LockedFile]) -> Result<(), Problem> {
    let needed = total(missing).less(ByteSize(partial_file::allocated(folder, missing)));
    let free = fs::available(folder)?;
    if needed + SPARE <= free {
        return Ok(());
    }
    let short = (needed + SPARE).less(free);
    Err(Problem::new(
        Kind::Unverified,
        format!("{needed} to fetch, and {free} free on the file system of `{}`", folder.display()),
    )
    .help(format!(
        "make room for {short} more (`awqdeploy gc` removes what nothing needs), or name a root elsewhere \
         with `--root DIR`"
    )))
}
