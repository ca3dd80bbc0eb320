//! Examples and exit statuses, as the help texts show them.

use crate::domain::exit_status::ExitStatus;

/// The exit statuses, as the end of every help text and of the manual page.
pub(crate) fn exit_statuses() -> String {
    let lines = ExitStatus::ALL.map(|status| format!("\n{:>3}  {}", status.code(), status.meaning()));
    format!("Exit status:{}", lines.concat())
}

pub(super) const EXAMPLES: &str = "\
Examples:
  awqdeploy init Qwen/Qwen3-8B-AWQ   write the profile of a model for this host
  awqdeploy rehearse                 see a migration and its rollback here, in seconds
  awqdeploy plan awq                 what would run, and whether it fits
  awqdeploy deploy awq               activate it, prove it, or roll back
  awqdeploy rollback gptq            be back on GPTQ

Every command has examples of its own: `awqdeploy help deploy`.";

pub(super) const INIT_EXAMPLES: &str = "\
Examples:
  awqdeploy init Qwen/Qwen3-8B-AWQ
  awqdeploy init Qwen/Qwen3-8B-AWQ --from /srv/models/qwen3-8b    files that are here already
  awqdeploy init Qwen/Qwen3-8B-AWQ --facts gpu-host.json --dry-run    for another host; prints it
  awqdeploy init --migrate-to Qwen/Qwen3-14B-AWQ          the second profile, measured against the first
  awqdeploy init --adopt vllm.service --name old          of a server that runs

Environment: HF_ENDPOINT, HF_TOKEN or HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HTTPS_PROXY, NO_PROXY.";

pub(super) const DEPLOY_EXAMPLES: &str = "\
Examples:
  awqdeploy deploy awq                   shows the plan, asks, deploys
  awqdeploy deploy awq --yes             for scripts: does not ask
  awqdeploy deploy awq --dry-run         shows what it would do
  awqdeploy deploy awq --retry           although the same generation failed before

Under systemd it is the service manager that carries the activation out: it goes on when this terminal is lost, \
and `awqdeploy follow` follows it from any other. Ctrl-C makes it roll back.";

pub(super) const APPLY_EXAMPLES: &str = "\
Examples:
  awqdeploy apply awq --fallback gptq    as often as you like: it asks nobody";

pub(super) const ADOPT_EXAMPLES: &str = "\
Examples:
  awqdeploy adopt vllm.service --profile old --dry-run    look, and show the profile
  awqdeploy adopt vllm.service --profile old
  awqdeploy adopt 4711 --profile old                      a process of no unit, by its number";

pub(super) const ROLLBACK_EXAMPLES: &str = "\
Examples:
  awqdeploy rollback                     to the proven generation before this one
  awqdeploy rollback gptq                to the newest proven one of that profile
  awqdeploy rollback 3                   to that one";

pub(super) const LOCK_EXAMPLES: &str = "\
Examples:
  awqdeploy lock awq                           what the hub has at the profile's revision
  awqdeploy lock awq --fetch                   the same, fetched, with a hash for every 8 MiB
  awqdeploy lock awq --from /srv/models/awq    a folder that is known to be good
  awqdeploy lock awq --check                   whether the hub still has what was locked
  awqdeploy lock awq --runtime                 every wheel of the vLLM that the profile names

Environment: HF_ENDPOINT, HF_TOKEN or HF_TOKEN_PATH, HF_HOME, HF_HUB_OFFLINE, HTTPS_PROXY, NO_PROXY.";

pub(super) const FETCH_EXAMPLES: &str = "\
Examples:
  awqdeploy fetch awq
  awqdeploy fetch awq --offline          from folders and caches on this host only

Environment: HF_ENDPOINT, HF_TOKEN or HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HTTPS_PROXY,
NO_PROXY.";

/// The end of the long help, which replaces that of the short one.
pub(super) fn with_statuses(examples: &str) -> String {
    format!("{examples}\n\n{}", exit_statuses())
}
