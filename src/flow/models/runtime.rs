//! Which runtime a profile's generation is served by.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedRuntime, needs},
        planning::inputs::PlannedRuntime,
        problem::Problem,
        profile::{Profile, Python},
    },
    flow::context::{Engine, World},
    host::{os::trust, profiles::ProfileLibrary, runtimes},
};

pub(in crate::flow) fn runtime(
    world: &World,
    library: &ProfileLibrary,
    profile: &Profile,
) -> Result<(PlannedRuntime, Option<Supply>), Problem> {
    let vllm = profile.runtime().vllm.clone();
    if let Engine::Command(command) = &world.engine {
        let command = command.clone();
        return Ok((PlannedRuntime { vllm, digest: None, command, python: None, needs: Vec::new() }, None));
    }
    if let Python::Given(python) = &profile.runtime().python {
        trust::believe_interpreter(python)?;
        let command = runtimes::command_of(python);
        let needs = needs::driver(profile.runtime().device).into_iter().collect();
        return Ok((PlannedRuntime { vllm, digest: None, command, python: None, needs }, None));
    }
    let locked = library.locked_runtime(profile.runtime())?;
    let (planned, supply) = of_lock(world, locked, &profile.runtime().python)?;
    Ok((planned, Some(supply)))
}

/// The runtime of a lock, and where it comes from.
pub(in crate::flow) fn of_lock(
    world: &World,
    locked: LockedRuntime,
    python: &Python,
) -> Result<(PlannedRuntime, Supply), Problem> {
    let built = match &world.engine {
        Engine::Built(folder) => {
            trust::believe_as_root(&folder.join(locked.digest().to_string()))?;
            Some(runtimes::built(folder, locked.digest())?)
        }
        Engine::Locked | Engine::Command(_) => None,
    };
    // Nix brings an interpreter of its own.
    let python = Interpreter::of(&locked, python);
    let (digest, needs, python, source) = if let Some(built) = built {
        (built.digest, needs::driver(locked.device).into_iter().collect(), None, RuntimeSource::Nix(built))
    } else {
        let needs = needs::of_wheels(&locked, &python);
        (locked.installed_for(&python), needs, Some(python.clone()), RuntimeSource::Wheels(python))
    };
    let command = runtimes::command(&world.layout().runtime(digest));
    let vllm = locked.vllm.clone();
    let planned = PlannedRuntime { vllm, digest: Some(digest), command, python, needs };
    Ok((planned, Supply { digest, locked, source }))
}

/// A runtime that must be in the store before a generation can use it.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    /// Its name in the store.
    pub(crate) digest: Sha256Digest,
    /// Its wheels.
    pub(crate) locked: LockedRuntime,
    /// Where it comes from.
    pub(crate) source: RuntimeSource,
}

/// Where a runtime comes from.
#[derive(Clone, Debug)]
pub(crate) enum RuntimeSource {
    /// Nix has it already.
    Nix(runtimes::Built),
    /// Its wheels are to be installed for this interpreter.
    Wheels(Interpreter),
}
