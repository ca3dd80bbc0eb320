//! The needs of a generation beside the store. A host that has lost one of them has lost the rollback target.

use super::LockedRuntime;
use crate::domain::{lockfile::interpreter::Interpreter, profile::Device};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "need")]
pub enum Need {
    /// A C library of at least this version: that of the wheels' platform.
    Glibc {
        /// `2.31`.
        least: String,
    },
    /// A C compiler on the service's path: kernels are compiled while vLLM runs.
    Compiler,
    /// The headers of the host's Python, which those kernels are compiled against.
    PythonHeaders {
        /// `3.12`.
        version: String,
    },
    /// The NVIDIA driver, with the libraries that belong to it.
    Driver,
}

/// The needs of a runtime that awqdeploy installs from this lock. What Nix builds brings all but the driver.
pub fn of_wheels(lock: &LockedRuntime, python: &Interpreter) -> Vec<Need> {
    let glibc = lock.platform.split_once("manylinux_").map(|(_, version)| version.replace('_', "."));
    let cuda = lock.device == Device::Cuda;
    let headers = match python {
        Interpreter::System { version, .. } if cuda => Some(Need::PythonHeaders { version: version.clone() }),
        // A locked one brings its own.
        Interpreter::System { .. } | Interpreter::Locked(_) => None,
    };
    let glibc = glibc.map(|least| Need::Glibc { least });
    glibc.into_iter().chain([Need::Compiler]).chain(headers).chain(driver(lock.device)).collect()
}

/// The needs of any runtime for this device.
pub(crate) fn driver(device: Device) -> Option<Need> {
    (device == Device::Cuda).then_some(Need::Driver)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glibc { least } => write!(f, "glibc {least} or newer"),
            Self::Compiler => f.write_str("a C compiler"),
            Self::PythonHeaders { version } => write!(f, "the headers of Python {version}"),
            Self::Driver => f.write_str("the NVIDIA driver"),
        }
    }
}
