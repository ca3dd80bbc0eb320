//! Checks whether this host has what a generation needs.

use crate::{
    domain::{
        lockfile::needs::Need,
        problem::{Kind, Problem},
        vllm::version::Version,
    },
    host::process::exec,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// The folders of programs for a service without a path of its own.
const PROGRAMS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
const COMPILERS: [&str; 3] = ["cc", "gcc", "clang"];
/// How long `getconf` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A problem with the first of these that this host lacks. A compiler that the engine's `environment` names
/// counts. The driver is checked with the GPUs.
///
/// # Errors
/// [`Kind::Refused`] that names it.
pub fn verify(needs: &[Need], environment: &BTreeMap<String, String>) -> Result<(), Problem> {
    match needs.iter().find(|need| !is_met(need, environment)) {
        None => Ok(()),
        Some(need) => Err(Problem::new(Kind::Refused, format!("it needs {need}, and this host has none"))
            .help("bring the host back to what it was")),
    }
}

fn is_met(need: &Need, environment: &BTreeMap<String, String>) -> bool {
    match need {
        Need::Glibc { least } => {
            glibc().is_none_or(|found| Version::of(least).is_none_or(|least| found >= least))
        }
        Need::Compiler => {
            let named = environment.get("CC").map(String::as_str);
            let path = environment.get("PATH").map(|path| path.split(':').collect());
            let folders: Vec<&str> = path.unwrap_or_else(|| PROGRAMS.to_vec());
            let there = |name: &str| folders.iter().any(|folder| Path::new(folder).join(name).exists());
            named.map_or_else(|| COMPILERS.iter().any(|name| there(name)), there)
        }
        Need::PythonHeaders { version } => ["/usr", "/usr/local"]
            .iter()
            .any(|prefix| Path::new(prefix).join(format!("include/python{version}/Python.h")).exists()),
        Need::Driver => true,
    }
}

/// The version of the C library. Nothing where the host does not tell.
fn glibc() -> Option<Version> {
    let asked = exec::run_within(PATIENCE, "getconf", &["GNU_LIBC_VERSION"], &BTreeMap::new());
    let said = asked.ok()??.success().ok()?;
    Version::of(said.trim().strip_prefix("glibc ")?)
}
