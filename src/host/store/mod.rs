//! The root directory: generations, activations, and the lock that guards them.

mod calibrations;
mod checksums;
mod damage;
pub mod hash_cache;
pub mod hashing;
mod intact;
pub mod journal;
pub mod nix_store;
pub mod partial_file;
pub mod staging;
pub mod transcript;

use super::os::{fs, lock_file};
use crate::domain::{
    activation::{
        journal::{Entry, Reading},
        machine::{self, Activation},
        request::ActivationRequest,
    },
    adoption::Adopted,
    generation::{FORMAT, Generation, declaration::Attempt},
    generation_id::GenerationId,
    planning::plan::Plan,
    problem::{Kind, Problem},
    service::unit::Unit,
    store::layout::Layout,
    validation::report::Report,
};
use journal::Journal;
use nix_store::StorePath;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use staging::StagingDir;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// The record of a generation in its directory.
pub(super) const GENERATION: &str = "generation.json";
/// The record of an adopted generation, in its directory.
const ADOPTED: &str = "adopted.json";
/// The link to the Nix store path that a program was copied from, beside the copy.
const PROGRAM: &str = "program";

/// The text of the profile that a generation was made from, in its directory.
const PROFILE: &str = "profile.toml";

/// The service's log in an activation's directory. It may tell what clients asked, so only those may read it
/// who may read the journal.
const LOG: &str = "service.log";
const LOG_MODE: u32 = 0o640;
/// The request of an activation.
const ORDER: &str = "order.json";

/// Reads the store below a root. Everything that changes it is on [`StoreWriter`].
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
}

/// The right to change the store. Only [`Store::writer`] gives it.
#[derive(Debug)]
pub struct StoreWriter<'a> {
    store: &'a Store,
    _lock: lock_file::HeldLock,
}

/// The format of a generation's record, which every version can read.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The records of one activation.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Activations are numbered from 1 in the order of their start.
    pub number: u64,
    /// The states it reached, as far as they can be read.
    pub journal: Vec<Entry>,
    /// The numbers of the journal's lines that cannot be read, from 1.
    pub damaged: Vec<usize>,
}

/// A report in an activation's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The measurement of the baseline, just before it was stopped.
    Baseline,
    /// The validation of the generation that was activated.
    Candidate,
    /// The validation of the rollback target.
    Returned,
}

impl Store {
    /// The store below the layout's root, which need not exist yet.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// The places below the root.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The number of the current generation.
    pub fn current(&self) -> Result<Option<GenerationId>, Problem> {
        let link = self.layout.current();
        let target = match std::fs::read_link(&link) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            target => target.map_err(|e| fs::failed("read the link", &link, e))?,
        };
        let id = target.file_name().and_then(|name| name.to_str()?.parse().ok());
        id.map(|id| Some(GenerationId(id))).ok_or_else(|| {
            Problem::doing(
                format_args!("read the link `{}`", link.display()),
                format!("it points at `{}`, which is no generation", target.display()),
            )
            .help("point it back at a folder of `generations/`, or remove it")
        })
    }

    /// The current generation.
    pub fn current_generation(&self) -> Result<Option<Generation>, Problem> {
        self.current()?.map(|id| self.generation(id)).transpose()
    }

    /// The current generation, or a problem with the remedy where nothing is deployed.
    pub(crate) fn deployed(&self) -> Result<Generation, Problem> {
        self.current_generation()?.ok_or_else(|| {
            Problem::new(Kind::Usage, "nothing is deployed")
                .help("deploy a profile: `awqdeploy deploy PROFILE`")
        })
    }

    /// All generations whose record can be read, oldest first. [`Store::damages`] has the damaged ones.
    pub fn generations(&self) -> Result<Vec<Generation>, Problem> {
        let ids = self.generation_ids()?.into_iter();
        Ok(ids.filter_map(|id| self.generation(id).ok()).collect())
    }

    /// All generations, oldest first; a problem if the record of one cannot be read.
    pub(crate) fn every_generation(&self) -> Result<Vec<Generation>, Problem> {
        self.generation_ids()?.into_iter().map(|id| self.generation(id)).collect()
    }

    pub(super) fn generation_ids(&self) -> Result<Vec<GenerationId>, Problem> {
        Ok(numbers(&self.layout.generations())?.into_iter().map(GenerationId).collect())
    }

    /// One generation.
    pub fn generation(&self, id: GenerationId) -> Result<Generation, Problem> {
        let path = self.layout.generation(id).join(GENERATION);
        let format: Option<Format> = read_json(&path)?;
        if let Some(Format { format }) = format.filter(|found| found.format > FORMAT) {
            return Err(Problem::new(
                Kind::Usage,
                format!("generation {id} was made by a later awqdeploy: its record has the format {format}"),
            )
            .help("use that awqdeploy: each generation has its own beside its record"));
        }
        read_json(&path)?.ok_or_else(|| {
            Problem::new(Kind::Usage, format!("there is no generation {id}"))
                .help("`awqdeploy generations` lists those that there are")
        })
    }

    /// The text of the profile that a generation was made from.
    pub(crate) fn profile(&self, id: GenerationId) -> Result<Option<String>, Problem> {
        fs::read(&self.layout.generation(id).join(PROFILE))
    }

    /// The last attempt at a declaration.
    pub(crate) fn attempt(&self) -> Result<Option<Attempt>, Problem> {
        read_json(&self.layout.declared())
    }

    /// The record of a generation's adoption, if it was adopted.
    pub(crate) fn adopted(&self, id: GenerationId) -> Result<Option<Adopted>, Problem> {
        read_json(&self.layout.generation(id).join(ADOPTED))
    }

    /// The records of all adopted generations that are still there and can be read.
    pub(crate) fn all_adopted(&self) -> Result<Vec<Adopted>, Problem> {
        let ids = self.generation_ids()?.into_iter();
        Ok(ids.filter_map(|id| self.adopted(id).ok().flatten()).collect())
    }

    /// The units of a plan. One in the place of an adopted unit may replace it.
    pub(crate) fn units(&self, plan: &Plan) -> Result<Vec<Unit>, Problem> {
        let foreign: Vec<_> = self.all_adopted()?.into_iter().filter_map(|adopted| adopted.unit).collect();
        let replaces = |unit: &Unit| foreign.iter().rfind(|foreign| foreign.name == unit.name);
        let unit = |unit: Unit| Unit { replaces: replaces(&unit).map(|foreign| foreign.digest), ..unit };
        Ok(plan.units(&self.layout).into_iter().map(unit).collect())
    }

    /// All activations, oldest first.
    pub fn activations(&self) -> Result<Vec<Recorded>, Problem> {
        numbers(&self.layout.activations())?.into_iter().map(|number| self.activation(number)).collect()
    }

    /// The newest activation that recorded anything.
    pub fn last_activation(&self) -> Result<Option<Recorded>, Problem> {
        let mut newest = self.activations_before(u64::MAX)?;
        newest.find(|read| read.as_ref().map_or(true, Recorded::says_anything)).transpose()
    }

    /// The activations before the one of this number, newest first. Each is read when it is asked for.
    pub(crate) fn activations_before(
        &self,
        number: u64,
    ) -> Result<impl Iterator<Item = Result<Recorded, Problem>>, Problem> {
        let mut numbers = numbers(&self.layout.activations())?;
        numbers.retain(|earlier| *earlier < number);
        Ok(numbers.into_iter().rev().map(|earlier| self.activation(earlier)))
    }

    /// The generations that passed a validation and were not found wanting since.
    pub fn known_good(&self) -> Result<BTreeSet<GenerationId>, Problem> {
        let activations = self.activations()?;
        let mut proven = machine::known_good(activations.iter().filter_map(Recorded::last));
        // A journal outlives its generation.
        proven.retain(|id| self.layout.generation(*id).is_dir());
        Ok(proven)
    }

    /// The known good generations that can be rollback targets, as far as their own records tell.
    pub fn returnable(&self) -> Result<BTreeSet<GenerationId>, Problem> {
        let mut returnable = self.known_good()?;
        let record = |id: GenerationId| self.layout.generation(id).join(GENERATION);
        returnable.retain(|id| read_json::<Generation>(&record(*id)).is_ok());
        Ok(returnable)
    }

    /// The request of an activation. Those of earlier versions have no such record.
    pub fn order(&self, activation: u64) -> Result<Option<ActivationRequest>, Problem> {
        read_json(&self.layout.activation(activation).join(ORDER))
    }

    /// The newest activation that was requested, whether or not it has begun, or its request can be read.
    pub fn newest_order(&self) -> Result<Option<u64>, Problem> {
        let ordered = |number: &u64| self.layout.activation(*number).join(ORDER).exists();
        Ok(numbers(&self.layout.activations())?.into_iter().rfind(ordered))
    }

    /// The report of an activation, if it has one.
    pub fn report(&self, activation: u64, evidence: Evidence) -> Result<Option<Report>, Problem> {
        read_json(&self.layout.activation(activation).join(evidence.file()))
    }

    /// The service's log of an activation, if it has one.
    pub(crate) fn kept_log(&self, activation: u64) -> Result<Option<String>, Problem> {
        fs::read(&self.layout.activation(activation).join(LOG))
    }

    /// The newest passed validation of any generation of this profile.
    pub(crate) fn last_passed(&self, profile: &str) -> Result<Option<Report>, Problem> {
        self.last_good(|report| report.profile == profile)
    }

    /// The newest passed validation that is `wanted`.
    pub(crate) fn last_good(&self, wanted: impl Fn(&Report) -> bool) -> Result<Option<Report>, Problem> {
        for recorded in self.activations()?.into_iter().rev() {
            for evidence in [Evidence::Returned, Evidence::Candidate] {
                // A damaged report is skipped.
                let report = self.report(recorded.number, evidence).unwrap_or_default();
                if let Some(report) = report.filter(|report| wanted(report) && report.passed()) {
                    return Ok(Some(report));
                }
            }
        }
        Ok(None)
    }

    /// Takes the lock, waiting for at most `wait`. `command` is shown to processes that wait for it.
    pub fn writer(&self, wait: Duration, command: &str) -> Result<StoreWriter<'_>, Problem> {
        fs::make_directory(self.layout.root())?;
        let layout = &self.layout;
        let parts = [
            layout.generations(),
            layout.activations(),
            layout.root().join("store"),
            layout.root().join("bin"),
        ];
        let parts = parts.iter().map(PathBuf::as_path).chain([layout.root()]);
        lock_file::only_ours(&parts.collect::<Vec<_>>())?;
        let lock = lock_file::hold(&layout.lock(), wait, command)?;
        // A killed process may not have synced the folders it made here.
        fs::sync(layout.root())?;
        Ok(StoreWriter { store: self, _lock: lock })
    }

    /// The number after the highest ever used, so that no journal speaks of another generation.
    fn next_generation(&self) -> Result<GenerationId, Problem> {
        let there = numbers(&self.layout.generations())?.last().copied();
        let activations = self.activations()?;
        let recorded = activations.iter().filter_map(|recorded| Some(recorded.last()?.to.0)).max();
        Ok(GenerationId(there.max(recorded).map_or(1, |last| last + 1)))
    }

    /// The records of one activation, as far as they can be read.
    pub fn activation(&self, number: u64) -> Result<Recorded, Problem> {
        let Reading { entries, damaged } = journal::read(&self.layout.activation(number))?;
        Ok(Recorded { number, journal: entries, damaged })
    }
}

impl StoreWriter<'_> {
    /// The store of the lock.
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Adds a generation: its plan, its profile's text and the binary that can run it.
    pub fn add_generation(&self, plan: Plan, profile: &str, binary: &Path) -> Result<GenerationId, Problem> {
        self.add(plan, profile, binary, |_| Ok(()))
    }

    /// Adds an adopted generation, with the record of its adoption.
    pub(crate) fn add_adopted(
        &self,
        plan: Plan,
        profile: &str,
        binary: &Path,
        adopted: &Adopted,
    ) -> Result<GenerationId, Problem> {
        self.add(plan, profile, binary, |staged| write_json(&staged.join(ADOPTED), adopted))
    }

    fn add(
        &self,
        plan: Plan,
        profile: &str,
        binary: &Path,
        more: impl FnOnce(&Path) -> Result<(), Problem>,
    ) -> Result<GenerationId, Problem> {
        let layout = &self.store.layout;
        let id = self.store.next_generation()?;
        let staged = self.stage(&format!("generation-{id}"))?;
        let generation = Generation {
            format: FORMAT,
            id,
            created: jiff::Timestamp::now(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            plan,
        };
        write_json(&staged.join(GENERATION), &generation)?;
        fs::write_new(&staged.join(PROFILE), profile)?;
        let unit = format!("{}.service", generation.plan.service);
        fs::write_new(&staged.join(unit), &generation.plan.unit)?;
        fs::link_or_copy(binary, &staged.join("awqdeploy"))?;
        more(&staged)?;
        checksums::write(&staged)?;
        fs::make_directory(&layout.generations())?;
        fs::publish(&staged, &layout.generation(id))?;
        Ok(id)
    }

    /// Keeps Nix from removing the original of this generation's program, if Nix made it: the copy loads its
    /// libraries from there.
    ///
    /// # Errors
    /// As [`StorePath::hold`].
    pub(crate) fn hold_program(&self, id: GenerationId, program: &Path) -> Result<(), Problem> {
        let Some(path) = StorePath::behind(program) else { return Ok(()) };
        let layout = &self.store.layout;
        [layout.generation(id), layout.binary().with_file_name("")]
            .iter()
            .try_for_each(|folder| path.hold(&folder.join(PROGRAM)))
    }

    /// Points `current` at a generation, or at nothing.
    pub fn point(&self, to: Option<GenerationId>) -> Result<(), Problem> {
        let current = self.store.layout.current();
        match to {
            Some(id) => fs::point(&current, &Path::new("generations").join(id.to_string())),
            None => fs::remove(&current),
        }
    }

    /// Begins a new, numbered activation with its journal.
    pub fn begin_activation(&self) -> Result<(u64, Journal), Problem> {
        let layout = &self.store.layout;
        let number = numbers(&layout.activations())?.last().map_or(1, |last| last + 1);
        fs::make_directory(&layout.activation(number))?;
        Ok((number, self.journal(number)?))
    }

    /// Records the request of a new activation, which has not begun, under a new number.
    pub fn order(&self, order: &ActivationRequest) -> Result<u64, Problem> {
        let layout = &self.store.layout;
        let number = numbers(&layout.activations())?.last().map_or(1, |last| last + 1);
        fs::make_directory(&layout.activation(number))?;
        write_json(&layout.activation(number).join(ORDER), order)?;
        Ok(number)
    }

    /// Records an attempt at a declaration, in place of the one before.
    pub(crate) fn keep_attempt(&self, attempt: &Attempt) -> Result<(), Problem> {
        write_json(&self.store.layout.declared(), attempt)
    }

    /// The journal of an activation that began earlier.
    pub fn journal(&self, activation: u64) -> Result<Journal, Problem> {
        Journal::open(&self.store.layout.activation(activation))
    }

    /// Stores a validation's report with its activation.
    pub fn keep_report(&self, activation: u64, evidence: Evidence, report: &Report) -> Result<(), Problem> {
        write_json(&self.store.layout.activation(activation).join(evidence.file()), report)
    }

    /// Stores a comparison of this activation's measurement with an earlier generation. Returns its path.
    pub(crate) fn keep_comparison(
        &self,
        activation: u64,
        baseline: GenerationId,
        comparison: &impl Serialize,
    ) -> Result<PathBuf, Problem> {
        let path = self.store.layout.activation(activation).join(format!("against-{baseline}.json"));
        write_json(&path, comparison)?;
        Ok(path)
    }

    /// Stores the service's log with its activation.
    pub fn keep_log(&self, activation: u64, text: &str) -> Result<(), Problem> {
        fs::write_as(&self.store.layout.activation(activation).join(LOG), LOG_MODE, text)
    }

    /// Copies the deployer's own binary for the recovery at boot. Returns its path.
    pub(crate) fn keep_binary(&self, binary: &Path) -> Result<PathBuf, Problem> {
        let kept = self.store.layout.binary();
        if fs::same_content(binary, &kept)? {
            return Ok(kept);
        }
        let staged = self.stage("binary")?;
        let copied = staged.join("awqdeploy");
        fs::copy(binary, &copied)?;
        fs::make_directory(kept.parent().unwrap_or(&kept))?;
        fs::replace(&copied, &kept)?;
        Ok(kept)
    }

    /// Makes an empty directory for something half-made. What an earlier process left there is removed.
    pub fn stage(&self, name: &str) -> Result<StagingDir, Problem> {
        let path = self.store.layout.staging().join(name);
        fs::remove_tree(&path)?;
        fs::make_directory(&path)?;
        Ok(StagingDir::at(path))
    }
}

impl Recorded {
    /// The last recorded state.
    pub fn last(&self) -> Option<&Activation> {
        self.journal.last().map(|entry| &entry.activation)
    }

    /// Whether anything was recorded, even if it cannot be read.
    pub(crate) fn says_anything(&self) -> bool {
        !self.journal.is_empty() || !self.damaged.is_empty()
    }
}

impl Evidence {
    fn file(self) -> &'static str {
        match self {
            Self::Baseline => "baseline.json",
            Self::Candidate => "report.json",
            Self::Returned => "returned.json",
        }
    }
}

/// The numbered entries of a directory, in order.
pub(super) fn numbers(directory: &Path) -> Result<Vec<u64>, Problem> {
    let mut numbers: Vec<u64> = fs::names(directory)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Problem> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Problem::doing(format_args!("write `{}`", path.display()), e))?;
    text.push(b'\n');
    fs::write(path, text)
}

/// Reads JSON. Nothing where there is no such file. A problem names a file that cannot be read.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Problem> {
    fs::read(path)?
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| Problem::doing(format_args!("read `{}`", path.display()), e))
}
