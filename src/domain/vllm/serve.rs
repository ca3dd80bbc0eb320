//! The engine's command line, environment and address.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// The address of the OpenAI-compatible API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listen {
    /// `--host`.
    pub host: IpAddr,
    /// `--port`.
    pub port: u16,
}

impl Listen {
    /// `host:port` as a URL writes it, with brackets around IPv6.
    pub fn authority(self) -> String {
        SocketAddr::new(self.host, self.port).to_string()
    }

    /// Whether sockets at these two addresses would collide. An unspecified address is every address, and
    /// `::` takes IPv4 with it unless the host is set up otherwise.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.port == other.port
            && (self.host == other.host || self.host.is_unspecified() || other.host.is_unspecified())
    }
}

/// The engine's command line, environment and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside those that the unit sets.
    pub env: BTreeMap<String, String>,
    /// The address of the API.
    pub listen: Listen,
}
