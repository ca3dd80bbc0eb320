//! The whole road under real systemds, 252 and 257, in half a minute each: the embedded engine answers in vLLM's place.
//!
//! It needs root. tests/real has the same with a real vLLM, and boots the machines. Each has its own network, processes
//! and disk, and waits most of the time: several run side by side.

#![allow(clippy::disallowed_methods, reason = "tests start the programs that they test")]
#![allow(clippy::expect_used, clippy::panic, reason = "in a test a panic is the report")]

mod attacks;
mod declared;
mod gpu;
mod journal;
#[allow(dead_code, reason = "tests/real uses the rest of it")]
#[path = "../real/machine.rs"]
mod machine;
mod parts;
mod secret;
mod side;
#[path = "../skipped.rs"]
mod skipped;
mod stories;
mod strangers;
#[path = "../real/systemd.rs"]
mod systemd;
mod units;
mod user;

use machine::Machine;
use skipped::skipped;
use std::path::{Path, PathBuf};
use systemd::Systemd;

/// Boots a machine on which the profiles are locked and the runtime is installed. Nothing where that cannot be.
fn machine(name: &str, systemd: Systemd) -> Option<(Machine, PathBuf)> {
    if !rustix::process::geteuid().is_root() {
        skipped("booting a systemd in namespaces needs root; run `cargo test --test systemd` as root");
        return None;
    }
    let parts = parts::make(name);
    let Some(machine) = Machine::boot_with(name, systemd, &parts.profiles, &parts.binds()) else {
        skipped("that systemd cannot be had here");
        return None;
    };
    parts::install(&machine);
    Some((machine, parts.profiles))
}

fn all(machine: &Machine, profiles: &Path) {
    gpu::comes_late(machine);
    stories::first_deployment(machine);
    stories::migration(machine);
    stories::broken(machine);
    stories::killed(machine);
    stories::interrupted(machine);
    secret::kept(machine, profiles);
    journal::tells(machine);
    units::edited(machine);
    units::read_only(machine);
    stories::without_a_bus(machine);
    strangers::get_nowhere(machine);
    user::deploys(machine);
}

#[test]
#[ignore = "needs root, and boots a systemd: tests/real/all"]
fn under_this_machines_own_systemd() {
    let Some((machine, profiles)) = machine("systemd-own", Systemd::Own) else { return };
    all(&machine, &profiles);
}

#[test]
#[ignore = "needs root, and boots a systemd: tests/real/all"]
fn attacked_under_this_machines_own_systemd() {
    let Some((machine, _)) = machine("attacked-own", Systemd::Own) else { return };
    attacks::all(&machine);
}

#[test]
#[ignore = "needs root, and boots a systemd: tests/real/all"]
fn attacked_under_systemd_257() {
    let Some((machine, _)) = machine("attacked-257", Systemd::Trixie) else { return };
    attacks::all(&machine);
}

#[test]
#[ignore = "needs root, and boots a systemd: tests/real/all"]
fn under_systemd_257() {
    let Some((machine, profiles)) = machine("systemd-257", Systemd::Trixie) else { return };
    let said = machine.run(&["systemctl", "--version"]).succeeded();
    assert!(said.starts_with("systemd 257 "), "{said}");
    all(&machine, &profiles);
}

/// Every switch of a system that declares what shall serve; and several services on one host.
#[test]
#[ignore = "needs root, and boots a systemd: tests/real/all"]
fn what_is_declared_under_this_machines_own_systemd() {
    let Some((machine, _)) = machine("systemd-declared", Systemd::Own) else { return };
    side::by_side(&machine);
    declared::first_and_unchanged(&machine);
    declared::bumped(&machine);
    declared::failing(&machine);
    declared::transient(&machine);
    declared::replaced(&machine);
    declared::host_went_down(&machine);
}
