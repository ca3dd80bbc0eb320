//! Which of a unit's processes is the server, and which only leads to one in a container.

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
    let parent_of = |pid: i32| members.iter().find(|one| one.pid == pid).map(|one| one.parent);
    let above = |pid: i32| std::iter::successors(parent_of(pid), |pid| parent_of(*pid)).take(members.len());
    let launches = |one: &Member<'_>| {
        all.iter().any(|other| other.seen.argv != one.seen.argv && above(other.pid).any(|pid| pid == one.pid))
    };
    let mut found: Vec<Member<'a>> = Vec::new();
    for one in all.iter().filter(|one| !launches(one)) {
        if !found.iter().any(|known| known.seen.argv == one.seen.argv) {
            found.push(*one);
        }
    }
    found
}
