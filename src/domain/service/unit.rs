//! The text of systemd units. Works with systemd 252 and later.
//!
//! The sandbox was tried with a real vLLM under a real systemd; a comment in the text names what broke vLLM.

pub(crate) use super::sandbox::hides;

use super::sandbox::Service;
use crate::domain::{
    digest::Sha256Digest,
    profile::{Device, secrets::Secrets},
    store::layout::{Layout, Scope},
    vllm::{arguments::Arguments, flags},
};
use std::{fmt::Write as _, path::Path};

/// Loads `nvidia-uvm` before any unit that may use GPUs starts.
pub const GPU_READY: &str = "awqdeploy-gpu-ready.service";

/// The first line of every unit of awqdeploy.
const HEAD: &str = "# Made by awqdeploy";

/// Whether a unit's text is awqdeploy's to replace.
pub(crate) fn is_ours(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// The unit that finishes or undoes an interrupted activation of a service at boot, before it starts.
pub fn recover_name(service: &str) -> String {
    format!("awqdeploy-recover-{service}.service")
}

/// The transient unit that carries out an activation of a service, without its suffix.
pub(crate) fn activation_name(service: &str, activation: u64) -> String {
    format!("awqdeploy-activation-{service}-{activation}")
}

/// The transient unit that rolls back a generation of a service that failed too often.
pub(crate) fn fallback_name(service: &str) -> String {
    format!("awqdeploy-fallback-{service}.service")
}

/// The command of an activation's unit that does the rest where its process died.
pub(crate) fn activation_rest(program: &Path, layout: &Layout, activation: u64) -> String {
    let (program, root) = (path(program), command_word(&layout.root().display().to_string()));
    let option = option(layout.scope());
    format!("{program}{option} --root {root} --progress plain activate {activation} --rest")
}

/// The option that tells a program which manager starts it.
fn option(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "",
        Scope::User => " --user",
    }
}

/// One unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name with its suffix: `vllm.service`.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// The digest of a text of somebody else's that this one may replace: that of a unit that was adopted.
    pub replaces: Option<Sha256Digest>,
}

/// The unit that supervises vLLM. It starts whatever generation is current; its first lines show what
/// the generation that it was made for runs.
pub fn service(service: &Service<'_>) -> String {
    [
        head(service),
        run(service),
        credentials(service.secrets),
        super::sandbox::enclosure(service),
        install(service),
    ]
    .concat()
}

/// The units that start the service: its manager's target, and the unit that makes the GPUs ready, however
/// late.
fn install(service: &Service<'_>) -> String {
    let target = target(service.layout.scope());
    let late = if needs_gpu_ready(service) { format!(" {GPU_READY}") } else { String::new() };
    format!("\n[Install]\nWantedBy={target}{late}\n")
}

/// Whether the service needs [`GPU_READY`]. A user's manager loads no kernel modules.
fn needs_gpu_ready(service: &Service<'_>) -> bool {
    service.layout.scope() == Scope::System && service.device == Device::Cuda
}

/// The target that pulls units in when its manager starts.
fn target(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "multi-user.target",
        Scope::User => "default.target",
    }
}

/// The unit that finishes or undoes an interrupted activation of this service at boot. The boot pulls it in
/// and not the service, so that a restart in the middle of an activation does not undo it.
pub fn recover(layout: &Layout, service: &str) -> String {
    let root = layout.root();
    // A user's manager starts when all that is mounted at boot is there.
    let after = match layout.scope() {
        Scope::System => "After=local-fs.target\n",
        Scope::User => "",
    };
    format!(
        "{HEAD}.
[Unit]
Description=Finish or undo an interrupted awqdeploy activation
DefaultDependencies=no
RequiresMountsFor={mounts}
{after}Before={service}.service
ConditionPathExists={condition}

[Service]
Type=oneshot
ExecStart={binary}{option} --root {root} recover --boot
Restart=on-failure
RestartSec=1s

[Install]
WantedBy={target}
",
        mounts = path(root),
        target = target(layout.scope()),
        option = option(layout.scope()),
        condition = specifiers(&root.display().to_string()),
        service = specifiers(service),
        binary = path(&layout.binary()),
        root = command_word(&root.display().to_string()),
    )
}

/// The tries to find the driver in one run of [`gpu_ready`], [`GPU_PAUSE`] seconds apart: boot waits for a
/// minute.
const GPU_TRIES: u32 = 30;
const GPU_PAUSE: u32 = 2;

/// The unit that makes the GPUs' device nodes. systemd fixes the list of allowed devices before a
/// service's own commands run, so this cannot be an `ExecStartPre=`. A missing `nvidia-modprobe` is
/// no failure where the module is there already.
///
/// A driver may come late, built or loaded after boot. Boot waits for a minute; then this goes on by itself, and each of its
/// starts pulls in the services that it is wanted to start (`WantedBy=` in theirs).
pub fn gpu_ready() -> String {
    format!(
        r#"{HEAD}.
[Unit]
Description=Load nvidia-uvm and create GPU device nodes
After=systemd-modules-load.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'tries=0; \
  until {{ nvidia-modprobe -u -c 0 || modprobe nvidia-uvm; }} 2> /dev/null; grep -q nvidia-uvm /proc/devices; do \
    tries=$$((tries + 1)); \
    [ $$tries -lt {GPU_TRIES} ] || {{ echo "nvidia-uvm is not there: is the NVIDIA driver loaded? lsmod, dmesg" >&2; exit 1; }}; \
    sleep {GPU_PAUSE}; \
  done; \
  for gpu in /proc/driver/nvidia/gpus/*/information; do \
    minor=$$(sed -n "s/^Device Minor:[^0-9]*//p" "$$gpu" 2> /dev/null); \
    [ -z "$$minor" ] || nvidia-modprobe -c "$$minor" 2> /dev/null || true; \
  done'
Restart=on-failure
RestartSec=15s

[Install]
WantedBy=multi-user.target
"#
    )
}

fn head(service: &Service<'_>) -> String {
    let Service { layout, serve, .. } = service;
    let root = layout.root();
    let current = layout.current().join("generation.json");
    let recover = recover_name(service.name);
    let mut after = vec![&*recover];
    let mut needs = String::new();
    let of_the_system = layout.scope() == Scope::System;
    if of_the_system {
        after.insert(0, "network.target");
    }
    if needs_gpu_ready(service) {
        after.push(GPU_READY);
        let _ = writeln!(needs, "Requires={GPU_READY}");
    }
    let host = serve.listen.host;
    if of_the_system && !host.is_loopback() && !host.is_unspecified() {
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
    let name = specifiers(&format!("awqdeploy-{}", service.name));
    let (user, seen) = (user(layout.scope()), seen(service));
    format!(
        "
[Service]
Type=notify
NotifyAccess=main
# As root: failures in a row are counted where neither the engine nor a crash of the host can lose them, and after
# five what was proven before serves again.
ExecStartPre=+{binary}{option} --root {root} tally begun
ExecStart={binary} --root {root} supervise
ExecStopPost=-+{binary}{option} --root {root} tally ended
{user}StateDirectory={name}
StateDirectoryMode=0700
CacheDirectory={name}
CacheDirectoryMode=0700
WorkingDirectory=%S/{name}
{seen}Environment=HOME=%S/{name}
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
        option = option(layout.scope()),
        root = command_word(&root.display().to_string()),
        stop = stop_timeout(&serve.argv),
    )
}

/// The user that a service of the system gets.
fn user(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "DynamicUser=yes\n",
        Scope::User => "",
    }
}

/// The paths that a service sees even where the sandbox hides what is around them (/home, /root, /tmp). The
/// runtime is bound as a whole.
fn seen(service: &Service<'_>) -> String {
    let Service { layout, serve, model, .. } = service;
    if layout.scope() == Scope::User {
        return String::new();
    }
    let root = layout.root();
    let mut binds = vec![path(root)];
    let runtime = serve.argv.first().map(Path::new).and_then(Path::parent).and_then(Path::parent);
    for outside in [Some(*model), runtime].into_iter().flatten() {
        let system = ["/", "/usr", "/usr/local"].iter().any(|system| outside == Path::new(system));
        if outside.is_absolute() && !outside.starts_with(root) && !system {
            binds.push(path(outside));
        }
    }
    binds.dedup();
    format!("BindReadOnlyPaths={}\n", binds.join(" "))
}

/// The sandbox of the service in the form of `systemd-run --property=`, for programs that run code of its
/// model or of its wheels outside the service. The unit's text is its source.
pub fn enclosure(service: &Service<'_>) -> Vec<String> {
    let text =
        [user(service.layout.scope()).to_owned(), seen(service), super::sandbox::enclosure(service)].concat();
    let set = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    // There is nothing to expand outside unit files.
    set.map(|line| line.replace("%%", "%")).collect()
}

/// The credentials of the service. systemd reads each file as root and shows it to this service alone; the
/// supervisor hands it on to the engine.
fn credentials(secrets: &Secrets) -> String {
    secrets.all().fold(String::new(), |text, (secret, path)| {
        text + &format!(
            "LoadCredential={}:{}\n",
            secret.credential(),
            specifiers(&path.display().to_string())
        )
    })
}

/// The seconds before a stop is forced: longer than vLLM drains its requests where it was told to.
fn stop_timeout(argv: &[String]) -> u64 {
    let arguments = Arguments::of(argv);
    let drain = arguments.value("--shutdown-timeout").and_then(|value| value.parse::<u64>().ok());
    90.max(drain.unwrap_or(0).saturating_add(30))
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

/// Whether the value of this flag is a secret: everybody can read units.
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

/// Escapes `%`, which begins a specifier everywhere in a unit.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// A path, as one word of a list or as a program. Inside quotes, `:` separates nothing. systemd takes no
/// program whose path has quotes in it: such a root is refused when the unit is loaded.
fn path(path: &Path) -> String {
    quoted(&specifiers(&path.display().to_string()))
}

/// An argument of a command line, where `$` begins a variable too. In the program's own path it does not.
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
