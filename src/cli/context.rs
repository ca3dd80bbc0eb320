//! The context of a command, from the command line.

use super::{args::Global, library, progress::Screen};
use crate::{
    domain::{
        machine::facts::Facts,
        problem::{Kind, Problem},
        store::layout::Layout,
    },
    flow::context::{Context, Engine, Estimates, Executor, HostFacts, ServiceManager},
    host::{
        os::{fs::failed, signals::Interrupt},
        store::Store,
    },
};
use std::{io::ErrorKind, path::Path, rc::Rc};

pub(crate) fn layout(global: &Global) -> Layout {
    // Units and links outlive the working directory.
    let root = global.root();
    Layout::new(std::path::absolute(&root).unwrap_or(root)).under(global.scope())
}

/// Reads the facts of a host, as `awqdeploy facts` printed them: from a pipe, too.
pub(crate) fn read_facts(path: &Path) -> Result<Facts, Problem> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Problem::new(Kind::Usage, format!("there is no file `{}`", path.display()))
            .help("`awqdeploy facts > FILE` writes it, on the host that is to be planned for"),
        _ => failed("read", path, error),
    })?;
    Facts::parse(&text)
        .map_err(|problem| Problem { what: format!("`{}`: {}", path.display(), problem.what), ..problem })
}

/// The context of this host, for a command that tells nothing on its way, and that Ctrl-C may end anywhere.
pub(crate) fn context(global: &Global) -> Result<Context, Problem> {
    Ok(Context {
        store: Store::new(layout(global)),
        library: library::library(global),
        facts: HostFacts::default(),
        engine: global.runtimes.clone().map_or(Engine::Locked, Engine::Built),
        interrupt: Interrupt::default(),
        observer: Rc::new(|_| ()),
        binary: std::env::current_exe().map_err(|e| Problem::doing("find this program's own file", e))?,
        service_manager: ServiceManager::Systemd(global.scope()),
        executor: Executor::ServiceManager,
        estimates: Estimates::default(),
    })
}

/// The context of this host, for a long command: a signal ends it at a good place.
pub(crate) fn interruptible(global: &Global) -> Result<Context, Problem> {
    Ok(Context { interrupt: Interrupt::listen()?, ..context(global)? })
}

/// The context of this host, for a long command that shows on a screen what happens.
pub(crate) fn on_screen(global: &Global, screen: &Rc<Screen>) -> Result<Context, Problem> {
    Ok(interruptible(global)?.observed_by(screen.clone()))
}

/// The context of a host to plan for: this one, or that of these facts.
pub(crate) fn planning(global: &Global, facts: Option<&Path>) -> Result<Context, Problem> {
    let facts = facts.map(read_facts).transpose()?.map(HostFacts::from).unwrap_or_default();
    Ok(Context { facts, ..interruptible(global)? })
}
