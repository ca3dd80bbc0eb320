//! `lock`: records every file of a profile's model, from a folder that is known to be good or from a hub.

mod runtime;
mod signature;
mod upstream;

pub(crate) use runtime::lock_runtime;
pub use upstream::{Standing, UpstreamCheck, check};

use super::{fetch, online};
use crate::{
    domain::{
        checkpoint::{files, safetensors::Index},
        digest::Sha256Digest,
        hub::{Content, Listed, git_name},
        lockfile::{LockedFile, LockedModel},
        problem::{Kind, Problem},
        profile::{Model, Profile},
        size::ByteSize,
    },
    flow::{context::Context, event::Event},
    host::{
        self, event_loop,
        hub::{Hub, Settings, Source},
        models::source_folder::Folder,
        os::{fs, signals::Interrupt},
    },
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The largest file in git, which is read into memory. The hub itself wants LFS from 10 MB on.
const MOST_IN_GIT: ByteSize = ByteSize::mib(64);
/// Which weights are in which file.
const INDEX: &str = "model.safetensors.index.json";
/// Small files read at once.
const READ_AT_ONCE: usize = 4;

/// Records the files of `folder`, else of the profile's own `path`, else of the hub, in the lock. It remembers `folder`:
/// whoever needs the files later looks there, too.
pub fn lock(
    context: &Context,
    name: &str,
    folder: Option<&Path>,
    settings: &Settings,
) -> Result<LockedModel, Problem> {
    let profile = context.library.load(name)?;
    let locked = match (folder, &profile.model().path) {
        (Some(folder), path) => {
            let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            let locked = survey(context, &profile, folder)?;
            // The profile says it already.
            if path.as_ref() == Some(&whole) { locked } else { locked.taken_from(&whole) }
        }
        (None, Some(folder)) => survey(context, &profile, folder)?,
        (None, None) => resolve(context, profile.model(), settings)?,
    };
    let locked = with_known_pieces(locked, context.library.lock(profile.name()).ok().flatten().as_ref());
    save(context, &profile, &locked)?;
    Ok(locked)
}

/// Locks the files on the hub, gets them into the store, and then locks every piece too.
pub fn lock_and_fetch(context: &Context, name: &str, settings: &Settings) -> Result<LockedModel, Problem> {
    let profile = context.library.load(name)?;
    let mut locked = resolve(context, profile.model(), settings)?;
    locked = with_known_pieces(locked, context.library.lock(profile.name()).ok().flatten().as_ref());
    save(context, &profile, &locked)?;
    let fetched = fetch::fetch(context, name, settings)?;
    context.tell(Event::Stage("hash every piece".to_owned()));
    let of = locked.size();
    let folder = Folder::open(&fetched.path, &locked.repo, &locked.revision)?;
    let seen = folder.survey(&context.interrupt, &mut |done| context.tell(Event::Progress { done, of }))?;
    let seen: BTreeMap<_, _> = seen.iter().map(|seen| ((&seen.path, seen.sha256), seen)).collect();
    for file in &mut locked.files {
        let pieces = seen.get(&(&file.path, file.sha256));
        file.pieces = pieces.and_then(|seen| seen.pieces.clone()).or(file.pieces.take());
    }
    save(context, &profile, &locked)?;
    // From now on the model in the store can be repaired by piece, too.
    context.store.writer(Duration::ZERO, "awqdeploy lock --fetch")?.keep_model_lock(&locked)?;
    Ok(locked)
}

/// Writes the lock of a profile.
pub(crate) fn save(context: &Context, profile: &Profile, locked: &LockedModel) -> Result<(), Problem> {
    context.library.save_lock(profile.name(), locked, |path, text| {
        fs::make_directory(path.parent().unwrap_or(path))?;
        fs::write_unlocked(path, text)
    })
}

fn survey(context: &Context, profile: &Profile, folder: &Path) -> Result<LockedModel, Problem> {
    let wanted = profile.model();
    let folder = Folder::open(folder, &wanted.repo, &wanted.revision)?;
    if !profile.arguments().settings().dummy_weights {
        host::checkpoint::check(folder.path())?;
    }
    context.tell(Event::Stage(format!("hash the files in `{}`", folder.path().display())));
    let of = folder.size()?;
    let files = folder.survey(&context.interrupt, &mut |done| context.tell(Event::Progress { done, of }))?;
    let locked = LockedModel::of(wanted.repo.clone(), wanted.revision.clone(), folder.commit(), files)?;
    signature::check(wanted, &locked, |file| {
        let path = folder.find(&file.path)?.unwrap_or_default();
        std::fs::read(&path).map_err(|e| fs::failed("read", &path, e))
    })?;
    Ok(locked)
}

/// The present files on the hub: of the profile's repository, else of the first alternative that exists.
fn resolve(context: &Context, wanted: &Model, settings: &Settings) -> Result<LockedModel, Problem> {
    let hub = online(settings)?;
    let event_loop = event_loop()?;
    let mut repos = std::iter::once(&wanted.repo).chain(&wanted.alternatives).peekable();
    while let Some(repo) = repos.next() {
        context.tell(Event::Stage(format!("ask `{}` for `{repo}` at `{}`", hub.address(), wanted.revision)));
        match event_loop.block_on(record(&hub, repo, &wanted.revision, &context.interrupt)) {
            Err(problem) if problem.kind == Kind::Unverified && repos.peek().is_some() => {
                let why = problem.cause.map_or(problem.what, |cause| cause.to_string());
                context.tell(Event::Warning(format!("`{repo}`: {why}; trying the next alternative")));
            }
            recorded => {
                let locked = recorded?;
                signature::check(wanted, &locked, |file| {
                    event_loop.block_on(content(&hub, &locked, file, &context.interrupt))
                })?;
                return Ok(locked);
            }
        }
    }
    // There is always the profile's own repository.
    Err(Problem::new(Kind::Unexpected, "there is no repository to ask for"))
}

async fn record(
    hub: &Hub,
    repo: &str,
    revision: &str,
    interrupt: &Interrupt,
) -> Result<LockedModel, Problem> {
    let commit = hub.patiently(interrupt, || hub.commit(repo, revision)).await;
    let commit = commit.map_err(|asked| asked.problem(format_args!("find `{repo}` at `{revision}`")))?;
    let source = Source { repo: repo.to_owned(), revision: commit.to_string() };
    let listing = hub.patiently(interrupt, || hub.list(&source)).await;
    let listing = listing
        .map_err(|asked| asked.while_listing(format_args!("list the files of `{repo}` at `{revision}`")))?;
    let files: Vec<LockedFile> = stream::iter(listing)
        .map(|listed| locked_file(hub, &source, listed, interrupt))
        .buffered(READ_AT_ONCE)
        .try_collect()
        .await?;
    let locked = LockedModel::of(repo.to_owned(), revision.to_owned(), Some(commit), files)?;
    whole(hub, &locked, interrupt).await?;
    Ok(locked)
}

/// A problem with a repository that holds no whole model.
async fn whole(hub: &Hub, locked: &LockedModel, interrupt: &Interrupt) -> Result<(), Problem> {
    let index = match locked.files.iter().find(|file| file.path == Path::new(INDEX)) {
        Some(file) if file.size <= MOST_IN_GIT => {
            let bytes = content(hub, locked, file, interrupt).await?;
            // A file that is no index is named where the checkpoint is read.
            std::str::from_utf8(&bytes).ok().and_then(|text| Index::parse(text).ok())
        }
        _ => None,
    };
    let names = locked.files.iter().filter_map(|file| file.path.to_str());
    files::judge(names, index.as_ref().map(|index| index.files().into_iter())).map_err(|why| {
        let what = format!("`{}` holds no model that can be served: {why}", locked.repo);
        Problem::new(Kind::Unverified, what).help(why.help())
    })
}

/// The bytes of a small file, proven against the listing.
async fn content(
    hub: &Hub,
    locked: &LockedModel,
    file: &LockedFile,
    interrupt: &Interrupt,
) -> Result<Vec<u8>, Problem> {
    let revision = locked.commit.map_or_else(|| locked.revision.clone(), |commit| commit.to_string());
    let source = Source { repo: locked.repo.clone(), revision };
    let read = hub.patiently(interrupt, || hub.read(&source, &file.path, 0..file.size.0, file.size)).await;
    read.map_err(|asked| asked.problem(format_args!("read `{}` of `{}`", file.path.display(), locked.repo)))
}

/// The lock of one file. A large file's hash is taken from the hub; a small one is read, since the hub names
/// it by a SHA-1 only.
async fn locked_file(
    hub: &Hub,
    source: &Source,
    listed: Listed,
    interrupt: &Interrupt,
) -> Result<LockedFile, Problem> {
    let Listed { path, size, content } = listed;
    let hash = match content {
        Content::Sha256(sha256) => return Ok(LockedFile::new(path, size, sha256)),
        Content::Git(hash) => hash,
    };
    let named = path.display();
    if size > MOST_IN_GIT {
        let what = format!("`{named}` of `{}` has {size} and no SHA-256 on the hub", source.repo);
        return Err(Problem::new(Kind::Unverified, what).help("lock it from a folder: `--from FOLDER`"));
    }
    let read = hub.patiently(interrupt, || hub.read(source, &path, 0..size.0, size)).await;
    let bytes = read.map_err(|asked| asked.problem(format_args!("read `{named}` of `{}`", source.repo)))?;
    let found = git_name(&bytes);
    if found != hash {
        let what = format!("`{named}` of `{}` came damaged", source.repo);
        return Err(Problem::new(Kind::Unverified, what)
            .because(format!("git names what came {found}, and the hub lists {hash}"))
            .help("run it again; if it stays so, something between the hub and here changes files"));
    }
    Ok(LockedFile { git_sha1: Some(hash), ..LockedFile::new(path, size, Sha256Digest::of(bytes)) })
}

/// Adds the pieces of files that were locked before with the same content.
fn with_known_pieces(mut locked: LockedModel, before: Option<&LockedModel>) -> LockedModel {
    let before = before.into_iter().flat_map(|model| &model.files);
    let before: BTreeMap<_, _> = before.map(|known| ((known.sha256, known.size), known)).collect();
    for file in locked.files.iter_mut().filter(|file| file.pieces.is_none()) {
        let known = before.get(&(file.sha256, file.size));
        file.pieces = known.and_then(|known| known.pieces.clone());
    }
    locked
}
