//! Measures what GPUs copy and read, with the torch of a runtime: this program has no CUDA of its own.

use super::{exec, fs};
use crate::domain::{
    facts::MeasuredRates,
    problem::{Kind, Problem},
};
use std::{collections::BTreeMap, time::Duration};

const SCRIPT: &str = include_str!("probe-link.py");
/// What begins the line of the answer.
const MARK: &str = "awqdeploy-answer ";
/// Importing torch and vLLM takes most of it; the measuring is a second for each GPU.
const PATIENCE: Duration = Duration::from_mins(3);

/// What this Python's torch measures of each GPU, in the driver's order.
pub fn rates(python: &str) -> Result<Vec<MeasuredRates>, Problem> {
    let folder = tempfile::tempdir().map_err(|e| Problem::doing("make a folder for the probe", e))?;
    let script = folder.path().join("probe-link.py");
    fs::write_new(&script, SCRIPT)?;
    // CUDA would put the fastest first.
    let order = ("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
    let unprobed = || {
        Problem::new(Kind::Unexpected, "the GPUs could not be probed")
            .help("free 1 GiB on each, or name a Python that has a torch for CUDA: `--probe PYTHON`")
    };
    // The runtime is held against what was installed: nothing may be added to it.
    let clean = ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    let ended = exec::run_within(PATIENCE, python, &[&script], &BTreeMap::from([order, clean]))?;
    let ended = ended.ok_or_else(|| unprobed().because(format!("it took over {} s", PATIENCE.as_secs())))?;
    let said = ended.success().map_err(|problem| unprobed().because(problem))?;
    let line = said.lines().find_map(|line| line.strip_prefix(MARK)).unwrap_or_default();
    serde_json::from_str(line).map_err(|e| Problem::doing("read the probe's answer", e))
}
