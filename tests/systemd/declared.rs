//! `apply`: what a switch of a declared system runs, again and again, with everything that may lie between two of them.

use super::{
    machine::Machine,
    stories::{ended, serves, whole},
};
use serde_json::Value;

const NEW: [&str; 5] = ["apply", "new", "--fallback", "old", "--json"];
/// The profile that comes late: its model is not there yet when it is declared.
const LATE: [&str; 3] = ["apply", "late", "--json"];
const RECORD: &str = "/var/lib/awqdeploy/declared.json";

/// The fallback first, then the active profile; and then nothing more, however often.
pub(crate) fn first_and_unchanged(machine: &Machine) {
    let document = machine.awqdeploy(&NEW, 0);
    ended(&document, "committed");
    serves(machine, "new");
    let generations = machine.awqdeploy(&["generations", "--json"], 0);
    let standing = |number: usize| generations["generations"][number]["standing"].clone();
    assert_eq!((standing(0), standing(1)), ("proven".into(), "current".into()), "{generations:#}");
    untouched(machine, |machine| ended(&machine.awqdeploy(&NEW, 0), "unchanged"));
}

/// Another program, another generator of the profile's text, and no lock that could be read from a network: the server is
/// left alone, and its process with it.
pub(crate) fn bumped(machine: &Machine) {
    untouched(machine, |machine| {
        shell(machine, "cp /usr/local/bin/awqdeploy /run/bumped; echo >> /run/bumped");
        shell(machine, "sed -i \"s/'/\\\"/g; 1i # another day\" /etc/awqdeploy/new.toml");
        let document = machine.run(&[&["/run/bumped"], &NEW[..]].concat()).document(0);
        ended(&document, "unchanged");
    });
    serves(machine, "new");
}

/// A failing declaration is tried once, and then only told of.
pub(crate) fn failing(machine: &Machine) {
    let broken = ["apply", "broken", "--fallback", "old", "--json"];
    ended(&machine.awqdeploy(&broken, 6), "rolled-back");
    serves(machine, "new");
    untouched(machine, |machine| {
        let document = machine.awqdeploy(&broken, 6);
        ended(&document, "refused");
        told(&document, "`broken` was tried as it is declared, and was rolled back: start failed");
    });
    // The declaration before is another one again, and it serves.
    ended(&machine.awqdeploy(&NEW, 0), "unchanged");
}

/// A failure that says nothing of the candidate is tried again: files that were not there, a held root, Ctrl-C.
pub(crate) fn transient(machine: &Machine) {
    shell(
        machine,
        "cd /etc/awqdeploy; sed 's|/srv/models/new|/run/late|; s|owner/new|owner/late|' new.toml > late.toml; \
         cp -r /srv/models/new /run/late; sed -i 's/}/, \"late\": 1}/' /run/late/config.json; cd /; awqdeploy lock late; mv /run/late /run/later",
    );
    untouched(machine, |machine| {
        let document = machine.awqdeploy(&LATE, 4);
        told(&document, "there is no `config.json` in the model folder `/run/late`");
        shell(machine, "mv /run/later /run/late");
        let held = [&["flock", "/var/lib/awqdeploy/lock", "awqdeploy"], &LATE[..]].concat();
        machine.run(&held).document(5);
    });
    let applied = machine.start_awqdeploy(&LATE);
    machine.wait("the candidate loads", |machine| machine.status()["last_activation"]["step"] == "start");
    machine.run(&["pkill", "-INT", "-f", "^awqdeploy apply late"]).succeeded();
    ended(&whole(applied, 6), "rolled-back");
    serves(machine, "new");
    ended(&machine.awqdeploy(&LATE, 0), "committed");
    serves(machine, "late");
}

/// Acts of a person since then are theirs; they are told, and left.
pub(crate) fn replaced(machine: &Machine) {
    machine.awqdeploy(&["rollback", "new", "--yes", "--json"], 0);
    untouched(machine, |machine| {
        told(&machine.awqdeploy(&LATE, 6), "`late` was deployed as it is declared, and `new` serves");
    });
    machine.awqdeploy(&["deploy", "late", "--yes", "--json"], 0);
    ended(&machine.awqdeploy(&LATE, 0), "unchanged");
}

/// The power goes while a candidate is tried. The next boot does not try it again; the next switch does.
pub(crate) fn host_went_down(machine: &Machine) {
    drop(machine.start_awqdeploy(&NEW));
    machine.wait("the candidate loads", |machine| machine.status()["last_activation"]["step"] == "start");
    shell(machine, &format!("sync {RECORD}"));
    machine.power_cut();
    // The machines of this test share their kernel, and its name of the boot.
    shell(machine, "echo the-next-boot > /run/boot; mount --bind /run/boot /proc/sys/kernel/random/boot_id");
    machine.wait("what was proven answers", |machine| machine.completion() == 200);
    untouched(machine, |machine| {
        told(&machine.awqdeploy(&NEW, 6), "the host went down while `new` was tried");
    });
    serves(machine, "late");
    ended(&machine.awqdeploy(&NEW, 0), "committed");
    serves(machine, "new");
    shell(machine, "umount /proc/sys/kernel/random/boot_id");
}

/// Runs this, during which nothing may be activated, and the server's process stays the same.
fn untouched(machine: &Machine, run: impl FnOnce(&Machine)) {
    let before = state(machine);
    run(machine);
    assert_eq!(state(machine), before, "it was touched");
}

fn state(machine: &Machine) -> (String, Vec<String>) {
    (machine.service("MainPID"), machine.names("/var/lib/awqdeploy/activations"))
}

fn told(document: &Value, words: &str) {
    let why = document["why"].as_str().unwrap_or_default();
    assert!(why.contains(words), "{document:#}");
}

fn shell(machine: &Machine, script: &str) {
    machine.run(&["sh", "-ec", script]).succeeded();
}
