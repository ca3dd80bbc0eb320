//! An unprivileged user of the host who wants to be root, or to keep it from going back.

use super::{
    machine::Machine,
    stories::{ended, serves},
};

/// A user who is neither root nor the service's.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// `old` serves before and after.
pub(crate) fn get_nowhere(machine: &Machine) {
    serves(machine, "old");
    own_profiles(machine);
    own_locks(machine);
    own_runtime(machine);
    own_root(machine);
    own_model(machine);
    evidence(machine);
    serves(machine, "old");
}

fn shell(machine: &Machine, script: &str) -> String {
    machine.run(&["sh", "-ec", script]).succeeded()
}

/// Defect 1: somebody's `profiles` where root happens to work, with an interpreter of theirs.
fn own_profiles(machine: &Machine) {
    shell(
        machine,
        &format!(
            "cp -r /etc/awqdeploy /tmp/copy; chmod -R a+rX /tmp/copy; rm -rf /tmp/copy/secrets
             cat > /tmp/mine.sh <<'END'
             umask 022; cp -r /tmp/copy /tmp/profiles; mkdir -p /tmp/evil/bin
             printf '#!/bin/sh\\nid > /tmp/evil/ran\\n' > /tmp/evil/bin/python; chmod 755 /tmp/evil/bin/python
             sed -i 's#^\\[runtime\\]#&\\npython = \"/tmp/evil/bin/python\"#' /tmp/profiles/old.toml
END
             {NOBODY} sh -e /tmp/mine.sh"
        ),
    );
    for command in ["plan old", "plan old --ask-engine", "deploy old --yes"] {
        let said = machine.run(&["sh", "-c", &format!("cd /tmp; awqdeploy --profiles profiles {command}")]);
        assert_eq!(said.code, Some(3), "{command}: {}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains("`/tmp/profiles` belongs to user 65534"), "{command}: {}", said.stderr);
    }
    // Root's own come first, and are named.
    let said = machine.run(&["sh", "-c", "cd /tmp; awqdeploy deploy old --yes --json"]);
    assert!(said.stderr.contains("profiles of `/etc/awqdeploy`"), "{}", said.stderr);
    ended(&said.document(0), "unchanged");
    assert_eq!(machine.run(&["test", "-e", "/tmp/evil/ran"]).code, Some(1), "it ran");
}

/// Defect 4: whoever can open a lock can hold it. That of an earlier version could be opened by all.
fn own_locks(machine: &Machine) {
    const LOCKS: &str = "/var/lib/awqdeploy/lock /run/awqdeploy/activation.lock";
    let stat = shell(machine, &format!("stat -c '%a %U' {LOCKS} /run/awqdeploy"));
    assert_eq!(stat, "600 root\n600 root\n700 root\n");
    for lock in LOCKS.split(' ') {
        let opened = machine.run(&["sh", "-c", &format!("{NOBODY} flock -n {lock} true")]);
        assert_ne!(opened.code, Some(0), "{lock} can be held by anybody");
    }
    // Nor from inside of the sandbox, as a model's code might.
    let inside = "systemd-run --quiet --wait --pipe -p DynamicUser=yes -p ProtectSystem=strict -p PrivateUsers=yes \
                  -p BindReadOnlyPaths=/var/lib/awqdeploy flock -n /var/lib/awqdeploy/lock true";
    assert_ne!(machine.run(&["sh", "-c", inside]).code, Some(0), "an engine can hold the lock");
    let script = format!(
        "rm -f {LOCKS}; touch {LOCKS}; chmod 644 {LOCKS}; chmod 755 /run/awqdeploy
         for lock in {LOCKS}; do {NOBODY} flock $lock sleep 120 > /dev/null 2>&1 & done; sleep 1
         for lock in {LOCKS}; do ! flock -n $lock true; done"
    );
    shell(machine, &script);
    ended(&machine.awqdeploy(&["deploy", "new", "--yes", "--json"], 0), "committed");
    ended(&machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0), "committed");
    machine.awqdeploy(&["recover", "--json"], 0);
    let stat = shell(machine, &format!("stat -c '%a %U' {LOCKS} /run/awqdeploy"));
    assert_eq!(stat, "600 root\n600 root\n700 root\n");
    machine.run(&["pkill", "-f", "sleep 120"]).succeeded();
}

/// uv lets everybody open the locks of its cache and of its environments, and write to them: neither holds up an
/// installation, and what is left of them is no part of a runtime.
fn own_runtime(machine: &Machine) {
    let runtimes = "/var/lib/awqdeploy/store/runtimes";
    // As an earlier version left it.
    shell(machine, &format!("for r in {runtimes}/*; do touch $r/.lock; chmod 666 $r/.lock; done"));
    shell(machine, &format!("{NOBODY} sh -c 'for r in {runtimes}/*; do echo mine > $r/.lock; done'"));
    machine.run(&["awqdeploy", "verify", "--all"]).succeeded();
    ended(&machine.awqdeploy(&["rollback", "new", "--yes", "--json"], 0), "committed");
    ended(&machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0), "committed");
    // While one is installed anew.
    let hold = format!(
        "{NOBODY} sh -c 'while sleep 0.01; do for lock in $(find /var/lib/awqdeploy/store -name .lock 2> /dev/null); do \
         flock -n $lock sleep 30 2> /dev/null && echo $lock >> /tmp/locked; done; done' > /dev/null 2>&1 & echo $!"
    );
    let holder =
        shell(machine, &format!("rm {runtimes}/*/.lock; touch /tmp/locked; chmod 666 /tmp/locked; {hold}"));
    let edit = format!("for r in {runtimes}/*; do echo '# edited' >> $r/pyvenv.cfg; done");
    shell(machine, &format!("{edit}; awqdeploy verify --all --repair; awqdeploy verify --all"));
    shell(machine, &format!("kill {}", holder.trim()));
    assert_eq!(shell(machine, "cat /tmp/locked; rm /tmp/locked"), "", "somebody else can hold it");
    serves(machine, "old");
}

/// Defect 8: what lies below a stranger's folder is replaced between two boots.
fn own_root(machine: &Machine) {
    shell(machine, "mkdir -p /srv2/hers; chown nobody /srv2/hers; install -d -m 755 /srv2/hers/awq");
    let said = machine.run(&["awqdeploy", "--root", "/srv2/hers/awq", "deploy", "old", "--yes"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("`/srv2/hers` belongs to user 65534"), "{}", said.stderr);
}

/// Defect 9: whoever owns one name of a file writes to all of them.
fn own_model(machine: &Machine) {
    let profile = "/etc/awqdeploy/hers.toml";
    shell(
        machine,
        &format!(
            "mkdir -p /var/hers; cp /srv/models/new/* /var/hers/; printf B | dd of=/var/hers/model.safetensors \
             bs=1 seek=90 conv=notrunc status=none; chown -R 65534:65534 /var/hers; chmod 644 /var/hers/*
             sed 's#/srv/models/new#/var/hers#; s#owner/new#owner/hers#' /etc/awqdeploy/new.toml > {profile}"
        ),
    );
    machine.run(&["awqdeploy", "lock", "hers"]).succeeded();
    ended(&machine.awqdeploy(&["deploy", "hers", "--yes", "--json"], 0), "committed");
    let store = "/var/lib/awqdeploy/store";
    let owners =
        shell(machine, &format!("find {store}/blobs {store}/models -type f -printf '%u\\n' | sort -u"));
    assert_eq!(owners, "root\n", "somebody else can write to the store");
    let script =
        format!("{NOBODY} sh -c 'printf EVIL | dd of=/var/hers/model.safetensors bs=1 seek=90 conv=notrunc'");
    shell(machine, &format!("{script} 2> /dev/null"));
    machine.run(&["awqdeploy", "verify"]).succeeded();
    ended(&machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0), "committed");
    shell(machine, &format!("rm -r {profile} /etc/awqdeploy/locks/hers.toml /var/hers"));
}

/// Defect 11: the service's log is the journal's, and may tell what clients asked.
fn evidence(machine: &Machine) {
    let logs = "/var/lib/awqdeploy/activations/*/service.log";
    assert_eq!(shell(machine, &format!("stat -c '%a %U' {logs} | sort -u")), "640 root\n");
    // Everything else is for all to read.
    let said = machine.run(&["sh", "-c", &format!("{NOBODY} awqdeploy why")]);
    assert!(said.stderr.contains("service.log"), "{}", said.stderr);
    said.succeeded();
}
