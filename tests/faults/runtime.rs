//! A runtime that somebody edits while it serves.

use super::{
    machine::Machine,
    scenes::{document, done, is, serves},
};

/// An edit that passed every proof once: a program in the interpreter's place.
const EDIT: &str = "cd /var/lib/awqdeploy/store/runtimes/* && rm bin/python && \
    printf '#!/bin/sh\\ntouch /var/lib/awqdeploy/it-ran /run/it-ran\\n' > bin/python && chmod 755 bin/python";

/// `verify --all` names it, the service does not start with it, and `--repair` installs it again.
pub(crate) fn edited(machine: &Machine) -> Result<(), String> {
    done(machine, &["sh", "-c", EDIT], 0)?;
    let verified = document(&done(machine, &["awqdeploy", "verify", "--all", "--json"], 4)?)?;
    let damaged = verified["damaged"].as_array().map_or(0, Vec::len);
    is(
        &format!("one file differs: {verified:#}"),
        damaged == 1 && verified["damaged"][0]["path"] == "bin/python",
    )?;
    let restarted = machine.run(&["systemctl", "restart", "vllm"]);
    is("it does not start", !restarted.status.success())?;
    let status = machine.said(&["systemctl", "show", "--value", "-p", "StatusText", "vllm"]);
    is(
        &format!("it says why: {status}"),
        status.contains("the runtime is not what was installed: `bin/python`"),
    )?;
    let ran = machine.said(&["sh", "-c", "ls /run/it-ran /var/lib/awqdeploy/it-ran 2>/dev/null"]);
    is("nothing of it ran", ran.is_empty())?;
    let repaired = document(&done(machine, &["awqdeploy", "verify", "--all", "--repair", "--json"], 0)?)?;
    is(&format!("it is mended: {repaired:#}"), repaired["repaired"][0]["path"] == "bin/python")?;
    machine.run(&["systemctl", "reset-failed", "vllm"]);
    done(machine, &["systemctl", "restart", "vllm"], 0)?;
    serves(machine, "old")
}
