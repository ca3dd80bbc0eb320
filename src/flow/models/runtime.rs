//! Finds the runtime of a profile's generation.

use crate::{
    domain::{
        digest::Sha256Digest,
        lockfile::{Interpreter, LockedRuntime, needs},
        planning::inputs::PlannedRuntime,
        problem::Problem,
        profile::{Profile, Python},
    },
    flow::context::{Context, Engine},
    host::{os::trust, profiles::ProfileLibrary, runtimes},
};

pub(in crate::flow) fn runtime(
    context: &Context,
    library: &ProfileLibrary,
    profile: &Profile,
) -> Result<(PlannedRuntime, Option<Supply>), Problem> {
    let vllm = profile.runtime().vllm.clone();
    if let Engine::Command(command) = &context.engine {
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
    let (planned, supply) = of_lock(context, locked, &profile.runtime().python)?;
    Ok((planned, Some(supply)))
}

/// The runtime of a lock, and where it comes from.
pub(in crate::flow) fn of_lock(
    context: &Context,
    locked: LockedRuntime,
    python: &Python,
) -> Result<(PlannedRuntime, Supply), Problem> {
    let built = match &context.engine {
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
    let command = runtimes::command(&context.layout().runtime(digest));
    let vllm = locked.vllm.clone();
    let planned = PlannedRuntime { vllm, digest: Some(digest), command, python, needs };
    Ok((planned, Supply { digest, locked, source }))
}

/// A runtime that must be in the store before a generation can use it.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    /// The name in the store.
    pub(crate) digest: Sha256Digest,
    /// The lock of the wheels.
    pub(crate) locked: LockedRuntime,
    /// The source.
    pub(crate) source: RuntimeSource,
}

/// The source of a runtime.
#[derive(Clone, Debug)]
pub(crate) enum RuntimeSource {
    /// Nix has built it.
    Nix(runtimes::Built),
    /// The wheels, to be installed for this interpreter.
    Wheels(Interpreter),
}
