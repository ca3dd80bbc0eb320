//! vLLM environments in the store: installed by uv from the lock's hashes, shared by generations.

mod byte_code;
pub mod installed;
pub mod interpreters;
pub mod needs;
pub(crate) mod resolver;
pub mod uv;
pub mod wheels;

use super::{
    os::{fs, lock_file, signals::Interrupt},
    store::{StoreWriter, nix_store::StorePath},
};
use crate::domain::{
    digest::Sha256Digest,
    lockfile::{Interpreter, LockedRuntime, LockedWheel, normalised, record},
    problem::{Kind, Problem},
    service::unit::hides,
    store::{layout::Layout, manifest::Entry},
};
use installed::Ready;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use uv::{Uv, shown};

/// The folders of the system's interpreters. One in somebody's home is of no use: the service cannot see it.
const SYSTEM_INTERPRETERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// The command that `serve` and its arguments follow, for the runtime of this digest.
pub fn command(folder: &Path) -> Vec<String> {
    command_of(&folder.join("bin/python"))
}

/// The command that `serve` and its arguments follow, for an interpreter with vLLM that somebody else
/// installed.
pub(crate) fn command_of(python: &Path) -> Vec<String> {
    // Not the `vllm` script: its first line names the folder of its installation.
    let python = python.to_string_lossy().into_owned();
    vec![python, "-m".into(), "vllm.entrypoints.cli.main".into()]
}

/// The interpreter of any runtime in the store.
///
/// # Errors
/// Where there is none.
pub(crate) fn any_python(layout: &Layout) -> Result<String, Problem> {
    let folder = layout.runtimes();
    let mut names = if folder.is_dir() { fs::names(&folder)? } else { Vec::new() };
    names.sort_unstable();
    let pythons = names.iter().map(|name| folder.join(name).join("bin/python"));
    let found = pythons.into_iter().find(|python| python.exists());
    found.map(|python| shown(&python)).ok_or_else(|| {
        Problem::new(Kind::Usage, "no vLLM is installed in the store, whose torch could probe the GPUs")
            .help("name a Python that has a torch for CUDA: `awqdeploy facts --probe PYTHON`")
    })
}

/// A runtime that Nix has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The path.
    pub path: StorePath,
    /// The name in our store: another interpreter or compiler changes it, even with the same wheels.
    pub digest: Sha256Digest,
}

/// Finds the runtime of this lock in a folder of runtimes that Nix has built.
///
/// # Errors
/// [`Kind::Unverified`] where the folder has none, and [`Kind::Usage`] where it was not built by Nix.
pub fn built(folder: &Path, lock: Sha256Digest) -> Result<Built, Problem> {
    let link = folder.join(lock.to_string());
    let Ok(path) = std::fs::canonicalize(&link) else {
        let what = format!("there is no vLLM for the lock {} in `{}`", lock.short(), folder.display());
        return Err(Problem::new(Kind::Unverified, what).help(
            "it was built from another lock than the profile's: run `nix run .#deploy` where the profiles are, with \
             `runtimes/` known to git; on NixOS rebuild the system",
        ));
    };
    let path = StorePath::of(&path).ok_or_else(|| {
        Problem::new(Kind::Usage, format!("`{}` is not in a Nix store", path.display()))
            .help("`--runtimes` takes what the flake built: `nix build .#vllm-env`")
    })?;
    let digest = Sha256Digest::of(format!("awqdeploy nix runtime 1\n{}\n", path.path().display()));
    Ok(Built { path, digest })
}

/// The folder in which a runtime that Nix has built looks for the driver, on NixOS and elsewhere.
pub(crate) const DRIVER: &str = "/run/opengl-driver/lib";

/// Proves that a runtime that Nix has built would find the driver's libraries in this folder.
///
/// # Errors
/// [`Kind::Refused`] where one is missing: vLLM itself would only say that it finds no device, once it is installed.
pub fn verify_driver(folder: &Path) -> Result<(), Problem> {
    let missing = ["libcuda.so.1", "libnvidia-ml.so.1"].map(|library| folder.join(library));
    match missing.iter().find(|library| !library.exists()) {
        None => Ok(()),
        Some(library) => Err(Problem::new(
            Kind::Refused,
            format!("vLLM from Nix finds the NVIDIA driver in `{}` alone, and there is no `{}`", folder.display(), library.display()),
        )
        .help(
            "on NixOS set `hardware.graphics.enable = true`; elsewhere link the driver's libraries there, as docs/nix.md \
             says under \"Not NixOS\"",
        )),
    }
}

/// Gives a runtime that Nix has built its name in the store, and keeps Nix from removing it.
pub fn adopt(writer: &StoreWriter<'_>, built: &Built) -> Result<(), Problem> {
    built.path.hold(&writer.store().layout().runtime(built.digest))
}

/// The inputs of an installation.
#[derive(Clone, Copy, Debug)]
pub struct InstallJob<'a> {
    /// The name in the store.
    pub name: Sha256Digest,
    /// The lock with the wheels.
    pub runtime: &'a LockedRuntime,
    /// The interpreter.
    pub interpreter: &'a Interpreter,
    /// The uv that installs it.
    pub uv: &'a Uv,
    /// Whether a person wants it to stop.
    pub interrupt: &'a Interrupt,
}

/// Installs a runtime into the store, in place of what may be there under its name. `said` gets the lines of
/// uv.
///
/// # Errors
/// [`Kind::Unverified`] where uv cannot install it, or where what it installed is not what the wheels' `RECORD`s say.
pub fn install(
    writer: &StoreWriter<'_>,
    order: &InstallJob<'_>,
    said: &mut dyn FnMut(&str),
) -> Result<(), Problem> {
    let InstallJob { name, runtime, interpreter, uv, interrupt } = *order;
    let layout = writer.store().layout();
    let python = match interpreter {
        Interpreter::Locked(python) => {
            let python = interpreters::install(writer, uv, python, interrupt, said)?;
            shown(&python)
        }
        Interpreter::System { version, .. } => system(version),
    };
    let staged = writer.stage(&format!("runtime-{}", name.short()))?;
    // Whoever can enter it can lock what uv locks, and have it wait.
    lock_file::enter_alone(&staged)?;
    let requirements = staged.join("requirements.txt");
    fs::write_new(&requirements, runtime.requirements())?;

    let folder = staged.join("env");
    let base = unpack(uv, (&python, &folder), &requirements, said)?;
    said("compile what was unpacked");
    byte_code::compile(&base, &folder.join("lib"))?;
    visible(&folder.join("bin/python"), layout)?;
    let held = hold(&folder, runtime, interrupt).and_then(|Held { entries, doubtful }| {
        again(order, &python, &staged, &doubtful, &entries, said).map(|()| entries)
    });
    // The unpacked wheels are in place, or wrong: the cache is not needed any more.
    uv.forget()?;
    let ready = Ready { staged: &folder, entries: held?, name, to: &layout.runtime(name) };
    writer.publish(ready)
}

/// Has uv make an environment of these requirements. Returns the interpreter behind it. uv runs nothing of the wheels:
/// it asks the environment's Python before there are any, and leaves their byte code to [`byte_code`].
fn unpack(
    uv: &Uv,
    (python, folder): (&str, &Path),
    requirements: &Path,
    said: &mut dyn FnMut(&str),
) -> Result<PathBuf, Problem> {
    uv.run(&["venv", "--no-project", "--relocatable", "--python", python, &shown(folder)], said)?;
    let inside = folder.join("bin/python");
    // Asked before a wheel could put a program of its own there.
    let base = std::fs::canonicalize(&inside).map_err(|e| fs::failed("find", &inside, e))?;
    let mut pip = vec!["pip", "install", "--no-deps", "--require-hashes", "--no-build"];
    let (inside, requirements) = (shown(&inside), shown(requirements));
    pip.extend(["--link-mode", "copy", "--python", &inside, "--requirements", &requirements]);
    uv.run(&pip, said).map(|_| base)
}

/// The contents of an environment, and the files that are not what their wheel says, each with the wheel.
struct Held {
    entries: BTreeMap<PathBuf, Entry>,
    doubtful: BTreeMap<PathBuf, String>,
}

/// Checks what uv has installed against the wheels' `RECORD`s.
fn hold(folder: &Path, runtime: &LockedRuntime, interrupt: &Interrupt) -> Result<Held, Problem> {
    let site = PathBuf::from(format!("lib/python{}/site-packages", runtime.python));
    let (mut claims, mut owners, mut brought) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for name in fs::names(&folder.join(&site))? {
        let Some((wheel, version)) = name.strip_suffix(".dist-info").and_then(|name| name.split_once('-'))
        else {
            continue;
        };
        let wheel = format!("{} {version}", normalised(wheel));
        let path = folder.join(&site).join(&name).join("RECORD");
        let text = fs::read(&path)?.ok_or_else(|| {
            Problem::new(Kind::Unverified, format!("`{}` is missing", path.display()))
                .help("the wheel is broken; lock another version of it")
        })?;
        for (path, claim) in record::read(&wheel, &site, &text)? {
            brought.extend(claim.map(|claim| (path.clone(), wheel.clone(), (claim.sha256, claim.size))));
            owners.insert(path.clone(), wheel.clone());
            claims.insert(path, claim);
        }
    }
    let (clashes, harmless) = record::clashes(brought);
    record::refuse(&clashes)?;
    // Either wheel may have won: without these files every installation is the same.
    for path in harmless {
        claims.remove(&path);
        fs::remove(&folder.join(path))?;
    }
    let entries = installed::finish(folder, interrupt, &mut |_| ())?;
    let doubtful = record::hold(&site, &claims, &entries)?;
    let owner = |path: PathBuf| owners.remove(&path).map(|wheel| (path, wheel));
    Ok(Held { entries, doubtful: doubtful.into_iter().filter_map(owner).collect() })
}

/// Unpacks a wheel once more whose `RECORD` differs from its files, without any cache. The archive decides,
/// by its hash: it must give the same files.
fn again(
    order: &InstallJob<'_>,
    python: &str,
    staged: &Path,
    doubtful: &BTreeMap<PathBuf, String>,
    entries: &BTreeMap<PathBuf, Entry>,
    said: &mut dyn FnMut(&str),
) -> Result<(), Problem> {
    if doubtful.is_empty() {
        return Ok(());
    }
    let of = |wheel: &LockedWheel| {
        doubtful.values().any(|name| name.split_once(' ').is_some_and(|(name, _)| name == wheel.name))
    };
    let (folder, requirements) = (staged.join("again"), staged.join("again.txt"));
    fs::write_new(&requirements, order.runtime.requirements_of(of))?;
    let unpacked = unpack(&order.uv.without_cache(), (python, &folder), &requirements, said);
    unpacked.map_err(|problem| {
        let first = doubtful.keys().next().map_or_else(PathBuf::new, PathBuf::clone);
        record::differs(&first, "is not what its wheel says, and could not be unpacked once more")
            .because(problem)
    })?;
    let once_more = installed::take_stock(&folder, order.interrupt, &mut |_| ())?;
    if let Some(path) = doubtful.keys().find(|path| once_more.get(*path) != entries.get(*path)) {
        return Err(record::differs(path, "is not what its wheel says"));
    }
    for wheel in doubtful.values().collect::<BTreeSet<_>>() {
        said(&format!("{wheel} has another content than its RECORD says; unpacked twice it is the same"));
    }
    Ok(())
}

/// The system's own interpreter of this version where there is one, else the version for uv to find.
fn system(version: &str) -> String {
    let system = SYSTEM_INTERPRETERS
        .iter()
        .map(|folder| PathBuf::from(folder).join(format!("python{version}")))
        .find(|path| path.exists());
    system.map_or_else(|| version.to_owned(), |path| shown(&path))
}

/// Refuses an interpreter that the service's sandbox would hide.
fn visible(python: &Path, layout: &Layout) -> Result<(), Problem> {
    let whole = |path: &Path| std::fs::canonicalize(path).map_err(|e| fs::failed("find", path, e));
    let real = whole(python)?;
    // The root is shown to the service wherever it lies.
    if !real.starts_with(whole(layout.root())?) && hides(layout.scope(), &real) {
        return Err(Problem::new(
            Kind::Unverified,
            format!("the interpreter `{}` cannot be seen by the service", real.display()),
        )
        .help("install that Python for the whole system, or let uv bring it: `uv python install`"));
    }
    Ok(())
}
