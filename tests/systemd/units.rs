//! Unit files that somebody changed, and a folder of unit files that nobody can change.

use super::{
    machine::Machine,
    stories::{ended, serves},
};

/// A service that somebody stopped before counts as a failure.
const DEPLOY: [&str; 6] = ["awqdeploy", "deploy", "old", "--yes", "--retry", "--json"];
const UNIT: &str = "/etc/systemd/system/vllm.service";

/// `new` serves, and its unit is edited: whoever deploys next sees it before it is gone.
pub(crate) fn edited(machine: &Machine) {
    machine.run(&["sed", "-i", "s/^Type=notify/&\\nNice=5/", UNIT]).succeeded();
    let said = machine.run(&["awqdeploy", "deploy", "old", "--dry-run"]);
    let told = said.stderr.clone();
    said.succeeded();
    assert!(told.contains(&format!("`{UNIT}` was changed by hand")) && told.contains("+ Nice=5"), "{told}");
    assert!(machine.run(&["cat", UNIT]).succeeded().contains("Nice=5"), "a dry run overwrote it");
    let said = machine.run(&DEPLOY);
    let told = said.stderr.clone();
    ended(&said.document(0), "committed");
    assert!(told.contains("+ Nice=5"), "{told}");
    assert!(!machine.run(&["cat", UNIT]).succeeded().contains("Nice=5"));
    serves(machine, "old");
    let said = machine.run(&["awqdeploy", "rollback", "new", "--yes"]);
    assert!(!said.stderr.contains("changed by hand"), "{}", said.stderr);
    said.succeeded();
}

/// As NixOS keeps it. Units in `/run` are gone after a boot, and come back with `recover --boot`.
pub(crate) fn read_only(machine: &Machine) {
    let shell = |script: &str| machine.run(&["sh", "-ec", script]).succeeded();
    shell("cd /etc/systemd; mount --bind system system; mount -o remount,bind,ro system");
    let document = machine.run(&DEPLOY).document(3);
    let why = document["why"].as_str().unwrap_or_default();
    assert!(
        why.starts_with("`/etc/systemd/system/vllm.service` cannot be written, and wins over"),
        "{document:#}"
    );
    serves(machine, "new");

    shell("umount /etc/systemd/system; systemctl disable --now vllm awqdeploy-recover-vllm");
    shell("cd /etc/systemd; rm system/*vllm*; mount --bind system system; mount -o remount,bind,ro system");
    shell("systemctl daemon-reload");
    ended(&machine.run(&DEPLOY).document(0), "committed");
    serves(machine, "old");
    assert_eq!(machine.service("FragmentPath"), "/run/systemd/system/vllm.service");
    assert_eq!(machine.service("UnitFileState"), "enabled-runtime");

    shell(
        "systemctl stop vllm; find /run/systemd/system -name '*vllm*' -depth -exec rm -r {} +; systemctl daemon-reload",
    );
    assert_eq!(machine.service("LoadState"), "not-found");
    machine.run(&["awqdeploy", "recover", "--boot"]).succeeded();
    machine.wait("the service answers again", |machine| machine.completion() == 200);
    serves(machine, "old");
    shell("systemctl stop vllm; find /run/systemd/system -name '*vllm*' -depth -exec rm -r {} +");
    shell("umount /etc/systemd/system; systemctl daemon-reload");
    machine.run(&["awqdeploy", "rollback", "new", "--yes"]).succeeded();
    serves(machine, "new");
}
