//! Asks a runtime before its service runs. The answer may run code of a model or of a wheel: so it runs in a
//! unit of its own, with the user, the sandbox and the small environment of the service. Without a service
//! manager that the caller may use, it runs as the caller, without the caller's environment.

use crate::{
    domain::{
        problem::{Kind, Problem},
        profile::Device,
        service::{sandbox::Service, unit},
        store::layout::Scope,
    },
    host::{
        os::fs,
        process::exec::{self, Finished},
        systemd::{Systemd, scope_option},
    },
};
use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The additional time for the unit to end after the question.
const GONE_PATIENCE: Duration = Duration::from_secs(30);
/// Variables that name folders of vLLM and its libraries. The service has folders of its own for them; a
/// question leaves nothing behind.
const FOLDERS: [&str; 4] = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VLLM_CACHE_ROOT"];
/// The search path of programs, as systemd has it.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The messages of `systemd-run` where it could not begin.
const NOT_RUN: [&str; 3] =
    ["Failed to connect to", "Failed to start transient service unit", "Unknown assignment"];

/// A script to run in a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// The name of its file.
    pub(crate) name: &'static str,
    /// The text.
    pub(crate) script: &'static str,
    /// How long the answer may take.
    pub(crate) patience: Duration,
}

/// Whether questions of this scope run in a sandbox.
pub(crate) fn is_enclosed(scope: Scope) -> bool {
    Systemd::usable(scope).is_ok()
}

/// Runs the question with this interpreter, in the sandbox of this service. None: no answer in time.
pub(crate) fn ask(
    service: &Service<'_>,
    python: &str,
    question: &Question,
    arguments: &[String],
) -> Result<Option<Finished>, Problem> {
    let scope = service.layout.scope();
    let enclosed = is_enclosed(scope);
    let folder = folder(scope, enclosed)?;
    let script = folder.path().join(question.name);
    fs::write_new(&script, question.script)?;
    let words = [script.display().to_string()].into_iter().chain(arguments.iter().cloned());
    let mut environment = service.serve.env.clone();
    // A `/tmp` of its own, empty at first and removed afterwards.
    let home =
        if enclosed && scope == Scope::System { PathBuf::from("/tmp") } else { folder.path().to_owned() };
    environment.extend(FOLDERS.map(|name| (name.to_owned(), home.display().to_string())));
    // The runtime is checked against its manifest: nothing may be added to it.
    environment.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    if !enclosed {
        environment.entry("PATH".to_owned()).or_insert_with(|| PROGRAMS.to_owned());
        let words: Vec<_> = words.collect();
        return exec::run_bare_within(question.patience, python, &words, &environment);
    }
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&script, readable).map_err(|e| fs::failed("open", &script, e))?;
    if service.device == Device::Cuda && scope == Scope::System {
        device_nodes();
    }
    let began = Instant::now();
    let command: Vec<_> = std::iter::once(python.to_owned()).chain(words).collect();
    let run = systemd_run(service, question, &home, &environment, &command);
    let ended = exec::run_within(question.patience + GONE_PATIENCE, "systemd-run", &run, &BTreeMap::new())?;
    if let Some(ended) = &ended
        && let Some(why) =
            ended.stderr.lines().find(|line| NOT_RUN.iter().any(|words| line.starts_with(words)))
    {
        return Err(Problem::new(Kind::Unverified, format!("it has no unit to be asked in: {why}")));
    }
    // systemd ends a late unit.
    Ok(ended.filter(|ended| ended.status.success() || began.elapsed() < question.patience).map(|ended| {
        // The interpreter and script alone: the whole command line is a page.
        Finished { line: command.join(" "), ..ended }
    }))
}

fn systemd_run(
    service: &Service<'_>,
    question: &Question,
    home: &Path,
    environment: &BTreeMap<String, String>,
    command: &[String],
) -> Vec<String> {
    let mut words: Vec<String> = [
        scope_option(service.layout.scope()),
        "--quiet",
        "--no-ask-password",
        "--wait",
        "--pipe",
        "--collect",
    ]
    .map(str::to_owned)
    .into();
    words.push(format!("--unit=awqdeploy-question-{}.service", process::id()));
    words.push(format!("--description=awqdeploy: {} of {}", question.name, service.name));
    words.push(format!("--property=RuntimeMaxSec={}", question.patience.as_secs()));
    words.push("--property=TimeoutStopSec=5s".to_owned());
    words.push(format!("--working-directory={}", home.display()));
    words.extend(unit::enclosure(service).into_iter().map(|set| format!("--property={set}")));
    words.extend(environment.iter().map(|(name, value)| format!("--setenv={name}={value}")));
    words.push("--".to_owned());
    // systemd expands variables in a command line.
    words.extend(command.iter().map(|word| word.replace('$', "$$")));
    words
}

/// A folder for the script: for a service of the system, its user can read it and nobody can write to it.
fn folder(scope: Scope, enclosed: bool) -> Result<TempDir, Problem> {
    let made =
        |made: std::io::Result<TempDir>| made.map_err(|e| Problem::doing("make a folder for a question", e));
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("awqdeploy-question-");
        builder
    };
    match (enclosed, scope) {
        (true, Scope::System) => {
            let folder = made(builder().tempdir_in("/run"))?;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder.path(), open)
                .map_err(|e| fs::failed("open", folder.path(), e))?;
            Ok(folder)
        }
        _ => made(builder().tempdir()),
    }
}

/// Makes the driver's device nodes, as the service's own unit does: a sandbox cannot. A host that has them
/// already needs no `nvidia-modprobe`.
fn device_nodes() {
    let _unneeded = exec::run("nvidia-modprobe", &["-u", "-c", "0"], &BTreeMap::new());
}
