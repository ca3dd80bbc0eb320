//! Measures the copy and read rates of GPUs, with the torch of a runtime: this program has no CUDA of its
//! own.

use super::isolated::{self, Question};
use crate::domain::{
    machine::facts::MeasuredRates,
    problem::{Kind, Problem},
    profile::{Device, Listen, secrets::Secrets},
    service::sandbox::Service,
    store::layout::Layout,
    vllm::serve::Serve,
};
use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

const SCRIPT: &str = include_str!("probe-link.py");
/// The mark before the answer.
const MARK: &str = "awqdeploy-answer ";
/// The longest wait. Importing torch and vLLM takes most of it; the measuring is a second for each GPU.
const PATIENCE: Duration = Duration::from_mins(3);

/// The rates of each GPU, in the driver's order, as this Python's torch measures them. It runs as a service
/// would.
pub fn rates(python: &str, layout: &Layout) -> Result<Vec<MeasuredRates>, Problem> {
    // CUDA would put the fastest first.
    let order = ("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
    let serve = Serve {
        argv: vec![python.to_owned()],
        env: BTreeMap::from([order]),
        listen: Listen { host: Ipv4Addr::LOCALHOST.into(), port: 0 },
    };
    let service = Service {
        name: "the GPUs",
        device: Device::Cuda,
        memory_max: None,
        serve: &serve,
        secrets: &Secrets::default(),
        model: Path::new(""),
        layout,
    };
    let question = Question { name: "probe-link.py", script: SCRIPT, patience: PATIENCE };
    let unprobed = || {
        Problem::new(Kind::Unexpected, "the GPUs could not be probed")
            .help("free 1 GiB on each, or name a Python that has a torch for CUDA: `--probe PYTHON`")
    };
    let ended = isolated::ask(&service, python, &question, &[])?;
    let ended = ended.ok_or_else(|| unprobed().because(format!("it took over {} s", PATIENCE.as_secs())))?;
    let said = ended.success().map_err(|problem| unprobed().because(problem))?;
    let line = said.lines().find_map(|line| line.strip_prefix(MARK)).unwrap_or_default();
    serde_json::from_str(line).map_err(|e| Problem::doing("read the probe's answer", e))
}
