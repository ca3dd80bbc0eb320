//! Compiles the byte code of a runtime with an interpreter that runs nothing of it.
//!
//! Deployments run as root, and wheels are somebody else's code. A wheel's `.pth` runs whenever the
//! environment's own Python starts, as under `uv pip install --compile-bytecode`. So the interpreter behind
//! the environment compiles (`-I`), and looks at no `site-packages` (`-S`).

use super::uv::shown;
use crate::{domain::problem::Problem, host::process::exec};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// How long the compilation of an environment may take. vLLM and what it needs have 20,000 modules: a minute on two cores.
const PATIENCE: Duration = Duration::from_mins(30);
/// The fixed arguments. Nothing trusts byte code by its time (the whole is verified), what a wheel brings
/// compiled is compiled anew, and the staging folder does not show.
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

/// Compiles every module below a folder, which is left out of the names in the byte code. A module that is no
/// valid Python gets none: some wheels bring such files, and Python itself has them among its tests.
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
    // A module that does not compile shows only in the status, which is 1. A Python that breaks off has the
    // same status, and then says why.
    if ended.status.code() == Some(1) && ended.stderr.trim().is_empty() {
        return Ok(());
    }
    ended.success().map(drop)
}
