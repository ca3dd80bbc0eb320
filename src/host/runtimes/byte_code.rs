//! Byte code of what was installed: compiled by an interpreter that runs nothing of it.
//!
//! Whoever deploys is root, and what a wheel brings is somebody else's. A wheel's `.pth` runs in whatever starts the
//! environment's own Python, as `uv pip install --compile-bytecode` does. So the interpreter behind the environment
//! compiles (`-I`), and looks at no `site-packages` (`-S`).

use super::uv::shown;
use crate::{domain::problem::Problem, host::process::exec};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// How long the compilation of an environment may take. vLLM and what it needs have 20,000 modules: a minute on two cores.
const PATIENCE: Duration = Duration::from_mins(30);
/// What stays the same. Nothing looks at times to trust byte code (the whole is verified), what a wheel brings compiled
/// is compiled anew, and the folder that it was staged in does not show.
const COMPILE: [&str; 12] = [
    "-I",
    "-S",
    "-W",
    "ignore",
    "-m",
    "compileall",
    "-qq",
    "-f",
    "-j",
    "0",
    "--invalidation-mode",
    "unchecked-hash",
];

/// Compiles every module below a folder, which is left out of the names in the byte code. A module that is no Python has
/// none: there are wheels that bring such files, and Python itself has them among its tests.
///
/// # Errors
/// Where the interpreter does not run, or not to its end.
pub(super) fn compile(python: &Path, folder: &Path) -> Result<(), Problem> {
    let (python, folder) = (shown(python), shown(folder));
    let arguments = [&COMPILE[..], &["-s", &folder, &folder]].concat();
    let ended = exec::run_bare_within(PATIENCE, &python, &arguments, &BTreeMap::new())?;
    let Some(ended) = ended else {
        let late = format!("it took over {} min", PATIENCE.as_secs() / 60);
        return Err(Problem::doing(format_args!("compile what is in `{folder}`"), late));
    };
    // Of a module that does not compile only the status tells, which is 1. So is that of a Python that breaks off, and
    // then it says why.
    if ended.status.code() == Some(1) && ended.stderr.trim().is_empty() {
        return Ok(());
    }
    ended.success().map(drop)
}
