//! The program as root, among files of somebody else's.

use super::trust::as_root;
use crate::program::{Said, awqdeploy};
use awqdeploy::{domain::profile::secrets::Secrets, host::os::secrets};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/facts/four-16gb.json");

/// Profiles that root owns, in a folder that root owns.
fn profiles() -> Option<TempDir> {
    let folder = as_root()?;
    let inside = folder.path().join("profiles");
    fs::create_dir_all(inside.join("runtimes")).unwrap();
    fs::create_dir_all(inside.join("locks")).unwrap();
    for name in ["awq.toml", "gptq.toml", "runtimes/vllm-0.26.0.toml"] {
        fs::copy(Path::new(SHIPPED).join(name), inside.join(name)).unwrap();
    }
    Some(folder)
}

fn plan(folder: &TempDir) -> Command {
    let mut command = awqdeploy(&["--profiles", "profiles", "plan", "awq", "--facts", FACTS]);
    command.current_dir(folder).env_remove("SUDO_UID");
    command
}

fn hers(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Defect 1: whatever root takes for a profile, a lock or a runtime is run.
#[test]
#[ignore = "needs root: tests/real/all"]
fn root_reads_nothing_that_a_stranger_can_change() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 7] = [
        ("/profiles` belongs to user 65534", |folder| hers(&folder.join("profiles"))),
        ("/profiles/awq.toml` belongs to user 65534", |folder| hers(&folder.join("profiles/awq.toml"))),
        ("/profiles/runtimes` belongs to user 65534", |folder| hers(&folder.join("profiles/runtimes"))),
        ("/vllm-0.26.0.toml` belongs to user 65534", |folder| {
            hers(&folder.join("profiles/runtimes/vllm-0.26.0.toml"));
        }),
        ("/profiles/locks/awq.toml` belongs to user 65534", |folder| {
            fs::write(folder.join("profiles/locks/awq.toml"), "").unwrap();
            hers(&folder.join("profiles/locks/awq.toml"));
        }),
        ("can be written to by others than its owner (mode 775)", |folder| {
            fs::set_permissions(folder.join("profiles"), fs::Permissions::from_mode(0o775)).unwrap();
        }),
        ("/elsewhere` belongs to user 65534", |folder| {
            fs::rename(folder.join("profiles"), folder.join("elsewhere")).unwrap();
            symlink("elsewhere", folder.join("profiles")).unwrap();
            hers(&folder.join("elsewhere"));
        }),
    ];
    for (what, change) in changes {
        let Some(folder) = profiles() else { return };
        assert_eq!(Said::by(&mut plan(&folder)).code, Some(0), "they are root's before");
        change(folder.path());
        let said = Said::by(&mut plan(&folder)).complaint(3);
        assert!(said.contains(what) && said.contains("or name another place"), "{what}: {said}");
    }
}

/// By `sudo` one deploys one's own profiles. Whose they are is said.
#[test]
#[ignore = "needs root: tests/real/all"]
fn what_belongs_to_whoever_called_sudo_is_read_and_named() {
    let Some(folder) = profiles() else { return };
    hers(&folder.path().join("profiles"));
    hers(&folder.path().join("profiles/awq.toml"));
    let said = Said::by(plan(&folder).env("SUDO_UID", "65534"));
    let named = format!(
        "profiles of `{}`, which user 65534, who called `sudo`, can change\n",
        folder.path().join("profiles").display()
    );
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), named.as_str()), "{}", said.stdout);
    let other = Said::by(plan(&folder).env("SUDO_UID", "1000")).complaint(3);
    assert!(other.contains("belongs to user 65534"), "{other}");
}

/// A plan is for whoever asks: only root has something to lose by believing it.
#[test]
#[ignore = "needs root: tests/real/all"]
fn somebody_who_is_not_root_reads_what_they_like() {
    let Some(folder) = profiles() else { return };
    fs::set_permissions(folder.path().join("profiles"), fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("awqdeploy");
    fs::copy(crate::stand::PROGRAM, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let facts = folder.path().join("facts.json");
    fs::copy(FACTS, &facts).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    command.args(["--profiles", "profiles", "plan", "awq", "--facts", "facts.json"]).current_dir(&folder);
    let said = Said::by(&mut command);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
}

/// An interpreter is run, and so is whatever lies where it looks for packages.
#[test]
#[ignore = "needs root: tests/real/all"]
fn an_interpreter_of_a_strangers_is_not_planned_with() {
    for part in ["bin/python", "bin", "lib/python3.12/site-packages", "pyvenv.cfg"] {
        let Some(folder) = profiles() else { return };
        let environment = folder.path().join("venv");
        fs::create_dir_all(environment.join("bin")).unwrap();
        fs::create_dir_all(environment.join("lib/python3.12/site-packages")).unwrap();
        fs::write(environment.join("pyvenv.cfg"), "").unwrap();
        symlink("/usr/bin/env", environment.join("bin/python")).unwrap();
        let profile = folder.path().join("profiles/awq.toml");
        let text = fs::read_to_string(&profile).unwrap();
        let python = format!("[runtime]\npython = \"{}\"", environment.join("bin/python").display());
        fs::write(&profile, text.replacen("[runtime]", &python, 1)).unwrap();
        assert_eq!(Said::by(&mut plan(&folder)).code, Some(0), "it is root's before");
        std::os::unix::fs::lchown(environment.join(part), Some(NOBODY), Some(NOBODY)).unwrap();
        let said = Said::by(&mut plan(&folder)).complaint(3);
        assert!(said.contains(&format!("/venv/{part}` belongs to user 65534")), "{part}: {said}");
    }
}

/// Defect 11: whoever owns a key knows it.
#[test]
#[ignore = "needs root: tests/real/all"]
fn a_key_of_somebody_elses_is_refused() {
    let Some(folder) = as_root() else { return };
    let key = folder.path().join("key");
    fs::write(&key, "sk-1\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let named = Secrets { api_key: Some(key.clone()), hub_token: None };
    secrets::verify(&named).unwrap();
    hers(&key);
    let problem = secrets::verify(&named).unwrap_err();
    assert!(problem.what.contains("/key` belongs to user 65534"), "{}", problem.what);
    // Or whoever can put another in its place.
    chown(&key, Some(0), Some(0)).unwrap();
    hers(folder.path());
    assert!(secrets::verify(&named).unwrap_err().what.contains("belongs to user 65534"));
}
