//! Finds the generation that a service's process was started as.

use crate::domain::{activation::running::Runs, generation_id::GenerationId, store::layout::Layout};
use std::path::Path;

/// What the kernel adds to the name of a program whose file is gone.
const GONE: &str = " (deleted)";

/// The generation of a process, by the program that it runs. Each generation has its own, and `current` is
/// resolved at the start.
pub(crate) fn of_process(pid: u32, layout: &Layout) -> Runs {
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    let generations = std::fs::canonicalize(layout.generations());
    let generation =
        program.ok().zip(generations.ok()).and_then(|(program, root)| of_program(&program, &root));
    generation.map_or(Runs::Unknown, Runs::Generation)
}

fn of_program(program: &Path, generations: &Path) -> Option<GenerationId> {
    let inside = program.strip_prefix(generations).ok()?.to_str()?;
    let (number, program) = inside.strip_suffix(GONE).unwrap_or(inside).split_once('/')?;
    (program == "awqdeploy").then(|| number.parse().ok().map(GenerationId)).flatten()
}
