//! Which process serves, which folder it serves from, and which other files it needs.

use super::request::Request;
use crate::{
    domain::{
        adoption::{
            Reading, config_file,
            files::{Candidate, loaded},
            places,
            program::{self, Member},
            unit_file,
        },
        digest::Sha256Digest,
        problem::{Kind, Problem},
        service::{self, sandbox::hides},
        store::layout::Scope,
        vllm::{arguments::Arguments, flags, version::Version},
    },
    flow::context::Context,
    host::{
        self,
        models::{source_folder::Folder, verify},
        os::{fs, parallel, signals::Interrupt},
        store::hashing,
        vllm::running_server::{self, FoundServer, LoadedUnit},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The most files that a folder may have which a command line names: adapters and draft models have some ten.
const MOST_FILES: usize = 10_000;

/// The unit, where there is one, and the process that serves.
pub(super) fn sight(
    context: &Context,
    request: &Request,
) -> Result<(Option<LoadedUnit>, FoundServer), Problem> {
    let scope = context.layout().scope();
    let (unit, pid) = if let Ok(pid) = request.target.parse::<i32>() {
        let manager = context.service_manager.manager();
        let named = manager.and_then(|scope| Some((running_server::unit_of(pid, scope)?, scope)));
        let unit = named.map(|(name, scope)| running_server::unit(&name, scope)).transpose()?;
        // A job of `cron` or a program of `supervisord` has no unit of its own.
        let unit = unit.filter(|unit| daemon(unit).is_none());
        if let Some(unit) = &unit {
            followed(unit)?;
        }
        (unit, pid)
    } else {
        let unit = running_server::unit(&request.target, scope)?;
        followed(&unit)?;
        if let Some(daemon) = daemon(&unit) {
            let what = format!("`{}` runs `{daemon}`, which does other work beside this server", unit.name);
            return Err(Problem::new(Kind::Refused, what)
                .help("name the server by the number of its process, and see that nothing starts it again"));
        }
        let pid = unit.main.ok_or_else(|| {
            Problem::new(Kind::Refused, format!("`{}` does not run", unit.name))
                .help("start it, wait until it answers, and adopt it then: it is proven as it runs")
        })?;
        (Some(unit), pid)
    };
    let mut family = running_server::family(pid)?;
    // A unit's group is replaced as a whole.
    for member in unit.iter().flat_map(running_server::members) {
        if family.iter().all(|known| known.process.pid != member.process.pid) {
            family.push(member);
        }
    }
    Ok((unit, the_server(&family, pid)?))
}

/// The command line of a server of this version, with all flags in full, and those of the file that `--config` names.
pub(super) fn spelled_out(server: &FoundServer, version: Option<Version>) -> Result<Vec<String>, Problem> {
    let mut argv = server.seen.argv.clone();
    if let Some(file) = config_file::named(&argv) {
        let path = server.seen.directory.join(file);
        running_server::same_files(&server.process, &path)?;
        let text = fs::read(&path)?.ok_or_else(|| {
            Problem::new(Kind::Refused, format!("`--config` names `{}`, which is gone", path.display()))
                .help("put it back, restart the server, and adopt it then")
        })?;
        argv = config_file::expanded(&argv, &text, version)?;
    }
    let Some(version) = version else { return Ok(argv) };
    Ok(argv.into_iter().map(|word| flags::in_full(&word, version).unwrap_or(word)).collect())
}

/// The daemon that this unit runs, if its main process is one that starts what many people ask it for.
fn daemon(unit: &LoadedUnit) -> Option<&'static str> {
    let members = running_server::members(unit);
    let main = members.iter().find(|member| Some(member.process.pid) == unit.main)?;
    program::daemon(&main.seen)
}

/// Processes of the unit that have nothing to do with the server: `nginx` (process 5).
pub(super) fn others(unit: &LoadedUnit, server: &FoundServer) -> Vec<String> {
    let found = running_server::members(unit);
    let members: Vec<_> = found.iter().map(member).collect();
    let named = |one: Member<'_>| {
        let name = one.seen.executable.file_name().unwrap_or(one.seen.executable.as_os_str());
        format!("`{}` (process {})", name.display(), one.pid)
    };
    program::beside(&members, server.process.pid).into_iter().map(named).collect()
}

fn member(found: &FoundServer) -> Member<'_> {
    Member { pid: found.process.pid, parent: found.parent, seen: &found.seen }
}

/// The one server among these processes.
fn the_server(family: &[FoundServer], pid: i32) -> Result<FoundServer, Problem> {
    let members: Vec<_> = family.iter().map(member).collect();
    let servers = program::servers(&members);
    if let [one] = servers.as_slice() {
        let found = family.iter().find(|found| found.process.pid == one.pid);
        return found
            .cloned()
            .ok_or_else(|| Problem::new(Kind::Unexpected, "the server that was found is gone"));
    }
    if servers.len() > 1 {
        let named: Vec<_> = servers.iter().map(|one| one.pid.to_string()).collect();
        let what = format!("{} servers run there, as processes {}", servers.len(), named.join(" and "));
        return Err(Problem::new(Kind::Refused, what).help(
            "give each a unit of its own, and adopt them one by one, each with a `--root` of its own",
        ));
    }
    if let Some(engine) = members.iter().find_map(|member| program::container_engine(member.seen)) {
        let what = format!(
            "`{engine}` runs it in a container, whose files and command line are not those of this host"
        );
        return Err(Problem::new(Kind::Refused, what)
            .help("deploy the same model from a profile of your own: `awqdeploy lock` takes its folder"));
    }
    Err(Problem::new(Kind::Refused, format!("neither process {pid} nor any below it is a vLLM server"))
        .help("name the unit, or the process, of `vllm serve …`"))
}

/// A problem with a unit that ours could not follow.
fn followed(unit: &LoadedUnit) -> Result<(), Problem> {
    if service::unit::is_ours(&unit.text) {
        return Err(Problem::new(Kind::Refused, format!("`{}` is made by awqdeploy already", unit.name))
            .help("`awqdeploy status` shows what it serves; another root than the one that it belongs to cannot have it"));
    }
    if let Some((what, help)) = unit_file::not_followed(&unit.name, &unit.kind, &unit.path) {
        return Err(Problem::new(Kind::Refused, what).help(help));
    }
    for path in &unit.drop_ins {
        let text = fs::read(path)?.unwrap_or_default();
        if text.lines().any(|line| line.trim_start().starts_with("Exec")) {
            let what = format!(
                "`{}` changes what `{}` runs, and would change ours as well",
                path.display(),
                unit.name
            );
            return Err(Problem::new(Kind::Refused, what).help(
                "write its commands into the unit itself, remove it, restart the service, and adopt it then",
            ));
        }
    }
    Ok(())
}

/// The folder that the model was loaded from: what the server has open decides, where that can be seen.
pub(super) fn folder(server: &FoundServer, reading: &Reading) -> Result<Folder, Problem> {
    let revision = reading.revision.as_deref().unwrap_or("main");
    let dummy_weights = Arguments::of(&reading.others).settings().dummy_weights;
    let mut candidates = Vec::new();
    let mut found = Vec::new();
    for place in &places::places(reading, &server.seen) {
        let Ok(folder) = Folder::open(place, &reading.model, revision) else { continue };
        let names = fs::names(folder.path()).unwrap_or_default();
        let files =
            names.iter().filter_map(|name| std::fs::canonicalize(folder.path().join(name)).ok()).collect();
        let invented = dummy_weights && folder.path().join("config.json").exists();
        let judged = if invented { Ok(()) } else { host::checkpoint::check(folder.path()) };
        candidates.push(Candidate { path: folder.path().to_owned(), files, whole: judged.is_ok() });
        found.push((folder, judged));
    }
    let pid = server.process.pid;
    let family = running_server::family(pid).unwrap_or_default();
    let open = running_server::open_weights(family.iter().map(|member| member.process.pid));
    if let Some(chosen) = loaded(&candidates, &open) {
        return Folder::open(&chosen.path, "", revision);
    }
    // A folder that holds no model is told as what it is.
    if let Some((_, Err(why))) =
        found.into_iter().find(|(folder, _)| folder.path().join("config.json").exists())
    {
        return Err(why);
    }
    Err(places::nowhere(reading, &server.seen))
}

/// The files that the command line names beside the model, and those in the folders that it names, by their content.
pub(super) fn files(
    reading: &Reading,
    model: &Path,
    scope: Scope,
    interrupt: &Interrupt,
) -> Result<BTreeMap<PathBuf, Sha256Digest>, Problem> {
    let others = reading.files.iter().filter(|path| !path.starts_with(model));
    let hidden: Vec<_> = others
        .clone()
        .filter(|path| hides(scope, path))
        .map(|path| format!("`{}`", path.display()))
        .collect();
    if !hidden.is_empty() {
        let what = format!("its command line names {}, which a service cannot see", hidden.join(", "));
        return Err(Problem::new(Kind::Refused, what)
            .help("move it to /etc, /opt or /srv, restart the server with that, and adopt it then"));
    }
    let mut named = Vec::new();
    for path in others {
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => named.push(path.clone()),
            Ok(found) if found.is_dir() => named.extend(below(path)?),
            // A template in place of its name, or a file that is gone: the server runs without it.
            Ok(_) | Err(_) => {}
        }
    }
    named.sort();
    named.dedup();
    let hashed = parallel::each(&named, interrupt, &mut |_| (), |path, worker| hashing::whole(path, worker))?;
    Ok(named.into_iter().zip(hashed.into_iter().map(|(_, digest)| digest)).collect())
}

/// The files below a folder, behind their links: a hub's cache has nothing else.
fn below(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let files: Vec<PathBuf> = verify::walk(folder)?.into_keys().map(|name| folder.join(name)).collect();
    if files.len() > MOST_FILES {
        let what = format!("`{}`, which its command line names, has {} files", folder.display(), files.len());
        return Err(Problem::new(Kind::Refused, what)
            .help("name a folder that has the adapter or the draft model, and nothing else"));
    }
    Ok(files.into_iter().filter(|path| path.is_file()).collect())
}
