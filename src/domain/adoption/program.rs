//! Which of a unit's processes is the server, which only leads to one in a container, and which do other work.

use super::environment::Seen;
use std::path::Path;

/// Programs that start, or watch, what runs in a container. None of their words is about this host.
const CONTAINERS: [&str; 21] = [
    "docker",
    "docker-compose",
    "docker-init",
    "dockerd",
    "podman",
    "podman-compose",
    "nerdctl",
    "conmon",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "ctr",
    "crictl",
    "crun",
    "runc",
    "catatonit",
    "lxc-start",
    "apptainer",
    "singularity",
    "starter-suid",
    "enroot",
];

/// The name of the container engine that this process belongs to, if it is one's client or helper.
pub fn container_engine(seen: &Seen) -> Option<&'static str> {
    let names = [seen.argv.first().map(Path::new), Some(seen.executable.as_path())];
    let names = names.into_iter().flatten().filter_map(Path::file_name);
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    CONTAINERS.into_iter().find(|engine| names.iter().any(|name| name == engine))
}

/// Folders of uv's cache with environments: they go with the server, or once somebody cleans up.
const PASSING: [&str; 3] = ["archive-v0", "builds-v0", "environments-v2"];

/// Whether this interpreter lies in an environment that `uvx` or `uv run --with` made for one run.
pub fn is_passing(python: &Path) -> bool {
    python.components().any(|part| PASSING.iter().any(|folder| part.as_os_str() == *folder))
}

/// Programs that start what many people ask them for. Their unit is not that of one server.
const DAEMONS: [&str; 14] = [
    "cron",
    "crond",
    "anacron",
    "fcron",
    "atd",
    "sshd",
    "sshd-session",
    "supervisord",
    "circusd",
    "monit",
    "runsvdir",
    "s6-svscan",
    "slurmd",
    "slurmstepd",
];

/// The name of the daemon that this process is, if it is one that starts what many people ask it for.
pub fn daemon(seen: &Seen) -> Option<&'static str> {
    // Those in Python are the script that the interpreter runs. `sshd: somebody@pts/0` is a title.
    let words = seen.argv.iter().take(2).filter_map(|word| word.split(": ").next()).map(Path::new);
    let names = words.chain([seen.executable.as_path()]).filter_map(Path::file_name);
    let names: Vec<_> = names.map(|name| name.to_string_lossy().to_lowercase()).collect();
    DAEMONS.into_iter().find(|known| names.iter().any(|name| name == known))
}

/// The program of the embedded engine, which rehearsals and tests run.
const EMBEDDED: &str = "awqdeploy";

/// Whether this process executes Python: only that is a server, rather than what started one.
pub(crate) fn is_interpreter(seen: &Seen) -> bool {
    ["python", "pypy", EMBEDDED].iter().any(|known| executes(seen, known))
}

fn executes(seen: &Seen, program: &str) -> bool {
    seen.executable.file_name().is_some_and(|name| name.to_string_lossy().starts_with(program))
}

/// One process among those of a unit.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The number of the process.
    pub pid: i32,
    /// That of what started it.
    pub parent: i32,
    /// The facts that can be seen of it.
    pub seen: &'a Seen,
}

/// Those among processes that neither led to this one nor came of it: other work, which ends with their unit.
pub fn beside<'a>(members: &[Member<'a>], server: i32) -> Vec<Member<'a>> {
    let above: Vec<i32> = ancestry(members, server).collect();
    let apart = |one: &&Member<'_>| {
        one.pid != server && !above.contains(&one.pid) && !ancestry(members, one.pid).any(|pid| pid == server)
    };
    members.iter().filter(apart).copied().collect()
}

/// The ancestors of a process among these, nearest first.
pub(crate) fn ancestry(members: &[Member<'_>], pid: i32) -> impl Iterator<Item = i32> {
    let parent_of = move |pid: i32| members.iter().find(|one| one.pid == pid).map(|one| one.parent);
    std::iter::successors(parent_of(pid), move |pid| parent_of(*pid)).take(members.len())
}

/// The servers among processes: Python with the words of one. Of a server and what started it with the words of one, such
/// as a launcher, the server; of its own copies the first.
pub fn servers<'a>(members: &[Member<'a>]) -> Vec<Member<'a>> {
    let mut all: Vec<_> = members
        .iter()
        .filter(|one| is_interpreter(one.seen) && super::command_line::serves(&one.seen.argv))
        .copied()
        .collect();
    // Where Python serves, the embedded engine only answers for it.
    if all.iter().any(|one| !executes(one.seen, EMBEDDED)) {
        all.retain(|one| !executes(one.seen, EMBEDDED));
    }
    let launches = |one: &Member<'_>| {
        let comes_of_it = |other: &Member<'_>| ancestry(members, other.pid).any(|pid| pid == one.pid);
        all.iter().any(|other| other.seen.argv != one.seen.argv && comes_of_it(other))
    };
    let mut found: Vec<Member<'a>> = Vec::new();
    for one in all.iter().filter(|one| !launches(one)) {
        if !found.iter().any(|known| known.seen.argv == one.seen.argv) {
            found.push(*one);
        }
    }
    found
}
