//! Reads a unit that somebody wrote: all beside its command, and which of it ours will not have.

use std::path::Path;

/// Directives that ours has in its own way, or that only said how the old one was started.
const OURS: [&str; 28] = [
    "Description",
    "Documentation",
    "After",
    "Wants",
    "WantedBy",
    "Type",
    "NotifyAccess",
    "ExecStart",
    "ExecStop",
    "ExecReload",
    "Environment",
    "EnvironmentFile",
    "PassEnvironment",
    "UnsetEnvironment",
    "WorkingDirectory",
    "Restart",
    "RestartSec",
    "TimeoutSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "KillMode",
    "KillSignal",
    "LimitNOFILE",
    "LimitMEMLOCK",
    "SyslogIdentifier",
    "StartLimitIntervalSec",
    "StartLimitBurst",
    "PIDFile",
];

/// The name of each directive with a value that ours will not have, in their order. Values may be secrets: they are not
/// told.
pub fn left_out<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for text in texts {
        let mut continues = false;
        for line in text.lines() {
            let line = line.trim();
            let is_directive = !continues && !line.starts_with(['#', ';', '[']);
            continues = line.ends_with('\\');
            let Some((name, value)) = line.split_once('=').filter(|_| is_directive) else { continue };
            let name = name.trim();
            let empty = value.trim().is_empty();
            if !empty && !OURS.contains(&name) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The folder of the units that `systemd-run` makes.
const TRANSIENT: &str = "systemd/transient";

/// Why a unit of this name, type and file cannot be followed by one of ours, and what helps, where that is so.
pub fn not_followed(name: &str, kind: &str, file: &Path) -> Option<(String, String)> {
    let stem = name.trim_end_matches(".service");
    if let Some((template, instance)) = stem.split_once('@') {
        return Some((
            format!(
                "`{name}` is an instance of the template `{template}@.service`, and a generation has a unit of its own"
            ),
            format!(
                "write `{template}-{instance}.service` with what the template says for `{instance}`, start it in its \
                 place, and adopt that"
            ),
        ));
    }
    if file.parent().is_some_and(|folder| folder.ends_with(TRANSIENT)) {
        return Some((
            format!("`{name}` was made by `systemd-run`: it is gone once it stops"),
            "write a unit file for the server, start it from that, and adopt it then".to_owned(),
        ));
    }
    (kind == "oneshot").then(|| {
        (
            format!("`{name}` is of `Type=oneshot`: systemd does not watch the server that it left behind"),
            "let it run the server itself, with `Type=exec` and `exec vllm serve …` in the foreground; restart it, and \
             adopt it then"
                .to_owned(),
        )
    })
}
