//! Reads a checkpoint's shape: from its files on this host, else from the hub, else as it was published.

use crate::{
    domain::{
        checkpoint::Checkpoint,
        findings::Finding,
        hub::{Content, Listed, Patience},
        lockfile::LockedModel,
        problem::{Kind, Problem},
        profile::{Model, Profile},
        size::ByteSize,
        vllm::settings::Speculation,
    },
    flow::{
        context::{Context, Engine},
        models::online,
    },
    host::{
        self,
        checkpoint::{HubReadError, Presence},
        event_loop,
        hub::{Hub, Reach, Settings, Source},
        models::source_folder::Folder,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The source of a checkpoint's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    /// The store, else the profile's folder, else the hub, else the published shape.
    Known,
    /// The published shape, whatever is in the store or in the profile's folder.
    Published,
    /// This folder, whatever the profile says.
    In(&'a Path, Presence),
}

/// A checkpoint, and remarks on its source.
pub(super) struct LoadedCheckpoint {
    pub(super) checkpoint: Checkpoint,
    /// The folder, where it is on this host.
    pub(super) folder: Option<PathBuf>,
    /// The remark that something better could not be read.
    pub(super) finding: Option<Finding>,
}

/// The tries of one request. A plan falls back on what is known, and must not keep a person waiting.
const TRIES: u32 = 2;

impl LoadedCheckpoint {
    pub(super) fn read(
        context: &Context,
        profile: &Profile,
        locked: Option<&LockedModel>,
        weights: Weights<'_>,
    ) -> Result<Self, Problem> {
        let mut loaded =
            Self::without_draft(context, profile, locked, weights, profile.arguments().overrides())?;
        if let Some(Speculation::Model(model)) = &profile.arguments().settings().speculation
            && Path::new(model).is_absolute()
        {
            // That it cannot be read is said by the plan: it is not counted then.
            let draft = host::checkpoint::read(Path::new(model), Presence::Headers).ok().flatten();
            loaded.checkpoint.draft = draft.map(Box::new);
        }
        Ok(loaded)
    }

    fn without_draft(
        context: &Context,
        profile: &Profile,
        locked: Option<&LockedModel>,
        weights: Weights<'_>,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        match weights {
            Weights::Known => Self::known(context, profile, locked, overrides),
            Weights::Published => match Checkpoint::known(&profile.model().repo) {
                Some(checkpoint) => Ok(Self::published(checkpoint, None)),
                None => Err(not_here(&profile.model().repo)),
            },
            Weights::In(folder, presence) => {
                match host::checkpoint::read_with(folder, presence, overrides)? {
                    Some(checkpoint) => Ok(Self::here(checkpoint, folder)),
                    None => Err(host::checkpoint::check(folder).err().unwrap_or_else(|| nothing_in(folder))),
                }
            }
        }
    }

    fn known(
        context: &Context,
        profile: &Profile,
        locked: Option<&LockedModel>,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let model = profile.model();
        if let Some(shape) = Self::on_this_host(context, model, locked, overrides)? {
            return Ok(shape);
        }
        let known = Checkpoint::known(&model.repo);
        match (known, &model.path) {
            (Some(checkpoint), Some(_)) if locked.is_none() => Ok(Self::published(checkpoint, None)),
            (_, Some(path)) => Err(missing(path)),
            (Some(checkpoint), None) => match locked {
                None => Ok(Self::published(checkpoint, None)),
                // The hub's files may be refused. That it cannot be asked is no reason to.
                Some(locked) => match on_hub(context, model, Some(locked), overrides) {
                    Ok(checkpoint) => Ok(Self { checkpoint, folder: None, finding: None }),
                    Err(HubReadError::Flawed(problem)) => Err(problem),
                    Err(HubReadError::Unasked(problem)) => Ok(Self::published(checkpoint, Some(&problem))),
                },
            },
            (None, None) => match on_hub(context, model, locked, overrides) {
                Ok(checkpoint) => Ok(Self { checkpoint, folder: None, finding: None }),
                Err(unread) => Err(unknown(&model.repo, unread.into())),
            },
        }
    }

    /// Reads the checkpoint from the store, else from the profile's folder.
    fn on_this_host(
        context: &Context,
        model: &Model,
        locked: Option<&LockedModel>,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, Problem> {
        let stored = locked.map(|model| context.layout().model(model.digest()));
        let files_total = locked.map(|model| model.files.iter().map(|file| file.size).sum::<ByteSize>());
        // The folder that a person named may be a hub's cache.
        let named = model.path.iter().chain(locked.and_then(|locked| locked.from.as_ref())).map(|path| {
            Folder::open(path, &model.repo, &model.revision)
                .map_or_else(|_| path.clone(), |folder| folder.path().to_owned())
        });
        for folder in &stored.into_iter().chain(named).collect::<Vec<_>>() {
            // The engine of a rehearsal has weights in name only.
            if let Engine::Command(_) = context.engine {
                if let Some(files) = host::checkpoint::config_files(folder)? {
                    return Ok(Some(Self::here(Checkpoint::of_files(&files, files_total)?, folder)));
                }
            } else if let Some(mut checkpoint) =
                host::checkpoint::read_with(folder, Presence::Whole, overrides)?
            {
                checkpoint.files_total = checkpoint.files_total.or(files_total);
                return Ok(Some(Self::here(checkpoint, folder)));
            }
        }
        Ok(None)
    }

    fn here(checkpoint: Checkpoint, folder: &Path) -> Self {
        Self { checkpoint, folder: Some(folder.to_owned()), finding: None }
    }

    fn published(checkpoint: Checkpoint, unread: Option<&Problem>) -> Self {
        Self { checkpoint, folder: None, finding: unread.map(Finding::headers_not_read) }
    }
}

/// The files of the locked revision, else those of what the revision is now.
fn on_hub(
    context: &Context,
    model: &Model,
    locked: Option<&LockedModel>,
    overrides: &BTreeMap<String, String>,
) -> Result<Checkpoint, HubReadError> {
    let (hub, source, files) = sought(context, model, locked).map_err(HubReadError::Unasked)?;
    host::checkpoint::read_from_hub(&hub, &source, &files, overrides, &context.interrupt)
}

pub(in crate::flow) fn sought(
    context: &Context,
    model: &Model,
    locked: Option<&LockedModel>,
) -> Result<(Hub, Source, Vec<Listed>), Problem> {
    let mut settings = Settings::from_environment()?;
    settings.patience = Patience { tries: TRIES, ..settings.patience };
    if let Engine::Command(_) = context.engine {
        // A rehearsal asks no hub.
        settings.reach = Reach::Offline;
    }
    let hub = online(&settings)?;
    let Model { repo, revision, .. } = model;
    if let Some(locked) = locked {
        let revision = locked.commit.map_or_else(|| locked.revision.clone(), |commit| commit.to_string());
        let source = Source { repo: locked.repo.clone(), revision };
        let files = locked.files.iter().map(|file| Listed {
            path: file.path.clone(),
            size: file.size,
            content: Content::Sha256(file.sha256),
        });
        return Ok((hub, source, files.collect()));
    }
    let (event_loop, interrupt) = (event_loop()?, &context.interrupt);
    let commit = event_loop.block_on(hub.patiently(interrupt, || hub.commit(repo, revision)));
    let commit = commit.map_err(|asked| asked.problem(format_args!("find `{repo}` at `{revision}`")))?;
    let source = Source { repo: repo.clone(), revision: commit.to_string() };
    let files = event_loop.block_on(hub.patiently(interrupt, || hub.list(&source)));
    let files = files.map_err(|asked| asked.while_listing(format_args!("list the files of `{repo}`")))?;
    Ok((hub, source, files))
}

fn nothing_in(folder: &Path) -> Problem {
    let what = format!("there is no `config.json` in `{}`", folder.display());
    Problem::new(Kind::Unverified, what).help("name the checkpoint's folder with `--checkpoint DIR`")
}

fn missing(path: &Path) -> Problem {
    if path.is_dir()
        && let Err(why) = host::checkpoint::check(path)
    {
        return why;
    }
    Problem::new(
        Kind::Unverified,
        format!("there is no `config.json` in the model folder `{}`", path.display()),
    )
    .help("correct `path` in the profile's `[model]`, or fetch the model's files again")
}

fn unknown(repo: &str, why: Problem) -> Problem {
    if why.kind == Kind::Interrupted {
        return why;
    }
    not_here(repo).because(why.in_one_line())
}

fn not_here(repo: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("nothing is known of the model `{repo}`: its files are not here"))
        .help(
            "`awqdeploy lock PROFILE` and `awqdeploy fetch PROFILE` get them from the hub; or name their folder as \
             `path` in the profile's `[model]`",
        )
}
