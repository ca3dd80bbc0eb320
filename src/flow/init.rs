//! `init`: makes a profile for a model on this host.

use super::{
    context::Context,
    event::Event,
    models::runtime,
    plan::{self, Weights},
};
use crate::{
    domain::{
        checkpoint::Checkpoint,
        findings::Finding,
        hub::cache_folder,
        lockfile::LockedRuntime,
        machine::facts::Facts,
        problem::{Kind, Problem},
        profile::{Device, Model, Profile, Python, VerifyAtStart, document::DocumentError, rules},
        proposal::{self, Candidate, Proposal, Replaced, Source, Subject, Template},
        spelling::listed,
    },
    host::{
        self,
        checkpoint::{HubReadError, Presence},
        hub::Settings,
        models::source_folder::Folder,
        os::fs,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The service of a first profile.
const SERVICE: &str = "vllm";
/// The revision that `lock` resolves.
const REVISION: &str = "main";

/// The request of a person.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `owner/name` on the hub.
    pub(crate) repo: String,
    /// A folder, or a hub's cache, with its files.
    pub(crate) from: Option<PathBuf>,
    /// The profile to write. Absent: after the repository.
    pub(crate) name: Option<String>,
    /// The profile that it replaces.
    pub(crate) replaces: Option<String>,
}

/// A profile that could be written.
#[derive(Clone, Debug)]
pub(crate) struct Drafted {
    /// The name.
    pub(crate) name: String,
    /// The path that it would get.
    pub(crate) place: PathBuf,
    /// The text, with its plan on this host.
    pub(crate) proposal: Proposal,
    /// The checkpoint of the model.
    pub(crate) checkpoint: Checkpoint,
    /// The source of the checkpoint, for people.
    pub(crate) read_from: String,
    /// The profile that it replaces.
    pub(crate) replaces: Option<String>,
    /// Remarks for a person.
    pub(crate) notes: Vec<String>,
}

/// The profiles that a migration could start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Baselines {
    /// This one: it serves, or there is no other.
    One(String),
    /// Several: a person has to choose.
    Several(Vec<String>),
}

/// The checkpoint of a model, and its source.
struct Found {
    checkpoint: Checkpoint,
    template: Template,
    /// A hub's cache on this host that has it.
    cached: Option<PathBuf>,
    read_from: String,
    finding: Option<Finding>,
}

/// The profile that a migration starts from, where none is named.
///
/// # Errors
/// [`Kind::Usage`] where there is none.
pub(crate) fn baselines(context: &Context) -> Result<Baselines, Problem> {
    let names = context.library.names().unwrap_or_default();
    let serving = context.store.current_generation()?.map(|current| current.plan.profile);
    if let Some(serving) = serving.filter(|serving| names.contains(serving)) {
        return Ok(Baselines::One(serving));
    }
    match names.as_slice() {
        [] => Err(Problem::new(Kind::Usage, "there is no profile to migrate from")
            .help("`awqdeploy init OWNER/MODEL` writes the first; `awqdeploy init --adopt UNIT` that of a server that runs")),
        [one] => Ok(Baselines::One(one.clone())),
        _ => Ok(Baselines::Several(names)),
    }
}

/// Drafts a profile for a model on this host. Nothing is written.
///
/// # Errors
/// [`Kind::Usage`] for an impossible name, and for a profile that is there already. [`Kind::Unverified`] where nothing
/// can be read of the model. [`Kind::Refused`] where nothing of it can serve here.
pub(crate) fn draft(context: &Context, request: &Request) -> Result<Drafted, Problem> {
    let facts = context.facts()?;
    let repo = rules::repo(request.repo.clone()).map_err(|fault| no_repository(&request.repo, fault))?;
    let name = request.name.clone().unwrap_or_else(|| proposal::profile_name(&repo));
    rules::name(name.clone()).map_err(|fault| no_name(&name, fault))?;
    let place = context.library.place(&name);
    free(context, &name, &place)?;
    let replaces = request.replaces.as_deref().map(|name| context.library.load(name)).transpose()?;
    let found = read(context, &repo, request.from.as_deref())?;
    let folder = request.from.as_deref().map(std::path::absolute).transpose();
    let folder = folder.map_err(|e| Problem::doing("find the working directory", e))?;
    let service = replaces.as_ref().map_or(SERVICE, |first| first.service());
    let served = replaces.as_ref().map(|first| first.model().served_name.clone());
    let subject = Subject {
        repo: &repo,
        name: &name,
        service,
        served_name: &served.unwrap_or_else(|| proposal::served_name(&repo)),
        listen: proposal::address(service, &neighbours(context)),
        source: match (&folder, &found.cached) {
            (Some(folder), _) => Source::Folder(folder),
            (None, Some(cache)) => Source::Cached(cache),
            (None, None) => Source::Hub,
        },
        template: found.template,
        replaces: replaces
            .as_ref()
            .map(|profile| Replaced { profile, predicted: predicted(context, profile) }),
    };
    let candidates = candidates(context, facts)?;
    let mut proposal = proposal::propose(&subject, &found.checkpoint, facts, &candidates, context.layout())??;
    proposal.plan.findings.extend(found.finding);
    let notes = notes(&subject, &proposal.profile);
    Ok(Drafted {
        name,
        place,
        proposal,
        checkpoint: found.checkpoint,
        read_from: found.read_from,
        replaces: request.replaces.clone(),
        notes,
    })
}

/// The predicted rate of one stream of a profile, where there is one.
fn predicted(context: &Context, profile: &Profile) -> Option<f64> {
    let decision = plan::plan(context, profile.name(), Weights::Known).ok()?;
    decision.planned.ok()?.prediction.expected()
}

/// Remarks that the plan does not have.
fn notes(subject: &Subject<'_>, profile: &Profile) -> Vec<String> {
    let template = match subject.template {
        Template::Missing => Some(
            "it has no chat template, and a deployment asks for chats: add one (`--chat-template`) to \
             `vllm.arguments`, or take a model that was tuned to answer"
                .to_owned(),
        ),
        Template::Thinks => {
            Some("it thinks before it answers: whether its answers are right is not judged".to_owned())
        }
        Template::Unknown | Template::Answers | Template::MayThink => None,
    };
    let shorter = subject.replaces.and_then(|first| {
        let (old, new) = (first.profile.limits(), profile.limits());
        (old.max_model_len > new.max_model_len || old.max_num_seqs > new.max_num_seqs).then(|| {
            format!(
                "`{}` serves {} tokens to {} requests at once, and that does not fit with this model: {} to {} do",
                first.profile.name(),
                old.max_model_len,
                old.max_num_seqs,
                new.max_model_len,
                new.max_num_seqs
            )
        })
    });
    template.into_iter().chain(shorter).collect()
}

/// Writes the profile, and the lock of its vLLM where there is none. Returns what was written.
///
/// # Errors
/// [`Kind::Unexpected`] where it cannot be written; [`Kind::Usage`] for a folder in the Nix store.
pub(crate) fn save(
    context: &Context,
    name: &str,
    text: &str,
    profile: &Profile,
) -> Result<Vec<PathBuf>, Problem> {
    let place = context.library.place(name);
    free(context, name, &place)?;
    let write = |path: &Path, bytes: &[u8]| {
        fs::make_directory(path.parent().unwrap_or(path))?;
        fs::write_unlocked_new(path, bytes)
    };
    let mut written = Vec::new();
    if profile.runtime().python == Python::Locked {
        written.extend(context.library.bring_runtime(profile.runtime(), write)?);
    }
    context.library.save_profile(name, text, write)?;
    written.push(place);
    Ok(written)
}

/// A problem where a profile or a lock of this name exists: nothing is overwritten.
fn free(context: &Context, name: &str, place: &Path) -> Result<(), Problem> {
    let lock = context.library.lock(name).ok().flatten();
    let what = match (place.exists(), lock) {
        (true, _) => format!("there is a profile `{name}` already: `{}`", place.display()),
        (false, Some(lock)) => format!("there is a lock named `{name}` already, of `{}`", lock.repo),
        (false, None) => return Ok(()),
    };
    Err(Problem::new(Kind::Usage, what).help(format!(
        "nothing is overwritten: take another name, `--name {name}-2`, or remove what is there"
    )))
}

fn neighbours(context: &Context) -> Vec<Profile> {
    let names = context.library.names().unwrap_or_default();
    names.iter().filter_map(|name| context.library.load(name).ok()).collect()
}

/// The locked vLLMs for this host's device, the newest first. A host without a GPU takes one for GPUs where
/// there is no other: the refusal then says what is missing.
fn candidates(context: &Context, facts: &Facts) -> Result<Vec<Candidate>, Problem> {
    let locked = context.library.locked_runtimes()?;
    let of = |device: Device| -> Result<Vec<Candidate>, Problem> {
        let fitting = locked.iter().filter(|locked| locked.device == device).cloned();
        fitting.map(|locked| candidate(context, locked)).collect()
    };
    if facts.gpus.is_empty() {
        return Ok(of(Device::Cpu)?.into_iter().chain(of(Device::Cuda)?).collect());
    }
    of(Device::Cuda)
}

fn candidate(context: &Context, locked: LockedRuntime) -> Result<Candidate, Problem> {
    let transformers = locked.wheels.iter().find(|wheel| wheel.name == "transformers");
    let (device, transformers) = (locked.device, transformers.map(|wheel| wheel.version.clone()));
    let (runtime, _) = runtime::of_lock(context, locked, &Python::Locked)?;
    Ok(Candidate { runtime, device, transformers })
}

/// Reads the checkpoint: from the folder that a person named, else from a hub's cache on this host, else from
/// the hub, else as published.
fn read(context: &Context, repo: &str, from: Option<&Path>) -> Result<Found, Problem> {
    if let Some(folder) = from {
        let folder = Folder::open(folder, repo, REVISION)?;
        host::checkpoint::check(folder.path())?;
        return in_folder(folder.path())?.ok_or_else(|| {
            let what = format!("there is no model in `{}`", folder.path().display());
            Problem::new(Kind::Unverified, what).help("name the folder that holds the model's `config.json`")
        });
    }
    let cache = Settings::from_environment()?.cache.map(|cache| cache.join(cache_folder(repo)));
    if let Some(cache) = cache.filter(|cache| cache.is_dir())
        && let Ok(folder) = Folder::open(&cache, repo, REVISION)
        // An incomplete cache is passed over.
        && let Ok(Some(found)) = in_folder(folder.path())
    {
        return Ok(Found { cached: Some(cache), ..found });
    }
    on_hub(context, repo)
}

fn in_folder(folder: &Path) -> Result<Option<Found>, Problem> {
    let Some(checkpoint) = host::checkpoint::read(folder, Presence::Whole)? else {
        return Ok(None);
    };
    let template = host::checkpoint::template(folder)?;
    Ok(Some(Found {
        checkpoint,
        template: template.as_deref().map_or(Template::Missing, Template::of),
        cached: None,
        read_from: format!("`{}`", folder.display()),
        finding: None,
    }))
}

fn on_hub(context: &Context, repo: &str) -> Result<Found, Problem> {
    context.tell(Event::Stage(format!("read what `{repo}` is")));
    let model = Model {
        repo: repo.to_owned(),
        alternatives: Vec::new(),
        revision: REVISION.to_owned(),
        path: None,
        signed_by: None,
        served_name: repo.to_owned(),
        verify_at_start: VerifyAtStart::Memo,
    };
    let read = || {
        let (hub, source, files) = plan::sought(context, &model, None).map_err(HubReadError::Unasked)?;
        let checkpoint =
            host::checkpoint::read_from_hub(&hub, &source, &files, &BTreeMap::new(), &context.interrupt)?;
        let template = host::checkpoint::template_on_hub(&hub, &source, &files, &context.interrupt)?;
        Ok(Found {
            checkpoint,
            template: template.as_deref().map_or(Template::Missing, Template::of),
            cached: None,
            read_from: format!("the hub, commit {}", source.revision),
            finding: None,
        })
    };
    match read() {
        Ok(found) => Ok(found),
        Err(HubReadError::Flawed(problem)) => Err(problem),
        Err(HubReadError::Unasked(problem)) if problem.kind == Kind::Interrupted => Err(problem),
        Err(HubReadError::Unasked(problem)) => match Checkpoint::known(repo) {
            Some(checkpoint) => Ok(published(checkpoint, &problem)),
            None => Err(unread(repo, &problem)),
        },
    }
}

fn published(checkpoint: Checkpoint, why: &Problem) -> Found {
    Found {
        checkpoint,
        template: Template::Unknown,
        cached: None,
        read_from: "what is published of it".to_owned(),
        finding: Some(Finding::headers_not_read(why)),
    }
}

fn unread(repo: &str, why: &Problem) -> Problem {
    let help = why.help.clone().map_or(String::new(), |help| format!("{help}; "));
    Problem::new(Kind::Unverified, format!("nothing can be read of `{repo}`"))
        .because(why.in_one_line())
        .help(format!("{help}or name a folder that has its files: `--from FOLDER`"))
}

fn no_repository(written: &str, fault: DocumentError) -> Problem {
    let problem = fault.what(format!("`{written}` is no repository of a model")).unplaced(&[], "");
    problem.help("write it as on the hub: `awqdeploy init Qwen/Qwen3-8B-AWQ`; a folder goes behind `--from`")
}

fn no_name(name: &str, fault: DocumentError) -> Problem {
    let problem = fault.what(format!("`{name}` cannot be the name of a profile")).unplaced(&[], "");
    problem.help("take another: `--name NAME`")
}

/// The problem of several profiles that could be replaced, where none was named.
pub(crate) fn several(names: &[String]) -> Problem {
    let there = listed(names.iter().map(String::as_str));
    Problem::new(Kind::Usage, "there are several profiles, and none of them serves")
        .help(format!("say which is to be replaced: `--baseline PROFILE`; there are {there}"))
}
