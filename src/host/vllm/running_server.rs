//! Looks at servers that somebody else started, and ends them in order.

use crate::{
    domain::{
        adoption::{Process, Seen, program::is_passing, standing::Standing},
        problem::{Kind, Problem},
        service::unit::hides,
        store::layout::Scope,
    },
    host::{
        os::{fs, watchdog},
        process::{
            control_group::{ControlGroup, Manager, membership},
            exec,
            pidfd::ProcessHandle,
            process_tree,
        },
        systemd::{Systemd, scope_option},
    },
};
use procfs::process as proc;
use rustix::process::{Pid, Signal};
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// The longest wait for a server to end; vLLM with requests in flight needs some seconds.
const END_PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A unit as systemd has it loaded.
#[derive(Clone, Debug)]
pub(crate) struct LoadedUnit {
    /// The name with its suffix.
    pub(crate) name: String,
    /// The path of the file.
    pub(crate) path: PathBuf,
    /// The text of that file.
    pub(crate) text: String,
    /// The drop-ins, which stay in force for any unit of its name.
    pub(crate) drop_ins: Vec<PathBuf>,
    /// The main process. Absent while it does not run.
    pub(crate) main: Option<i32>,
    /// `Type=`.
    pub kind: String,
    /// Where its processes are.
    pub group: Option<ControlGroup>,
}

/// A server that was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundServer {
    /// The process.
    pub(crate) process: Process,
    /// The process as it can be seen.
    pub(crate) seen: Seen,
    /// When it started.
    pub(crate) since: Option<SystemTime>,
    /// The number of what started it.
    pub parent: i32,
    /// How the kernel runs it.
    pub standing: Standing,
}

/// This manager's unit of this name, with or without suffix.
///
/// # Errors
/// [`Kind::Usage`] where there is none, or where its text cannot be told.
pub(crate) fn unit(name: &str, scope: Scope) -> Result<LoadedUnit, Problem> {
    if scope == Scope::User {
        Systemd::usable(scope)?;
    }
    let name = if name.ends_with(".service") { name.to_owned() } else { format!("{name}.service") };
    let (manager, properties) =
        (scope_option(scope), "Id,LoadState,FragmentPath,DropInPaths,MainPID,Type,ControlGroup");
    let arguments = [manager, "show", "--property", properties, "--no-pager", "--", &name];
    let said = exec::run("systemctl", &arguments, &BTreeMap::new())?.success()?;
    let property = |wanted: &str| {
        let lines = said.lines().filter_map(|line| line.split_once('='));
        lines.into_iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
    };
    let path = PathBuf::from(property("FragmentPath"));
    let text = if path.is_absolute() { fs::read(&path)? } else { None };
    let Some(text) = text.filter(|_| property("LoadState") == "loaded") else {
        return Err(Problem::new(
            Kind::Usage,
            format!("systemd knows no unit `{name}` with a file of its own"),
        )
        .help(format!(
            "name a service as `systemctl {manager} list-units` shows it, or a process by its number"
        )));
    };
    Ok(LoadedUnit {
        drop_ins: property("DropInPaths").split_whitespace().map(PathBuf::from).collect(),
        main: property("MainPID").parse().ok().filter(|pid| *pid > 0),
        kind: property("Type").to_owned(),
        group: ControlGroup::named(property("ControlGroup")),
        // Behind an alias, the unit's own.
        name: Some(property("Id")).filter(|id| !id.is_empty()).unwrap_or(&name).to_owned(),
        path,
        text,
    })
}

/// The service of this manager that a process belongs to: `vllm.service`.
pub(crate) fn unit_of(pid: i32, scope: Scope) -> Option<String> {
    let unit = Manager::of(scope).unit(&membership(pid))?;
    // To the system all services of a user are that user's manager.
    (unit.ends_with(".service") && !unit.starts_with("user@")).then_some(unit)
}

/// A process and all that descends from it, nearest first, as far as this process may look at them.
///
/// # Errors
/// [`Kind::Usage`] where there is no such process, or none that may be looked at.
pub(crate) fn family(pid: i32) -> Result<Vec<FoundServer>, Problem> {
    let ancestor = Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(|| no_process(pid))?;
    let pids = std::iter::once(ancestor).chain(process_tree::descendants_of(ancestor)?);
    let found: Vec<_> = pids.filter_map(|pid| sighting(pid.as_raw_nonzero().get())).collect();
    if found.is_empty() { Err(no_process(pid)) } else { Ok(found) }
}

/// All processes of a unit, as far as they may be looked at.
pub(crate) fn members(unit: &LoadedUnit) -> Vec<FoundServer> {
    let pids = unit.group.as_ref().map(ControlGroup::processes).unwrap_or_default();
    pids.into_iter().filter_map(sighting).collect()
}

/// The files with weights that these processes have open or mapped.
pub(crate) fn open_weights(pids: impl Iterator<Item = i32>) -> Vec<PathBuf> {
    let mut found = std::collections::BTreeSet::new();
    for process in pids.filter_map(|pid| proc::Process::new(pid).ok()) {
        let mapped = process.maps().into_iter().flatten().filter_map(|map| match map.pathname {
            proc::MMapPath::Path(path) => Some(path),
            _ => None,
        });
        let opened = process.fd().into_iter().flatten().flatten().filter_map(|fd| match fd.target {
            proc::FDTarget::Path(path) => Some(path),
            _ => None,
        });
        let weights = |path: &PathBuf| {
            let kind = path
                .extension()
                .is_some_and(|kind| ["safetensors", "bin", "pt", "gguf"].iter().any(|known| kind == *known));
            // A hub's cache keeps files under their hashes.
            kind || path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "blobs")
        };
        found.extend(mapped.chain(opened).filter(weights));
    }
    found.into_iter().collect()
}

fn no_process(pid: i32) -> Problem {
    Problem::new(Kind::Usage, format!("there is no process {pid} that may be looked at"))
        .help("look at `systemctl status` or `nvidia-smi` for its number; another user's needs root")
}

fn sighting(pid: i32) -> Option<FoundServer> {
    let process = proc::Process::new(pid).ok()?;
    let environment = process.environ().ok()?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Some(FoundServer {
        process: identity(&process)?,
        seen: Seen {
            argv: process.cmdline().ok()?,
            environment: environment.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
            directory: process.cwd().ok()?,
            executable: process.exe().ok()?,
        },
        since: std::fs::metadata(format!("/proc/{pid}")).and_then(|found| found.modified()).ok(),
        parent: process.stat().ok()?.ppid,
        standing: standing(&process),
    })
}

/// The terms on which this program itself runs: those of a login, or of a service without any of its own.
pub(crate) fn usual_standing() -> Standing {
    proc::Process::myself().map(|own| standing(&own)).unwrap_or_default()
}

fn standing(process: &proc::Process) -> Standing {
    let stat = process.stat().ok();
    let maps = std::fs::read_to_string(format!("/proc/{}/numa_maps", process.pid)).unwrap_or_default();
    let heap = maps.lines().find(|line| line.contains(" heap ")).and_then(|line| line.split(' ').nth(1));
    Standing {
        nice: stat.as_ref().map_or(0, |stat| stat.nice),
        policy: stat.and_then(|stat| stat.policy).unwrap_or(0),
        cpus: process.status().ok().and_then(|status| status.cpus_allowed_list).unwrap_or_default(),
        memory: heap.unwrap_or("default").to_owned(),
    }
}

fn identity(process: &proc::Process) -> Option<Process> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = process.stat().ok()?;
    // A zombie holds nothing and serves nobody.
    (stat.state != 'Z').then(|| Process {
        pid: process.pid,
        started: stat.starttime,
        boot: boot.trim().to_owned(),
    })
}

/// Whether this very process still runs.
pub(crate) fn lives(process: &Process) -> bool {
    let now = proc::Process::new(process.pid).ok();
    now.is_some_and(|now| identity(&now).as_ref() == Some(process))
}

/// The parent of a process: "`supervisord` (process 1)". Absent where that is systemd or gone.
pub(crate) fn parent(process: &Process) -> Option<String> {
    let parent = proc::Process::new(process.pid).ok()?.stat().ok()?.ppid;
    let name = proc::Process::new(parent).ok()?.stat().ok()?.comm;
    (parent > 1).then(|| format!("`{name}` (process {parent})"))
}

/// Ends a process with all that descends from it, and waits until they are gone. One that is gone is no problem.
pub(crate) fn end(process: &Process) -> Result<(), Problem> {
    let Some(pid) = Pid::from_raw(process.pid).filter(|_| lives(process)) else {
        return Ok(());
    };
    // Its present descendants become orphans once it is gone.
    let pids = std::iter::once(pid).chain(process_tree::descendants_of(pid)?);
    let all = pids.filter_map(|pid| identity(&proc::Process::new(pid.as_raw_nonzero().get()).ok()?));
    let all: Vec<_> = all.collect();
    signal(process, Signal::TERM);
    let began = Instant::now();
    loop {
        let left: Vec<_> = all.iter().filter(|process| lives(process)).collect();
        if left.is_empty() {
            return Ok(());
        }
        // The workers of a server that has ended hold its memory until they are ended, too.
        if began.elapsed() > END_PATIENCE || !lives(process) {
            for left in &left {
                signal(left, Signal::KILL);
            }
        }
        if began.elapsed() > END_PATIENCE * 2 {
            let pids: Vec<_> = left.iter().map(|process| process.pid.to_string()).collect();
            let doing = format!("end the adopted process {}", process.pid);
            return Err(Problem::doing(doing, format!("still there: {}", pids.join(", "))));
        }
        watchdog::pause(LOOK_EVERY);
    }
}

fn signal(process: &Process, signal: Signal) {
    if let Some(known) = ProcessHandle::started_at(process.pid, process.started) {
        known.signal(signal);
    }
}

/// A problem where a path is another file to this process than to us: it runs in a container.
pub(crate) fn same_files(process: &Process, path: &Path) -> Result<(), Problem> {
    let theirs =
        PathBuf::from(format!("/proc/{}/root", process.pid)).join(path.strip_prefix("/").unwrap_or(path));
    let file = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    match (file(&theirs), file(path)) {
        (Some(theirs), Some(ours)) if theirs == ours => Ok(()),
        _ => Err(Problem::new(
            Kind::Refused,
            format!(
                "`{}` of process {} is not a file of this host: it runs in a container",
                path.display(),
                process.pid
            ),
        )
        .help("deploy the same model from a profile of your own: `awqdeploy lock` takes its folder")),
    }
}

/// The interpreter of a command line that begins with it, as a path that can be started again.
pub(crate) fn program(seen: &Seen) -> PathBuf {
    let first = Path::new(seen.argv.first().map_or("", String::as_str));
    if first.is_absolute() {
        return first.to_owned();
    }
    if first.components().count() > 1 {
        return seen.directory.join(first);
    }
    let folders = seen.environment.get("PATH").map_or("", String::as_str).split(':');
    let found = folders.map(|folder| Path::new(folder).join(first)).find(|path| path.is_file());
    // Not the first choice: it is the interpreter behind a virtual environment, without its packages.
    found.unwrap_or_else(|| seen.executable.clone())
}

/// A problem with an interpreter that will not stay, or that the service's sandbox would hide.
pub(crate) fn visible(python: &Path, scope: Scope) -> Result<(), Problem> {
    if is_passing(python) {
        let what = format!("`{}` lies in uv's cache, and is gone once that is cleaned", python.display());
        return Err(Problem::new(Kind::Refused, what).help(
            "install vLLM into a virtual environment (`uv venv /opt/vllm`), restart the server with that, and adopt it then",
        ));
    }
    let real = std::fs::canonicalize(python).map_err(|e| fs::failed("find", python, e))?;
    let environment = python.parent().and_then(Path::parent).unwrap_or(python);
    if hides(scope, &real) && !real.starts_with(environment) {
        let what = format!("the interpreter `{}` cannot be seen by a service", real.display());
        return Err(Problem::new(Kind::Refused, what).help(
            "make that virtual environment with an interpreter below /usr or /opt, restart the server, and adopt it then",
        ));
    }
    Ok(())
}

/// Folders that this server's Python takes packages from, first those that it searches first.
fn package_folders(seen: &Seen, python: &Path) -> Vec<PathBuf> {
    let variable = |name: &str| seen.environment.get(name).filter(|value| !value.is_empty());
    let environment = python.parent().and_then(Path::parent).unwrap_or(python);
    let alone = fs::read(&environment.join("pyvenv.cfg")).ok().flatten();
    let alone =
        alone.is_some_and(|text| !text.to_lowercase().replace(' ', "").contains("site-packages=true"));
    let flags = seen.argv.iter().skip(1).take_while(|word| word.starts_with('-'));
    let isolated = flags.clone().any(|word| ["-I", "-s"].contains(&word.as_str()));
    let mut folders = Vec::new();
    if flags.clone().any(|word| word == "-m") {
        folders.push(seen.directory.clone());
    }
    folders.extend(variable("PYTHONPATH").into_iter().flat_map(|paths| paths.split(':')).map(PathBuf::from));
    let base = variable("PYTHONUSERBASE").map(PathBuf::from);
    let base = base.or_else(|| Some(Path::new(variable("HOME")?).join(".local")));
    let with_user = !alone && !isolated && variable("PYTHONNOUSERSITE").is_none();
    let roots = base.filter(|_| with_user).into_iter().chain([environment.to_owned()]);
    let system = (!alone && environment == Path::new("/usr")).then(|| PathBuf::from("/usr/local"));
    for root in roots.chain(system) {
        for library in fs::names(&root.join("lib")).unwrap_or_default() {
            let library = root.join("lib").join(&library);
            let python = library.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"));
            let both = ["site-packages", "dist-packages"].map(|folder| library.join(folder));
            folders.extend(both.into_iter().filter(|folder| python && folder.is_dir()));
        }
    }
    folders
}

/// The folder that `vllm` is imported from, where it can be told.
pub(crate) fn imported_from(seen: &Seen, python: &Path) -> Option<PathBuf> {
    let has = |folder: &PathBuf| {
        let names = fs::names(folder).unwrap_or_default();
        let info = |name: &String| name.starts_with("vllm") && name.ends_with(".dist-info");
        folder.join("vllm/__init__.py").is_file() || names.iter().any(info)
    };
    package_folders(seen, python).into_iter().find(has)
}

/// A problem with packages that the service's sandbox would hide.
pub(crate) fn packages_visible(folder: &Path, python: &Path, scope: Scope) -> Result<(), Problem> {
    let environment = python.parent().and_then(Path::parent).unwrap_or(python);
    let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    if !hides(scope, &real) || folder.starts_with(environment) {
        return Ok(());
    }
    let what = format!("its vLLM is imported from `{}`, which a service cannot see", folder.display());
    Err(Problem::new(Kind::Refused, what).help(
        "install it into a virtual environment (`python3 -m venv /opt/vllm`), restart the server with that, and adopt \
         it then",
    ))
}

/// The packages installed beside an interpreter, by name, with their versions.
pub(crate) fn packages(python: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let Some(environment) = python.parent().and_then(Path::parent) else {
        return Ok(BTreeMap::new());
    };
    let mut packages = BTreeMap::new();
    for library in fs::names(&environment.join("lib"))? {
        for folder in ["site-packages", "dist-packages"] {
            let folder = environment.join("lib").join(&library).join(folder);
            if library.starts_with("python") && folder.is_dir() {
                packages.extend(packages_in(&folder)?);
            }
        }
    }
    Ok(packages)
}

/// The packages in one folder, by name, with their versions.
pub(crate) fn packages_in(folder: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let names = fs::names(folder)?;
    let infos = names.iter().filter_map(|name| name.strip_suffix(".dist-info")?.split_once('-'));
    Ok(infos.map(|(name, version)| (name.to_lowercase(), version.to_owned())).collect())
}
