//! Attacks on a deployment: by other users of the host, models, drop-ins and bad luck. Each begins with `new`
//! serving, and leaves it serving.

use super::{
    machine::Machine,
    stories::{ended, serves, step, whole},
    user::{LOG_IN, alice},
};

fn shell(machine: &Machine, script: &str) -> String {
    machine.run(&["sh", "-ec", script]).succeeded()
}

fn deploy(machine: &Machine, profile: &str, code: i32) -> serde_json::Value {
    machine.awqdeploy(&["deploy", profile, "--yes", "--retry", "--json"], code)
}

/// A candidate that loads: its main process is there.
fn loads(machine: &Machine) {
    machine
        .wait("the candidate loads", |machine| step(machine) == "start" && machine.service("MainPID") != "0");
}

pub(crate) fn all(machine: &Machine) {
    careless(machine);
    question(machine);
    falls_back(machine);
    names(machine);
    impostor(machine);
    drop_ins(machine);
    manager_goes_away(machine);
    hangs(machine);
    deployer_hangs(machine);
}

/// Root's session lets everybody write to what is made in it: not to what is run as root.
fn careless(machine: &Machine) {
    shell(machine, "umask 000; awqdeploy deploy old --yes --retry");
    let loose = "find /var/lib/awqdeploy /run/awqdeploy /etc/systemd/system -perm /022 ! -type l";
    assert_eq!(shell(machine, loose), "", "others can write to it");
}

/// A model's own code runs when vLLM is asked what it makes of the plan: as nobody in particular, who knows and writes
/// nothing.
fn question(machine: &Machine) {
    shell(machine, "umask 077; echo s3cret > /root/secret; mkdir -p /home/somebody");
    let deploy = "HF_TOKEN=hf-s3cret awqdeploy deploy new --yes 2>&1";
    let said = shell(machine, deploy);
    let asked =
        said.lines().find(|line| line.contains("the model's code says:")).unwrap_or_else(|| panic!("{said}"));
    for denied in ["token none", "secret hidden", "store read-only", "home hidden"] {
        assert!(asked.contains(denied), "{asked}");
    }
    let uid = asked
        .split("uid ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|uid| uid.parse::<u32>().ok());
    assert!(uid.is_some_and(|uid| (61184..=65519).contains(&uid)), "not a user of its own: {asked}");
    assert_eq!(
        shell(machine, "ls -d /run/awqdeploy-question-* 2>/dev/null || true"),
        "",
        "it leaves nothing behind"
    );
    serves(machine, "new");
}

/// A unit of the same name in another manager, a control group of the same name, a process of the same name: none of
/// them is ours, and none is ended; and root's own is none of alice's business.
fn names(machine: &Machine) {
    shell(machine, LOG_IN);
    shell(
        machine,
        "cat > /run/delegated <<'END'
#!/bin/bash
group=/sys/fs/cgroup; [ -d $group/systemd ] && group=$group/systemd
group=$group$(grep -E '(^0::|name=systemd)' /proc/self/cgroup | head -1 | cut -d: -f3)/app.slice/vllm.service
mkdir -p $group && echo $$ > $group/cgroup.procs && exec sleep 10001
END
chmod 755 /run/delegated
systemd-run --quiet --unit=another-manager -p Delegate=yes /run/delegated
python=$(ls -d /var/lib/awqdeploy/store/runtimes/*/bin/python | head -1)
systemd-run --quiet --unit=of-nobody --uid=65534 -p KillMode=process \
  /bin/bash -c \"setsid bash -c 'exec -a $python sleep 10002' & sleep 1\"",
    );
    let hers = "mkdir -p ~/.config/systemd/user; \
        printf '[Service]\\nExecStart=/bin/sleep 10003\\n' > ~/.config/systemd/user/vllm.service; \
        systemctl --user daemon-reload; systemctl --user start vllm";
    alice(machine, &["sh", "-ec", hers]).succeeded();
    let there = |machine: &Machine| {
        let pid = |number: u32| machine.run(&["pgrep", "-f", &format!(" {number}$")]).succeeded();
        [pid(10001), pid(10002), pid(10003)]
    };
    machine.wait("they run", |machine| machine.run(&["pgrep", "-fc", " 1000[123]$"]).stdout.trim() >= "3");
    let before = there(machine);
    deploy(machine, "old", 0);
    assert_eq!(there(machine), before, "somebody else's process was ended");
    deploy(machine, "new", 0);
    assert_eq!(there(machine), before, "somebody else's process was ended");
    serves(machine, "new");

    // Hers beside root's, which goes on.
    let root = machine.service("MainPID");
    let own = "systemctl --user stop vllm; rm ~/.config/systemd/user/vllm.service
        mkdir -p ~/.config/awqdeploy; cp -r /etc/awqdeploy/runtimes ~/.config/awqdeploy/
        sed \"s/^service = 'vllm'/&\\n[listen]\\nport = 8010/\" /etc/awqdeploy/old.toml > ~/.config/awqdeploy/old.toml
        awqdeploy --user lock old";
    alice(machine, &["sh", "-ec", own]).succeeded();
    alice(machine, &["awqdeploy", "--user", "deploy", "old", "--yes"]).succeeded();
    assert_eq!(machine.service("MainPID"), root, "alice's deployment ended root's service");
    let engine =
        |machine: &Machine| machine.run(&["pgrep", "-u", "1000", "-f", "awqdeploy engine"]).succeeded();
    let hers = engine(machine);
    deploy(machine, "old", 0);
    deploy(machine, "new", 0);
    assert_eq!(engine(machine), hers, "root's deployment ended alice's service");
    alice(machine, &["systemctl", "--user", "stop", "vllm"]).succeeded();
    shell(machine, "systemctl stop user@1000 another-manager; pkill -f ' 10002$'");
}

/// Takes the port while the candidate loads, as any user can, and answers what is asked.
const THIEF: &str = r#"
use strict; use IO::Socket::INET; use IO::Select;
$| = 1;
$SIG{PIPE} = "IGNORE";
my ($port, $body) = (undef, '{"id":"x","object":"text_completion","created":1,"model":"tiny",' .
    '"choices":[{"index":0,"text":" Paris","finish_reason":"length"}],' .
    '"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}');
select undef, undef, undef, 0.001 until $port = IO::Socket::INET->new(Listen => 16, LocalAddr => "127.0.0.1:8000", ReuseAddr => 1);
print "took the port\n";
my ($waiting, $end) = (IO::Select->new($port), time + 12);
while (time < $end) {
    next unless $waiting->can_read(0.5) and my $caller = $port->accept;
    my $said = "";
    $caller->sysread($said, 65536) if IO::Select->new($caller)->can_read(1);
    print "heard $said\n" if length $said;
    $caller->print("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n" .
        "content-length: " . length($body) . "\r\n\r\n$body");
    close $caller;
}
"#;

/// An impostor hears no key, and not even a question; nobody takes its answers for the candidate's.
fn impostor(machine: &Machine) {
    shell(machine, &format!("cat > /run/thief.pl <<'END'{THIEF}END\nchmod 644 /run/thief.pl"));
    shell(
        machine,
        "umask 077; mkdir -p /etc/awqdeploy/secrets; echo sk-5ecret > /etc/awqdeploy/secrets/api-key",
    );
    let deployment = machine.start_awqdeploy(&["deploy", "guarded", "--yes", "--retry", "--json"]);
    loads(machine);
    let steal = "systemd-run --quiet --unit=thief --uid=65534 -p StandardOutput=file:/run/thief.log \
                 /usr/bin/perl /run/thief.pl";
    shell(machine, steal);
    let document = whole(deployment, 6);
    ended(&document, "rolled-back");
    machine.wait("the thief leaves", |machine| {
        machine.run(&["systemctl", "is-active", "thief"]).code != Some(0)
    });
    let heard = shell(machine, "cat /run/thief.log");
    assert_eq!(heard.trim(), "took the port", "{document:#}");
    machine.wait("the old one serves again", |machine| machine.completion() == 200);
    serves(machine, "new");
}

/// A person's own drop-ins: `Restart=` of one that is read before ours says nothing, and one that is read after it is
/// seen before the candidate starts.
fn drop_ins(machine: &Machine) {
    let folder = "/etc/systemd/system/vllm.service.d";
    let write = |name: &str| {
        shell(
            machine,
            &format!(
                "mkdir -p {folder}; printf '[Service]\\nRestart=always\\n' > {folder}/{name}; systemctl daemon-reload"
            ),
        );
    };
    write("override.conf");
    // The leftover of an earlier version is cleaned up.
    let before = "/run/systemd/system/vllm.service.d/50-awqdeploy-candidate.conf";
    shell(machine, &format!("mkdir -p $(dirname {before}); printf '[Service]\\nRestart=no\\n' > {before}"));
    let deployment = machine.start_awqdeploy(&["deploy", "old", "--yes", "--retry", "--json"]);
    loads(machine);
    assert_eq!(machine.service("Restart"), "no", "a candidate would be restarted");
    ended(&whole(deployment, 0), "committed");
    assert_eq!(machine.run(&["test", "-e", before]).code, Some(1), "{before} is still there");
    serves(machine, "old");

    shell(machine, &format!("mv {folder}/override.conf {folder}/zzz.conf; systemctl daemon-reload"));
    let document = deploy(machine, "new", 6);
    let why = document["why"].as_str().unwrap_or_default();
    assert!(why.contains("`Restart=always` is in force") && why.contains("zzz.conf"), "{document:#}");
    serves(machine, "old");
    shell(machine, &format!("rm -r {folder}; systemctl daemon-reload"));
    deploy(machine, "new", 0);
}

/// systemd becomes its new self, and its bus is started again, while a candidate starts: it is asked again.
fn manager_goes_away(machine: &Machine) {
    for (profile, how) in [
        ("old", "systemctl daemon-reexec"),
        ("new", "systemctl restart dbus"),
        ("old", "systemctl daemon-reload"),
        ("new", "systemctl stop dbus.socket dbus; sleep 1; systemctl start dbus.socket"),
    ] {
        let deployment = machine.start_awqdeploy(&["deploy", profile, "--yes", "--retry", "--json"]);
        loads(machine);
        shell(machine, how);
        ended(&whole(deployment, 0), "committed");
        serves(machine, profile);
    }
}

fn restarts(machine: &Machine) -> u32 {
    machine.service("NRestarts").parse().expect("it is counted")
}

/// After the commit nobody watches but the supervisor: an engine that is healthy by its own word, and answers nothing.
fn hangs(machine: &Machine) {
    let before = restarts(machine);
    shell(machine, "pkill -USR2 -f '^/usr/local/bin/awqdeploy engine'");
    assert_eq!(
        machine.run(&["curl", "-sf", "http://127.0.0.1:8000/health"]).code,
        Some(0),
        "it says that it is well"
    );
    machine.wait("systemd starts it again", |machine| restarts(machine) > before);
    machine.wait("it answers again", |machine| machine.completion() == 200);
    let log = machine.run(&["journalctl", "-u", "vllm", "--no-pager", "-n", "60"]).stdout;
    assert!(log.contains("answers `/health`, and has generated nothing for"), "{log}");
    serves(machine, "new");
}

/// The deployer hangs without dying: systemd ends it, and its activation rolls back.
fn deployer_hangs(machine: &Machine) {
    shell(
        machine,
        "d=/run/systemd/system/awqdeploy-activation-vllm-.service.d; mkdir -p $d
        printf '[Service]\\nWatchdogSec=15s\\nTimeoutAbortSec=1s\\n' > $d/test.conf; systemctl daemon-reload",
    );
    // The service tells that it goes on, for longer than that.
    deploy(machine, "old", 0);
    deploy(machine, "new", 0);
    let deployment = machine.start_awqdeploy(&["deploy", "old", "--yes", "--retry", "--json"]);
    loads(machine);
    shell(machine, "pkill -STOP -f 'awqdeploy --root .* activate [0-9]+$'");
    let document = whole(deployment, 6);
    ended(&document, "rolled-back");
    assert!(
        document["why"].as_str().is_some_and(|why| why.starts_with("interrupted during")),
        "{document:#}"
    );
    shell(machine, "rm -r /run/systemd/system/awqdeploy-activation-vllm-.service.d; systemctl daemon-reload");
    serves(machine, "new");
}

/// A proven generation that fails over and over: what was proven before serves again, and not in a circle.
fn falls_back(machine: &Machine) {
    let crash = |machine: &Machine| {
        let engine = |machine: &Machine| {
            machine.run(&["pgrep", "-f", "^/usr/local/bin/awqdeploy engine"]).stdout.trim().to_owned()
        };
        machine.wait("the engine runs", |machine| !engine(machine).is_empty());
        let pid = engine(machine);
        shell(machine, &format!("kill -KILL {pid}"));
        machine.wait("it is gone", |machine| engine(machine) != pid);
    };
    // Five restarts by a person are no failure.
    shell(machine, "for i in 1 2 3; do systemctl restart vllm; done");
    serves(machine, "new");
    shell(
        machine,
        "mkdir -p /etc/systemd/system/vllm.service.d
        printf '[Service]\\nRestartSec=500ms\\n' > /etc/systemd/system/vllm.service.d/quick.conf; systemctl daemon-reload
        systemctl reset-failed vllm",
    );
    for _ in 0..5 {
        crash(machine);
    }
    machine.wait("old serves in its place, and is proven once more", |machine| {
        let status = machine.status();
        status["serving"] == "old"
            && status["last_activation"]["end"] == "committed"
            && machine.service("Restart") == "always"
    });
    serves(machine, "old");
    let status = machine.status();
    assert_eq!(status["proven"], true, "{status:#}");
    shell(machine, "rm -r /etc/systemd/system/vllm.service.d; systemctl daemon-reload");
    let log = machine.run(&["journalctl", "-t", "awqdeploy", "--no-pager", "-n", "200"]).stdout;
    assert!(log.contains("failed 5 times in a row: roll back to generation"), "{log}");
    machine.run(&["awqdeploy", "rollback", "new", "--yes"]).succeeded();
    serves(machine, "new");
}
