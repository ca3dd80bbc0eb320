//! The sandbox of a service.

use crate::domain::{
    profile::{Device, Listen, secrets::Secrets},
    size::ByteSize,
    store::layout::{Layout, Scope},
    vllm::serve::Serve,
};
use std::{net::IpAddr, path::Path};

/// Folders that the system's sandbox hides: `ProtectHome=`, `PrivateTmp=`.
const HIDDEN: [&str; 3] = ["/root", "/home", "/tmp"];

/// Whether a service of this manager cannot see this path. A user's manager hides nothing.
pub(crate) fn hides(scope: Scope, path: &Path) -> bool {
    scope == Scope::System && HIDDEN.iter().any(|hidden| path.starts_with(hidden))
}

/// The end of the service's section: limits, devices, and restrictions.
pub(crate) fn enclosure(service: &Service<'_>) -> String {
    let listen = service.serve.listen;
    match service.layout.scope() {
        Scope::System => [
            limits(service),
            devices(service.device),
            SANDBOX.to_owned(),
            SYSTEM_CALLS.to_owned(),
            families(listen),
            filter(listen),
        ]
        .concat(),
        Scope::User => {
            [limits(service), WITHOUT_PRIVILEGE.to_owned(), SYSTEM_CALLS.to_owned(), families(listen)]
                .concat()
        }
    }
}

fn limits(service: &Service<'_>) -> String {
    let memory = service.memory_max.map_or(String::new(), |limit| {
        format!("# Pinned memory counts; swap does not help it.\nMemoryMax={}\nMemorySwapMax=0\n", limit.0)
    });
    format!(
        "
{memory}OOMPolicy=kill
OOMScoreAdjust=500
TasksMax=8192
LimitMEMLOCK=infinity
LimitNOFILE=65536
LimitCORE=0
"
    )
}

fn devices(device: Device) -> String {
    let allowed = match device {
        Device::Cuda => "DeviceAllow=char-nvidia* rw\n",
        Device::Cpu => "",
    };
    format!("\n# PrivateDevices= would hide CUDA.\nDevicePolicy=closed\n{allowed}")
}

fn families(listen: Listen) -> String {
    let v6 = match listen.host {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => " AF_INET6",
    };
    format!(
        "\n# Gloo needs AF_NETLINK, ZeroMQ AF_UNIX.\nRestrictAddressFamilies=AF_UNIX AF_INET{v6} AF_NETLINK\n"
    )
}

/// The filter of addresses. On a loopback address nobody from outside is let in, and vLLM reaches nobody.
/// Beyond it the clients' addresses are not known here, and a filter would stop them silently: there the
/// host's firewall decides.
fn filter(listen: Listen) -> String {
    let filter = if listen.host.is_loopback() {
        "IPAddressDeny=any\nIPAddressAllow=localhost\n"
    } else {
        "# It listens beyond this host: the firewall decides who may come. To narrow it here, add a\n\
         # drop-in with IPAddressDeny=any, IPAddressAllow=localhost and the clients' networks.\n"
    };
    filter.to_owned()
}

const SANDBOX: &str = "
ProtectSystem=strict
# Not `yes`: below that no bind mount can be reached.
ProtectHome=tmpfs
PrivateTmp=yes
PrivateMounts=yes
UMask=0077
ProtectProc=invisible
# vLLM reads /proc/meminfo, the driver /proc/driver.
ProcSubset=all
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
PrivateIPC=yes
RemoveIPC=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
KeyringMode=private
";

/// The restrictions that systemd can apply to a process without being root.
const WITHOUT_PRIVILEGE: &str = "
# A user's own service manager may not hide files, devices, networks or other users: all that is in the
# system's unit (ProtectSystem=, PrivateTmp=, DeviceAllow=, IPAddressDeny=, DynamicUser= and the like) is left out.
UMask=0077
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
";

/// The system calls that are allowed, whoever manages the service.
const SYSTEM_CALLS: &str = "\
SystemCallArchitectures=native
# libzmq needs @resources.
SystemCallFilter=@system-service @resources
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Kernels are compiled while it runs.
MemoryDenyWriteExecute=no
";

/// The inputs of a service's unit.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// The name without suffix.
    pub name: &'a str,
    /// The device that it computes on.
    pub device: Device,
    /// RAM it may use, pinned memory included. `None`: no limit.
    pub memory_max: Option<ByteSize>,
    /// The command line, environment and address.
    pub serve: &'a Serve,
    /// The secrets of the engine.
    pub secrets: &'a Secrets,
    /// The model's folder.
    pub model: &'a Path,
    /// The places below the root.
    pub layout: &'a Layout,
}
