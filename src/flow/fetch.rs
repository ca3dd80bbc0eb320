//! `fetch`: gets a locked model into the store: from what is on this host already, else from the hub.

use super::{
    event::{Event, Observer},
    lock::online,
    prepare::not_locked,
    world::World,
};
use crate::{
    domain::{
        hub::Listed,
        lock::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        profile::Model,
        size::Bytes,
        upstream::{self, Deviations},
    },
    host::{
        event_loop,
        fetch::{self, Means, News, Wanted, part},
        fs,
        hub::{Hub, Reach, Settings, Source},
        store::Locked,
    },
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// Connections at once. A CDN gives each some 50 to 150 MB/s, and one core hashes 2 GB/s.
const CONNECTIONS: usize = 8;
/// What is left free on the file system of the store: a full one breaks more than a download.
const SPARE: Bytes = Bytes::mib(256);

/// What a fetch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The profile.
    pub profile: String,
    /// The model's folder in the store.
    pub path: PathBuf,
    /// Files of the model.
    pub files: usize,
    /// Bytes of the model.
    pub bytes: Bytes,
    /// Bytes taken from folders on this host.
    pub imported: Bytes,
    /// Bytes of files that came from the hub.
    pub downloaded: Bytes,
}

/// Gets the model of a profile into the store.
pub fn fetch(
    world: &World,
    name: &str,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Fetched, Problem> {
    let profile = world.library.load(name)?;
    let model = world.library.lock(profile.name())?.ok_or_else(|| not_locked(profile.name()))?;
    let command = format!("awqdeploy fetch {}", profile.name());
    let locked = world.store.lock(Duration::ZERO, &command)?;
    let mut fetched = obtain(world, &locked, profile.model(), &model, settings, observer)?;
    fetched.profile = profile.name().to_owned();
    Ok(fetched)
}

/// Gets a model into the store, unless it is there. The caller's folder and the caches of other programs
/// come first; only what they lack is downloaded.
pub(super) fn obtain(
    world: &World,
    locked: &Locked<'_>,
    wanted: &Model,
    model: &LockedModel,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Fetched, Problem> {
    let shelf = Shelf::of(locked, model);
    let (mut imported, mut downloaded) = (Bytes(0), Bytes(0));
    if !shelf.is_done() {
        let mut missing = shelf.missing()?;
        let before = total(&missing);
        import(&shelf, &mut missing, wanted, model, settings, world, observer)?;
        downloaded = total(&missing);
        imported = before.less(downloaded);
        if !missing.is_empty() {
            download(&shelf, &missing, wanted, model, settings, world, observer)?;
        }
    }
    let path = shelf.assemble(world, observer)?;
    let (files, bytes) = (model.files.len(), model.size());
    Ok(Fetched { profile: String::new(), path, files, bytes, imported, downloaded })
}

fn total(files: &[LockedFile]) -> Bytes {
    files.iter().map(|file| file.size).sum()
}

/// Takes what folders on this host have, each file only if it is what was locked.
fn import(
    shelf: &Shelf<'_>,
    missing: &mut Vec<LockedFile>,
    wanted: &Model,
    model: &LockedModel,
    settings: &Settings,
    world: &World,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    let mut rest = Vec::new();
    let mut told = false;
    for file in std::mem::take(missing) {
        world.interrupt.check()?;
        let mut found = false;
        for candidate in candidates(&file, wanted, model, settings) {
            let Ok(there) = std::fs::metadata(&candidate) else { continue };
            if !there.is_file() || there.len() != file.size.0 {
                continue;
            }
            if !std::mem::replace(&mut told, true) {
                observer.see(Event::Stage("take what is on this host already".to_owned()));
            }
            found = shelf.import(&file, &candidate)?;
            if found {
                break;
            }
            observer.see(Event::Warning(format!("`{}` is not what was locked", candidate.display())));
        }
        if !found {
            rest.push(file);
        }
    }
    *missing = rest;
    Ok(())
}

/// Where a file may be already: in the profile's folder, and in the cache of `huggingface_hub`, which names
/// large files by their SHA-256 and small ones by their name in git.
fn candidates(file: &LockedFile, wanted: &Model, model: &LockedModel, settings: &Settings) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = wanted.path.iter().map(|folder| folder.join(&file.path)).collect();
    for repo in repos(wanted, model) {
        let Some(cache) = &settings.cache else { break };
        let kept = cache.join(format!("models--{}", repo.replace('/', "--")));
        places.push(kept.join("blobs").join(file.sha256.to_string()));
        places.extend(file.git_sha1.map(|hash| kept.join("blobs").join(hash.to_string())));
        let snapshot = |commit: String| kept.join("snapshots").join(commit).join(&file.path);
        places.extend(model.commit.map(|commit| snapshot(commit.to_string())));
    }
    places
}

/// The repository that was locked, then all others that may have the same files.
fn repos<'a>(wanted: &'a Model, model: &'a LockedModel) -> Vec<&'a str> {
    let mut repos = vec![model.repo.as_str()];
    for repo in std::iter::once(&wanted.repo).chain(&wanted.alternatives) {
        if !repos.contains(&repo.as_str()) {
            repos.push(repo);
        }
    }
    repos
}

fn download(
    shelf: &Shelf<'_>,
    missing: &[LockedFile],
    wanted: &Model,
    model: &LockedModel,
    settings: &Settings,
    world: &World,
    observer: &dyn Observer,
) -> Result<(), Problem> {
    if settings.reach == Reach::Offline {
        let names: Vec<String> = missing.iter().map(|file| format!("`{}`", file.path.display())).collect();
        return Err(Problem::new(
            Kind::Unverified,
            format!("{} of `{}` are not on this host, and offline mode is on", files(missing.len()), model.repo),
        )
        .because(names.join("\n"))
        .help("name a folder that has them as `path` in the profile's `[model]`, or go online"));
    }
    let folder = world.layout().staging().join("fetch");
    fs::make_directory(&folder)?;
    part::discard_others(&folder, wanted_anywhere(world, model)?.iter())?;
    room(&folder, missing)?;
    let hub = online(settings)?;
    observer.see(Event::Stage(format!("ask `{}` for `{}`", hub.address(), model.repo)));
    let wanted = locate(&hub, missing, wanted, model, world, observer)?;
    let of = total(missing);
    observer.see(Event::Stage(format!("fetch {} ({of}) of `{}`", files(missing.len()), model.repo)));
    let means =
        Means { folder: &folder, settings, connections: CONNECTIONS, interrupt: &world.interrupt };
    let last = Cell::new(Bytes(0));
    fetch::fetch(&wanted, &means, &mut |news| {
        match news {
            News::Progress(done) if done != last.replace(done) => observer.see(Event::Progress { done, of }),
            News::Progress(_) => {}
            News::Trouble(text) => observer.see(Event::Warning(text)),
            News::Whole(file, path) => {
                shelf.land(file, path)?;
                part::discard(&folder, file)?;
            }
        }
        Ok(())
    })
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Every file that some lock names: what is left of it by an interrupted fetch is worth keeping.
fn wanted_anywhere(world: &World, model: &LockedModel) -> Result<Vec<LockedFile>, Problem> {
    let mut files = model.files.clone();
    for name in world.library.locked()? {
        // A lock that cannot be read is told of by whoever needs it.
        files.extend(world.library.lock(&name).ok().flatten().into_iter().flat_map(|model| model.files));
    }
    Ok(files)
}

/// A problem if these files do not fit beside what is there.
fn room(folder: &Path, missing: &[LockedFile]) -> Result<(), Problem> {
    let needed = total(missing).less(Bytes(part::allocated(folder, missing)));
    let free = fs::free(folder)?;
    if needed + SPARE <= free {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Unverified,
        format!("{needed} to fetch, and {free} free on the file system of `{}`", folder.display()),
    )
    .help(format!("make room for {}, or name a root elsewhere with `--root DIR`", (needed + SPARE).less(free))))
}

/// Which file can be had from where. A problem if one can be had from nowhere.
fn locate(
    hub: &Hub,
    missing: &[LockedFile],
    wanted: &Model,
    model: &LockedModel,
    world: &World,
    observer: &dyn Observer,
) -> Result<Vec<Wanted>, Problem> {
    let event_loop = event_loop()?;
    let mut located: BTreeMap<&Path, Vec<Source>> = BTreeMap::new();
    let mut trouble = None;
    for repo in repos(wanted, model) {
        let revision = match model.commit {
            Some(commit) if repo == model.repo => commit.to_string(),
            _ if repo == model.repo => model.revision.clone(),
            _ => wanted.revision.clone(),
        };
        let source = Source { repo: repo.to_owned(), revision };
        let listing = event_loop.block_on(hub.patiently(&world.interrupt, || hub.list(&source)));
        let found = listing
            .map_err(|asked| asked.problem(format_args!("find `{repo}` at `{}`", source.revision)))
            .and_then(|listing| has(missing, &listing, &source));
        let (has, why) = match found {
            Ok((has, why)) => (has, why),
            Err(problem) if problem.kind == Kind::Interrupted => return Err(problem),
            Err(problem) => (BTreeSet::new(), Some(problem)),
        };
        for path in has {
            located.entry(path).or_default().push(source.clone());
        }
        if let Some(why) = why {
            let cause = why.cause.as_ref().map(ToString::to_string).unwrap_or_default();
            if repos(wanted, model).len() > 1 {
                observer.see(Event::Warning(format!("{}: {cause}", why.what)));
            }
            trouble.get_or_insert(why);
        }
    }
    let mut all = Vec::new();
    for file in missing {
        match located.remove(file.path.as_path()) {
            Some(sources) => all.push(Wanted { file: file.clone(), sources }),
            None => return Err(trouble.unwrap_or_else(|| nowhere(&model.repo, &Deviations::new()))),
        }
    }
    Ok(all)
}

/// The files that this listing has as they were locked, and what is to be said of the others.
fn has<'a>(
    missing: &'a [LockedFile],
    listing: &[Listed],
    source: &Source,
) -> Result<(BTreeSet<&'a Path>, Option<Problem>), Problem> {
    let deviations = upstream::deviations(missing, listing);
    let has = missing.iter().map(|file| file.path.as_path()).filter(|path| !deviations.contains_key(*path));
    let why = (!deviations.is_empty()).then(|| nowhere(&source.repo, &deviations));
    Ok((has.collect(), why))
}

fn nowhere(repo: &str, deviations: &Deviations) -> Problem {
    let count = deviations.len();
    Problem::new(
        Kind::Unverified,
        format!("{} not what was locked in `{repo}` any more; nothing was fetched",
            if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") }),
    )
    .because(upstream::lines(deviations))
    .help(
        "`awqdeploy lock PROFILE --check` shows what changed; if it is meant, lock it anew; else name another \
         repository that has the files under `alternatives` in the profile's `[model]`",
    )
}

/// Where files of one model are gathered until it is whole.
struct Shelf<'l> {
    locked: &'l Locked<'l>,
    model: &'l LockedModel,
    folder: PathBuf,
}

impl<'l> Shelf<'l> {
    fn of(locked: &'l Locked<'l>, model: &'l LockedModel) -> Self {
        let name = format!("gathered-{}", model.digest().short());
        Self { locked, model, folder: locked.store().layout().staging().join(name) }
    }

    fn is_done(&self) -> bool {
        self.locked.store().layout().model(self.model.digest()).is_dir()
    }

    fn missing(&self) -> Result<Vec<LockedFile>, Problem> {
        fs::make_directory(&self.folder)?;
        let absent = |file: &&LockedFile| {
            std::fs::metadata(self.folder.join(&file.path)).map_or(true, |there| there.len() != file.size.0)
        };
        Ok(self.model.files.iter().filter(absent).cloned().collect())
    }

    fn import(&self, file: &LockedFile, from: &Path) -> Result<bool, Problem> {
        let to = self.folder.join(&file.path);
        fs::make_directory(to.parent().unwrap_or(&to))?;
        fs::remove(&to)?;
        fs::link_or_copy(&std::fs::canonicalize(from).map_err(|e| fs::failed("find", from, e))?, &to)?;
        Ok(true)
    }

    fn land(&self, file: &LockedFile, from: &Path) -> Result<(), Problem> {
        let to = self.folder.join(&file.path);
        fs::make_directory(to.parent().unwrap_or(&to))?;
        fs::replace(from, &to)
    }

    fn assemble(&self, world: &World, observer: &dyn Observer) -> Result<PathBuf, Problem> {
        let of = self.model.size();
        let path = crate::host::models::take_in(
            self.locked,
            self.model,
            Some(&self.folder),
            &world.interrupt,
            &mut |done| observer.see(Event::Progress { done, of }),
        )?;
        fs::remove_tree(&self.folder)?;
        Ok(path)
    }
}
