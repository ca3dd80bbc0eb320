//! A user's own service manager: no root, no sandbox that needs it, and the same way there and back.

use super::{
    machine::{Machine, Said},
    stories::ended,
};
use serde_json::Value;

const HOME: &str = "/home/alice";
/// Starts a service manager of the user `alice`, where logging in would: its unit has the same name and slice. There is no
/// logind here, which systemd's own unit needs.
pub(crate) const LOG_IN: &str = "
echo 'alice:x:1000:1000::/home/alice:/bin/sh' >> /etc/passwd
echo 'alice:x:1000:' >> /etc/group
install -d -o 1000 -g 1000 -m 700 /home/alice /run/user/1000
mkdir -p /etc/systemd/system
cat > /etc/systemd/system/user@1000.service <<'END'
[Service]
ExecStart=/lib/systemd/systemd --user
Type=notify
User=alice
Group=alice
Slice=user-1000.slice
Delegate=yes
KillMode=mixed
Environment=HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1000
END
systemctl daemon-reload
systemctl start user@1000";

/// A server as she set it up herself, and her own profiles.
const BY_HAND: &str = "
mkdir -p ~/.config/systemd/user ~/.config/awqdeploy
cp -r /etc/awqdeploy/*.toml /etc/awqdeploy/locks /etc/awqdeploy/runtimes ~/.config/awqdeploy/
cat > ~/.config/systemd/user/vllm.service <<'END'
[Service]
ExecStart=/usr/local/bin/awqdeploy engine serve /srv/models/old --host 127.0.0.1 --port 8000 --served-model-name tiny
END
systemctl --user daemon-reload
systemctl --user start vllm";

pub(crate) fn deploys(machine: &Machine) {
    let early =
        alice(machine, &["awqdeploy", "--user", "--profiles", "/etc/awqdeploy", "deploy", "old", "--yes"]);
    assert_eq!(early.code, Some(2), "{}", early.stderr);
    assert!(early.stderr.contains("this user has no service manager that runs"), "{}", early.stderr);
    machine.run(&["systemctl", "stop", "vllm"]).succeeded();
    machine.run(&["sh", "-c", LOG_IN]).succeeded();
    alice(machine, &["sh", "-c", BY_HAND]).succeeded();
    let plan = awqdeploy(machine, &["plan", "old", "--json"], 0);
    let unit = plan["unit"].as_str().unwrap_or_default();
    assert!(!unit.contains("DynamicUser=yes") && unit.contains("NoNewPrivileges=yes"), "{unit}");
    let engine = plan["serve"]["argv"][0].as_str().unwrap_or_default();
    assert!(engine.starts_with(&format!("{HOME}/.local/state/awqdeploy/store/")), "{engine}");
    adopts(machine);

    ended(&awqdeploy(machine, &["deploy", "old", "--yes", "--json"], 0), "committed");
    ended(&awqdeploy(machine, &["deploy", "new", "--yes", "--json"], 0), "committed");
    let broken = awqdeploy(machine, &["deploy", "broken", "--yes", "--json"], 6);
    ended(&broken, "rolled-back");
    let status = awqdeploy(machine, &["status", "--json"], 0);
    assert_eq!((&status["serving"], &status["service"]), (&"new".into(), &"active".into()), "{status:#}");
    assert_eq!(machine.completion(), 200);
    // The words of the service itself are not asked for: the journal knows a user's units by the control groups that
    // logind makes, and there is no logind here.
    let why = broken["why"].as_str().unwrap_or_default();
    assert!(why.contains("the engine says it is healthy, and does not answer"), "{broken:#}");
    let enabled = alice(machine, &["systemctl", "--user", "is-enabled", "vllm", "awqdeploy-recover-vllm"]);
    assert_eq!(enabled.succeeded(), "enabled\nenabled\n");
    ended(&awqdeploy(machine, &["rollback", "found", "--yes", "--json"], 0), "committed");
    assert_eq!(machine.completion(), 200);
    alice(machine, &["systemctl", "--user", "stop", "vllm"]).succeeded();
    machine.run(&["systemctl", "stop", "user@1000"]).succeeded();
}

/// By its process, and by its name, which a unit of the system has, too.
fn adopts(machine: &Machine) {
    machine.wait("her own server answers", |machine| machine.completion() == 200);
    let unit = format!("{HOME}/.config/systemd/user/vllm.service");
    let adopt = |target: &str, more: &[&str]| {
        let how =
            ["adopt", target, "--profile", "found", "--repo", "owner/old", "--vllm", "0.32.0", "--json"];
        awqdeploy(machine, &[&how[..], more].concat(), 0)
    };
    let pid =
        alice(machine, &["systemctl", "--user", "show", "--value", "-p", "MainPID", "vllm"]).succeeded();
    assert_eq!(adopt(pid.trim(), &["--dry-run"])["unit"], *unit, "the unit of her process");
    let adopted = adopt("vllm", &[]);
    assert_eq!((&adopted["generation"], &adopted["unit"]), (&1.into(), &(*unit).into()), "{adopted:#}");
    let status = awqdeploy(machine, &["status", "--json"], 0);
    assert_eq!((&status["serving"], &status["proven"]), (&"found".into(), &true.into()), "{status:#}");
}

fn awqdeploy(machine: &Machine, arguments: &[&str], code: i32) -> Value {
    alice(machine, &[&["awqdeploy", "--user"], arguments].concat()).document(code)
}

pub(crate) fn alice(machine: &Machine, command: &[&str]) -> Said {
    let as_alice = [
        "setpriv",
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "env",
        "HOME=/home/alice",
        "XDG_RUNTIME_DIR=/run/user/1000",
    ];
    machine.run(&[&as_alice[..], command].concat())
}
