//! The text of systemd units. Works with systemd 252 and later.
//!
//! The sandbox was tried with a real vLLM under a real systemd; what looks as if it could be
//! tightened further is commented in the text where it was seen to break vLLM.

use super::{
    flags,
    layout::Layout,
    plan::{Plan, Serve},
    profile::{Device, Listen},
    size::Bytes,
};
use std::{fmt::Write as _, net::IpAddr, path::Path};

/// Loads `nvidia-uvm` before any unit that may use GPUs starts.
pub const GPU_READY: &str = "awqdeploy-gpu-ready.service";

/// How every unit of awqdeploy begins.
const HEAD: &str = "# Made by awqdeploy";

/// Whether a unit's text is awqdeploy's to replace.
pub fn is_ours(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// The unit that finishes or undoes an interrupted activation of a service at boot, before it starts.
pub fn recover_name(service: &str) -> String {
    format!("awqdeploy-recover-{service}.service")
}

/// Whose service manager a unit is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The host's.
    #[default]
    System,
    /// That of the user who calls: `systemctl --user`.
    User,
}

/// One unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// With its suffix: `vllm.service`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Every unit that a plan needs: the service, its recovery at boot, and what it requires.
pub fn all(plan: &Plan, layout: &Layout) -> Vec<Unit> {
    let unit = |name: &str, text: String| Unit { name: name.to_owned(), text };
    let mut units = vec![
        unit(&format!("{}.service", plan.service), plan.unit.clone()),
        unit(&recover_name(&plan.service), recover(layout, &plan.service)),
    ];
    if plan.unit.contains(GPU_READY) {
        units.push(unit(GPU_READY, gpu_ready()));
    }
    units
}

/// What a service's unit is made of.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Its name without suffix.
    pub name: &'a str,
    /// What it computes on.
    pub device: Device,
    /// RAM it may use, pinned memory included. `None`: no limit.
    pub memory_max: Option<Bytes>,
    /// What it runs.
    pub serve: &'a Serve,
    /// The model's folder.
    pub model: &'a Path,
    /// Where everything lies.
    pub layout: &'a Layout,
}

/// The unit that supervises vLLM. It starts whatever generation is current; its first lines show what
/// the generation that it was made for runs.
pub fn service(service: &Service<'_>) -> String {
    [
        head(service),
        run(service),
        resources(service),
        SANDBOX.to_owned(),
        network(service.serve.listen),
        "\n[Install]\nWantedBy=multi-user.target\n".to_owned(),
    ]
    .concat()
}

/// The unit that finishes or undoes an interrupted activation of this service at boot. It is pulled
/// in by the boot and not by the service: a restart in the middle of an activation must not undo
/// it.
pub fn recover(layout: &Layout, service: &str) -> String {
    let root = layout.root();
    format!(
        "{HEAD}.
[Unit]
Description=Finish or undo an interrupted awqdeploy activation
DefaultDependencies=no
RequiresMountsFor={mounts}
After=local-fs.target
Before={service}.service
ConditionPathExists={condition}

[Service]
Type=oneshot
ExecStart={binary} --root {root} recover --boot

[Install]
WantedBy=multi-user.target
",
        mounts = path(root),
        condition = specifiers(&root.display().to_string()),
        service = specifiers(service),
        binary = path(&layout.binary()),
        root = command_word(&root.display().to_string()),
    )
}

/// The unit that makes the GPUs' device nodes. systemd fixes the list of allowed devices before a
/// service's own commands run, so this cannot be an `ExecStartPre=`. A missing `nvidia-modprobe` is
/// no failure where the module is there already.
pub fn gpu_ready() -> String {
    "# Made by awqdeploy.
[Unit]
Description=Load nvidia-uvm and create GPU device nodes
After=systemd-modules-load.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/bin/env nvidia-modprobe -u -c 0
ExecStart=/bin/sh -c 'grep -q nvidia-uvm /proc/devices'

[Install]
WantedBy=multi-user.target
"
    .to_owned()
}

fn head(service: &Service<'_>) -> String {
    let Service { layout, serve, .. } = service;
    let root = layout.root();
    let current = layout.current().join("generation.json");
    let recover = recover_name(service.name);
    let mut after = vec!["network.target", &recover];
    let mut needs = String::new();
    if service.device == Device::Cuda {
        after.push(GPU_READY);
        let _ = writeln!(needs, "Requires={GPU_READY}");
    }
    let host = serve.listen.host;
    if !host.is_loopback() && !host.is_unspecified() {
        // An address of its own must be there before it can be bound.
        after.push("network-online.target");
        needs.push_str("Wants=network-online.target\n");
    }
    format!(
        "{HEAD}; changes are lost with the next deployment. The generation that it starts runs:
#
{argv}
[Unit]
Description=vLLM OpenAI-compatible server ({name}, awqdeploy)
Documentation=https://docs.vllm.ai/
{needs}After={after}
RequiresMountsFor={mounts}
# Assert, not Condition: a failed Condition makes the start job succeed.
AssertPathExists={assert}
StartLimitIntervalSec=1h
StartLimitBurst=5
",
        argv = commented(&serve.argv),
        name = specifiers(service.name),
        after = after.join(" "),
        mounts = path(root),
        assert = specifiers(&current.display().to_string()),
    )
}

fn run(service: &Service<'_>) -> String {
    let Service { layout, serve, .. } = service;
    let root = layout.root();
    let binary = layout.current().join("awqdeploy");
    let mut binds = vec![path(root)];
    // Seen even where the sandbox hides their surroundings (/home, /root, /tmp). The runtime is
    // bound as a whole.
    let runtime = serve.argv.first().map(Path::new).and_then(Path::parent).and_then(Path::parent);
    for outside in [Some(service.model), runtime].into_iter().flatten() {
        let system = ["/", "/usr", "/usr/local"].iter().any(|system| outside == Path::new(system));
        if outside.is_absolute() && !outside.starts_with(root) && !system {
            binds.push(path(outside));
        }
    }
    binds.dedup();
    let name = specifiers(&format!("awqdeploy-{}", service.name));
    format!(
        "
[Service]
Type=notify
NotifyAccess=main
ExecStart={binary} --root {root} supervise
DynamicUser=yes
StateDirectory={name}
StateDirectoryMode=0700
CacheDirectory={name}
CacheDirectoryMode=0700
WorkingDirectory=%S/{name}
BindReadOnlyPaths={binds}
Environment=HOME=%S/{name}
# Compiled kernels: they decide how long a restart takes.
Environment=VLLM_CACHE_ROOT=%C/{name}/vllm TORCHINDUCTOR_CACHE_DIR=%C/{name}/inductor
Environment=TRITON_CACHE_DIR=%C/{name}/triton CUDA_CACHE_PATH=%C/{name}/cuda

# The supervisor extends the start while vLLM loads, says READY after the first verified completion, and then
# tells every ten seconds that the engine is healthy.
TimeoutStartSec=3min
WatchdogSec=2min
TimeoutStopSec={stop}
# The supervisor gets the signal; what is left of vLLM at the end is killed with the group.
KillMode=mixed
# vLLM leaves with status 0 when its engine died.
Restart=always
RestartSec=10s
",
        binary = path(&binary),
        root = command_word(&root.display().to_string()),
        binds = binds.join(" "),
        stop = stop_timeout(&serve.argv),
    )
}

/// Longer than vLLM drains its requests where it was told to.
fn stop_timeout(argv: &[String]) -> u64 {
    let drain = flags::arguments(argv)
        .into_iter()
        .rfind(|argument| argument.name == "--shutdown-timeout")
        .and_then(|argument| argument.value?.parse::<u64>().ok());
    90.max(drain.unwrap_or(0).saturating_add(30))
}

fn resources(service: &Service<'_>) -> String {
    let memory = service.memory_max.map_or(String::new(), |limit| {
        format!("# Pinned memory counts; swap does not help it.\nMemoryMax={}\nMemorySwapMax=0\n", limit.0)
    });
    let devices = match service.device {
        Device::Cuda => "DeviceAllow=char-nvidia* rw\n",
        Device::Cpu => "",
    };
    format!(
        "
{memory}OOMPolicy=kill
OOMScoreAdjust=500
TasksMax=8192
LimitMEMLOCK=infinity
LimitNOFILE=65536
LimitCORE=0

# PrivateDevices= would hide CUDA.
DevicePolicy=closed
{devices}"
    )
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
SystemCallArchitectures=native
# libzmq needs @resources.
SystemCallFilter=@system-service @resources
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Kernels are compiled while it runs.
MemoryDenyWriteExecute=no
";

/// On a loopback address nobody from outside is let in, and vLLM reaches nobody. Beyond it the
/// clients' addresses are not known here, and a filter would stop them silently: there the host's
/// firewall decides who may come.
fn network(listen: Listen) -> String {
    let v6 = match listen.host {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => " AF_INET6",
    };
    let filter = if listen.host.is_loopback() {
        "IPAddressDeny=any\nIPAddressAllow=localhost\n"
    } else {
        "# It listens beyond this host: the firewall decides who may come. To narrow it here, add a\n\
         # drop-in with IPAddressDeny=any, IPAddressAllow=localhost and the clients' networks.\n"
    };
    format!(
        "\n# Gloo needs AF_NETLINK, ZeroMQ AF_UNIX.\nRestrictAddressFamilies=AF_UNIX AF_INET{v6} AF_NETLINK\n{filter}"
    )
}

/// An argument list as comment lines: the program and what follows it, then one flag with its
/// values a line.
fn commented(argv: &[String]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut secret = false;
    for argument in argv {
        let starts_line = flags::is_flag(argument);
        let (shown, next_is_secret) = match argument.split_once('=') {
            Some((flag, _)) if is_secret(flag) => (format!("{flag}=…"), false),
            _ if secret && !starts_line => ("…".to_owned(), true),
            _ => (shown(argument), is_secret(argument)),
        };
        secret = next_is_secret;
        match lines.last_mut() {
            Some(line) if !starts_line => {
                line.push(' ');
                line.push_str(&shown);
            }
            Some(_) => lines.push(format!("    {shown}")),
            None => lines.push(shown),
        }
    }
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "#   {line}");
        text
    })
}

/// Units can be read by everybody.
fn is_secret(flag: &str) -> bool {
    matches!(flag.replace('_', "-").as_str(), "--api-key" | "--hf-token")
}

/// An argument as a shell would take it, on one line whatever it holds.
fn shown(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.escape_default().to_string().replace("\\\"", "\"").replace("\\'", "'\\''"))
    }
}

/// `%` begins a specifier everywhere in a unit.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word of a list of paths, or the path of a program. Inside quotes, `:` separates nothing.
/// systemd takes no program whose path has quotes in it: such a root is refused when the unit is
/// loaded.
fn path(path: &Path) -> String {
    quoted(&specifiers(&path.display().to_string()))
}

/// An argument of a command line, where `$` begins a variable too (in the program's own path it
/// does not).
fn command_word(text: &str) -> String {
    quoted(&specifiers(text).replace('$', "$$"))
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./%$@+,=".contains(c) || !c.is_ascii();
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}
