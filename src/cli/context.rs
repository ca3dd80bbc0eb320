//! What a command acts on, from the command line.

use super::{args::Global, library};
use crate::{
    domain::{
        machine::facts::Facts,
        problem::{Kind, Problem},
        store::layout::Layout,
    },
    flow::{
        context::{Engine, Executor, ServiceManager, World},
        inspect::experience,
    },
    host::{
        machine,
        os::{fs, signals::Interrupt},
        store::Store,
    },
};
use std::path::{Path, PathBuf};

pub(crate) fn layout(global: &Global) -> Layout {
    // Units and links outlive the directory that this was called from.
    let root = global.root();
    Layout::new(std::path::absolute(&root).unwrap_or(root)).under(global.scope())
}

pub(crate) fn own_file() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|e| Problem::doing("find this program's own file", e))
}

/// The facts in this file, or this host's.
pub(crate) fn facts_of(global: &Global, path: Option<&Path>) -> Result<Facts, Problem> {
    path.map_or_else(|| own_facts(global), read_facts)
}

/// This host's facts, and what its generations have shown.
pub(crate) fn own_facts(global: &Global) -> Result<Facts, Problem> {
    Ok(Facts {
        experience: experience::of(&Store::new(layout(global)))?,
        ..machine::facts(layout(global).scope())?
    })
}

/// The facts of a host, as `awqdeploy facts` printed them.
pub(crate) fn read_facts(path: &Path) -> Result<Facts, Problem> {
    let text = fs::read(path)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("there is no file `{}`", path.display()))
            .help("`awqdeploy facts > FILE` writes it, on the host that is to be planned for")
    })?;
    Facts::parse(&text)
        .map_err(|problem| Problem { what: format!("`{}`: {}", path.display(), problem.what), ..problem })
}

/// The host as it is, asked for everything that a plan needs.
pub(crate) fn world(global: &Global) -> Result<World, Problem> {
    Ok(World { facts: own_facts(global)?, binary: own_file()?, ..interruptible(global)? })
}

/// The host for a long story, which a signal ends at a good place.
pub(crate) fn interruptible(global: &Global) -> Result<World, Problem> {
    Ok(World { interrupt: Interrupt::listen()?, ..reading_world(global) })
}

/// The host for a story that only reads, or that has decided everything before: nothing is asked of it.
pub(crate) fn reading_world(global: &Global) -> World {
    World {
        store: Store::new(layout(global)),
        library: library::library(global),
        facts: Facts::default(),
        engine: global.runtimes.clone().map_or(Engine::Locked, Engine::Built),
        interrupt: Interrupt::default(),
        binary: PathBuf::new(),
        service_manager: ServiceManager::Systemd(global.scope()),
        executor: Executor::ServiceManager,
    }
}
