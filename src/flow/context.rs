//! The context of a story: everything that it acts on. A rehearsal brings another one to the same stories.

use super::event::{Event, Observer};
use crate::{
    domain::{
        generation_id::GenerationId,
        machine::{facts::Facts, visible::Claim},
        problem::Problem,
        store::layout::{Layout, Scope},
    },
    host::{
        machine::{self, gpu},
        os::{lock_file::HeldLock, signals::Interrupt},
        process::owned::OwnedProcesses,
        profiles::ProfileLibrary,
        rehearsal::supervisor::EmbeddedSupervisor,
        store::{Recorded, Store},
        systemd::{Systemd, host_lock, service::Services},
    },
};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// The context of a story.
#[derive(Debug)]
pub struct Context {
    /// The root directory.
    pub store: Store,
    /// Profiles and locks.
    pub library: ProfileLibrary,
    /// The facts of the host.
    pub facts: HostFacts,
    /// The source of engines.
    pub engine: Engine,
    /// Whether a person wants it to stop.
    pub interrupt: Interrupt,
    /// Who is told what happens.
    pub observer: Rc<dyn Observer>,
    /// This program's own file.
    pub binary: PathBuf,
    /// The service manager.
    pub service_manager: ServiceManager,
    /// The executor of activations.
    pub executor: Executor,
    /// Whether a plan may rest on an estimate.
    pub estimates: Estimates,
}

/// The facts of a host: given, or asked of this host when first needed.
#[derive(Debug, Default)]
pub struct HostFacts(OnceCell<Facts>);

impl From<Facts> for HostFacts {
    fn from(given: Facts) -> Self {
        Self(given.into())
    }
}

/// The executor of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// This process: the service manager runs it already, or it rehearses.
    Here,
    /// The service manager: the activation outlives this process and its terminal.
    ServiceManager,
}

/// Whether a plan may rest on an estimate: of a model that is not modelled nobody knows whether it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimates {
    /// Such a plan is refused.
    #[default]
    Refused,
    /// A person accepts it (`--accept-estimate`).
    Accepted,
}

/// The source of engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The runtime that the profile's lock names.
    Locked,
    /// The runtime that the profile's lock names, built by Nix: this folder has one for each lock, named by
    /// the lock's digest.
    Built(PathBuf),
    /// This command, which `serve` and its arguments follow.
    Command(Vec<String>),
}

/// The service manager.
#[derive(Debug)]
pub enum ServiceManager {
    /// The host's systemd, or the user's own.
    Systemd(Scope),
    /// This process.
    Embedded(Box<EmbeddedSupervisor>),
}

impl Context {
    /// This context, with another observer.
    #[must_use]
    pub(crate) fn observed_by(self, observer: Rc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Tells the observer of an event.
    pub(crate) fn tell(&self, event: Event) {
        self.observer.see(event);
    }

    /// The places below the root.
    pub fn layout(&self) -> &Layout {
        self.store.layout()
    }

    /// The facts of the host, with what its generations showed.
    pub fn facts(&self) -> Result<&Facts, Problem> {
        if let Some(known) = self.facts.0.get() {
            return Ok(known);
        }
        let asked = Facts {
            calibrations: self.store.calibrations()?,
            starts: self.store.starts()?,
            ..machine::facts(self.layout().scope())?
        };
        Ok(self.facts.0.get_or_init(|| asked))
    }
}

impl ServiceManager {
    /// An embedded supervisor that runs what the root's unit would run. It keeps its socket and log in
    /// `directory`, and gives a start up after `patience`.
    pub fn embedded(layout: &Layout, directory: PathBuf, patience: Duration) -> Self {
        let shown = |path: PathBuf| path.to_string_lossy().into_owned();
        let binary = shown(layout.current().join("awqdeploy"));
        let root = shown(layout.root().to_owned());
        let owner = std::process::id().to_string();
        let argv = [&binary, "--root", &root, "supervise", "--owner", &owner].map(str::to_owned).into();
        Self::Embedded(Box::new(EmbeddedSupervisor::new(argv, BTreeMap::new(), directory, patience)))
    }

    /// The service manager of this service, for looking at it.
    pub fn observe(&mut self, service: &str) -> Box<dyn Services + '_> {
        match self {
            Self::Systemd(scope) => Box::new(Systemd::new(service, *scope)),
            Self::Embedded(processes) => Box::new(processes.as_mut()),
        }
    }

    /// The scope of the service manager, if it is a real one.
    pub(crate) fn manager(&self) -> Option<Scope> {
        match self {
            Self::Systemd(scope) => Some(*scope).filter(|_| Systemd::runs_host()),
            Self::Embedded(_) => None,
        }
    }

    /// The processes of this service now.
    pub(crate) fn processes(&self, service: &str) -> Result<OwnedProcesses, Problem> {
        match self {
            Self::Systemd(scope) => Systemd::new(service, *scope).processes(),
            Self::Embedded(_) => Ok(OwnedProcesses::Ours),
        }
    }

    /// Takes the right to stop and start the servers of this root, held until the files are dropped. All
    /// roots share the GPUs; a rehearsal touches none. Users cannot write to the folder of root's locks: each
    /// has locks for all roots of their own.
    pub(crate) fn alone(&self, root: &Path, command: &str) -> Result<Vec<HeldLock>, Problem> {
        match self {
            Self::Systemd(scope) if Systemd::usable(*scope).is_ok() => {
                host_lock::hold_host(*scope, root, &claim(&Store::new(Layout::new(root))), command)
            }
            Self::Systemd(_) | Self::Embedded(_) => Ok(Vec::new()),
        }
    }

    /// The service manager of this service, for changing what runs. A problem without systemd or the right.
    pub fn command(&mut self, service: &str) -> Result<Box<dyn Services + '_>, Problem> {
        if let Self::Systemd(scope) = self {
            Systemd::usable(*scope)?;
        }
        Ok(self.observe(service))
    }
}

/// The GPUs of everything below this root that may run now, or be stopped or started next: of the current
/// generation, the requested one, those of the last activation, and the rollback targets. A generation that
/// cannot be read may use all.
fn claim(store: &Store) -> Claim {
    let generations = || -> Result<BTreeSet<GenerationId>, Problem> {
        let mut ids: BTreeSet<_> =
            store.current()?.into_iter().chain(store.known_good()?.last().copied()).collect();
        if let Some(number) = store.newest_order()? {
            ids.extend(store.order(number)?.map(|order| order.to));
        }
        if let Some(activation) = store.last_activation()?.as_ref().and_then(Recorded::last) {
            ids.extend(activation.from.into_iter().chain([activation.to]));
        }
        Ok(ids)
    };
    let of = |id| store.generation(id).map(|generation| Claim::of(&generation.plan.serve.env, gpu::number));
    let Ok(ids) = generations() else { return Claim::Host };
    let claims = ids.into_iter().map(|id| of(id).unwrap_or(Claim::Host));
    claims.fold(Claim::Gpus(BTreeSet::new()), Claim::and)
}
