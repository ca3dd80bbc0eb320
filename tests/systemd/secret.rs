//! An API key: asked of clients, and seen by nobody else.
//!
//! The tests write it from outside: systemd logs the command line of whatever is run inside.

use super::{
    machine::{API, Machine},
    parts::KEY_FILE,
    stories::{ended, serves},
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

const KEY: &str = "sk-5ecret-0f-the-h0use";
/// Where each header with a key lies inside.
const HEADERS: &str = "/etc/awqdeploy/secrets/header";
const DEPLOY: [&str; 4] = ["deploy", "keyed", "--yes", "--json"];

pub(crate) fn kept(machine: &Machine, profiles: &Path) {
    refused_before_the_stop(machine, profiles);
    let document = machine.awqdeploy(&DEPLOY, 0);
    ended(&document, "committed");

    assert_eq!(status(machine), "200");
    header(profiles, "x");
    assert_eq!(status(machine), "401");
    let validation = machine.run(&["awqdeploy", "validate", "--json"]).document(0);
    assert_eq!(validation["verdict"], "pass", "{validation:#}");
    seen_by_nobody(machine);
    changed(machine, profiles);
    let document = machine.awqdeploy(&["rollback", "new", "--yes", "--json"], 0);
    ended(&document, "committed");
    serves(machine, "new");
}

fn refused_before_the_stop(machine: &Machine, profiles: &Path) {
    let why =
        |machine: &Machine| machine.awqdeploy(&DEPLOY, 3)["why"].as_str().unwrap_or_default().to_owned();
    assert_eq!(why(machine), format!("there is no file `{KEY_FILE}`"));
    write(profiles, KEY);
    let open = |mode| fs::set_permissions(profiles.join("secrets/api-key"), fs::Permissions::from_mode(mode));
    open(0o644).expect("it is ours");
    assert_eq!(why(machine), format!("`{KEY_FILE}` is no secret: others may read it"));
    open(0o600).expect("it is ours");
    serves(machine, "new");
}

/// Neither in what awqdeploy keeps, nor in units, the journal, or any process but the engine.
fn seen_by_nobody(machine: &Machine) {
    let shell = |script: &str| machine.run(&["sh", "-c", script]).stdout;
    let kept = format!("grep -rlF -f {KEY_FILE} /var/lib/awqdeploy /etc/systemd /run/systemd/system");
    assert_eq!(shell(&kept), "");
    assert_eq!(shell(&format!("journalctl --no-pager -a -o export | grep -aF -f {KEY_FILE}")), "");
    assert_eq!(shell(&format!("grep -laF -f {KEY_FILE} /proc/[0-9]*/cmdline")), "");

    let holders = shell(&format!("grep -laF -f {KEY_FILE} /proc/[0-9]*/environ"));
    let holders: Vec<_> = holders.lines().filter_map(|path| path.strip_suffix("/environ")).collect();
    assert!(!holders.is_empty(), "the engine has no key");
    for holder in holders {
        let line = shell(&format!("tr '\\0' ' ' < {holder}/cmdline"));
        assert!(line.contains("awqdeploy engine serve"), "{line} has the key");
        // Somebody else's user reads neither that, nor the file, nor what systemd made of it.
        let credential = "/run/credentials/vllm.service/api-key".to_owned();
        for secret in [format!("{holder}/environ"), KEY_FILE.to_owned(), credential] {
            assert_eq!(machine.run(&["test", "-e", &secret]).code, Some(0), "{secret} is not there at all");
            let said = machine.run(&[&NOBODY[..], &["cat", &secret]].concat());
            assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{secret}");
        }
    }
    let said = machine.run(&[&NOBODY[..], &["awqdeploy", "validate"]].concat());
    assert!(
        said.code == Some(1) && said.stderr.contains("run the same command with `sudo`"),
        "{}",
        said.stderr
    );
}

/// A user who is neither root nor the service's.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Another key takes effect with a restart: no generation knows it.
fn changed(machine: &Machine, profiles: &Path) {
    write(profiles, "another-key");
    assert_eq!(status(machine), "401");
    machine.run(&["systemctl", "restart", "vllm"]).succeeded();
    assert_eq!(status(machine), "200");
}

/// Puts this key into its file, and into the header that clients send.
fn write(profiles: &Path, key: &str) {
    fs::write(profiles.join("secrets/api-key"), format!("{key}\n")).expect("it can be written");
    header(profiles, key);
}

fn header(profiles: &Path, key: &str) {
    let text = format!("authorization: Bearer {key}\n");
    fs::write(profiles.join("secrets/header"), text).expect("it can be written");
}

/// The HTTP status of a request with the header that was written last.
fn status(machine: &Machine) -> String {
    let (header, url) = (format!("@{HEADERS}"), format!("{API}/v1/models"));
    machine.run(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url]).stdout
}
