//! Units: their text, and what the real `systemd-analyze` says of it.

use crate::{
    inputs::{AWQ, awq, facts, plan_of},
    scratch::tempdir,
};
use awqdeploy::domain::{
    profile::{Device, Listen, secrets::Secrets},
    service::{sandbox::Service, unit},
    size::ByteSize,
    store::layout::{Layout, Scope},
    vllm::serve::Serve,
};
use insta::assert_snapshot;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

#[expect(clippy::disallowed_methods, reason = "a fixture")]
fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn executable(path: &Path) {
    write(path, "#!/bin/sh\n");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the real program; what it says, and whether it was content.
#[expect(clippy::disallowed_methods, reason = "tests start programs themselves")]
fn systemd_analyze(arguments: &[&str], units: &[PathBuf]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn serve(host: &str, arguments: &[&str]) -> Serve {
    let command = ["/opt/vllm/bin/vllm", "serve", "/srv/models/awq"];
    Serve {
        argv: command.iter().chain(arguments).map(|text| (*text).to_owned()).collect(),
        env: BTreeMap::default(),
        listen: Listen { host: host.parse().unwrap(), port: 8000 },
    }
}

fn service(device: Device, serve: &Serve, layout: &Layout) -> String {
    with_service(device, serve, layout, unit::service)
}

fn with_service<T>(
    device: Device,
    serve: &Serve,
    layout: &Layout,
    made: impl FnOnce(&Service<'_>) -> T,
) -> T {
    made(&Service {
        name: "vllm",
        device,
        memory_max: Some(ByteSize::gib(120)),
        serve,
        secrets: &Secrets::default(),
        model: Path::new("/srv/models/awq"),
        layout,
    })
}

#[test]
fn the_unit_of_the_awq_profile() {
    let plan = plan_of(AWQ, &facts("four-16gb"), None).unwrap();
    assert_snapshot!("awq-unit", plan.unit);
}

#[test]
#[ignore = "needs systemd-analyze: tests/real/all"]
fn systemd_accepts_all_units_and_finds_the_service_well_enclosed() {
    // Everything that is special in some part of a unit: spaces, specifiers, variables, separators.
    for name in ["root", "we ird %n $HOME a:b"] {
        let directory = tempdir().unwrap();
        let layout = Layout::new(directory.path().join(name));
        executable(&layout.binary());
        executable(&layout.current().join("awqdeploy"));
        let serve = serve("127.0.0.1", &["--chat-template", "{{ 100 % of\n$it }} \\", "--seed", "1"]);
        for (device, other) in [(Device::Cuda, "0.0.0.0"), (Device::Cpu, "10.1.2.3")] {
            let place = directory.path().join(format!("units-{device:?}"));
            let outside =
                Serve { listen: Listen { host: other.parse().unwrap(), port: 80 }, ..serve.clone() };
            let units = [
                ("vllm.service", service(device, &serve, &layout)),
                ("outside.service", service(device, &outside, &layout)),
                (&*unit::recover_name("vllm"), unit::recover(&layout, "vllm")),
                (unit::GPU_READY, unit::gpu_ready()),
            ]
            .map(|(name, text)| {
                let path = place.join(name);
                write(&path, &text);
                path
            });
            let (content, said) = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &units);
            // The machine's own units may be broken; ours may not even be warned about.
            let ours: Vec<_> = said
                .lines()
                .filter(|line| line.contains(place.to_str().unwrap()) || line.contains("vllm.service"))
                .collect();
            assert!(content && ours.is_empty(), "{said}");
            let (content, said) =
                systemd_analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &units[..1]);
            assert!(content, "{said}");
        }
    }
}

#[test]
#[ignore = "needs systemd-analyze: tests/real/all"]
fn systemd_would_notice_a_mistake() {
    let directory = tempdir().unwrap();
    let layout = Layout::new(directory.path());
    let path = directory.path().join("vllm.service");
    write(&path, &service(Device::Cpu, &serve("127.0.0.1", &[]), &layout));
    let (content, said) = systemd_analyze(&["verify", "--man=no"], &[path]);
    assert!(!content && said.contains("awqdeploy is not executable"), "{said}");
}

#[test]
fn what_systemd_reads_is_what_was_meant() {
    let text = unit::recover(&Layout::new("/var/a b/%i$X"), "vllm");
    for line in [
        r#"RequiresMountsFor="/var/a b/%%i$X""#,
        r#"ExecStart="/var/a b/%%i$X/bin/awqdeploy" --root "/var/a b/%%i$$X" recover --boot"#,
        "ConditionPathExists=/var/a b/%%i$X",
        "Before=vllm.service",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn devices_and_addresses_follow_the_profile() {
    let layout = Layout::new("/var/lib/awqdeploy");
    let cpu = service(Device::Cpu, &serve("127.0.0.1", &[]), &layout);
    assert!(lines(&cpu, "DeviceAllow").is_empty() && !cpu.contains(unit::GPU_READY));
    assert_eq!(lines(&cpu, "IPAddress"), ["IPAddressDeny=any", "IPAddressAllow=localhost"]);
    assert_eq!(
        lines(&cpu, "BindReadOnlyPaths"),
        ["BindReadOnlyPaths=/var/lib/awqdeploy /srv/models/awq /opt/vllm"]
    );
    let open = service(Device::Cuda, &serve("::", &[]), &layout);
    assert_eq!(lines(&open, "DeviceAllow"), ["DeviceAllow=char-nvidia* rw"]);
    assert!(lines(&open, "IPAddress").is_empty());
    assert_eq!(
        lines(&open, "RestrictAddressFamilies"),
        ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"]
    );
    let fixed = service(Device::Cpu, &serve("10.1.2.3", &["--shutdown-timeout", "120"]), &layout);
    assert_eq!(lines(&fixed, "Wants"), ["Wants=network-online.target"]);
    assert_eq!(lines(&fixed, "TimeoutStopSec"), ["TimeoutStopSec=150"]);
}

/// A setting that a user's manager cannot honour it would ignore, or refuse to start: it is not asked for.
#[test]
fn a_users_unit_asks_for_nothing_that_needs_root() {
    let layout = Layout::new("/home/alice/.local/state/awqdeploy").under(Scope::User);
    let text = service(Device::Cuda, &serve("10.1.2.3", &[]), &layout);
    for privileged in [
        "DynamicUser=",
        "BindReadOnlyPaths=",
        "Device",
        "IPAddress",
        "Protect",
        "Private",
        "Capability",
        "Requires=",
        "Wants=",
        "KeyringMode=",
        "RemoveIPC=",
    ] {
        assert_eq!(lines(&text, privileged), [""; 0]);
    }
    assert_eq!(lines(&text, "WantedBy"), ["WantedBy=default.target"]);
    assert_eq!(lines(&text, "After"), ["After=awqdeploy-recover-vllm.service"]);
    for kept in
        ["NoNewPrivileges=yes", "SystemCallFilter=~@privileged", "MemoryMax=128849018880", "WatchdogSec=2min"]
    {
        assert!(text.lines().any(|line| line == kept), "no {kept} in\n{text}");
    }
    let recover = unit::recover(&layout, "vllm");
    assert!(
        recover.contains("awqdeploy --user --root /home/alice/.local/state/awqdeploy recover --boot"),
        "{recover}"
    );
    assert!(recover.contains("WantedBy=default.target") && !recover.contains("local-fs.target"), "{recover}");
}

#[test]
fn keys_are_not_shown_in_the_unit() {
    let keys = ["--api-key", "hush", "hush", "--seed", "7", "--hf-token=hush", "--api_key", "hush"];
    let text = service(Device::Cpu, &serve("127.0.0.1", &keys), &Layout::new("/var/lib/awqdeploy"));
    assert!(!text.contains("hush"), "{text}");
    assert!(text.contains("--seed 7"), "{text}");
}

#[test]
fn without_a_ram_limit_there_is_none() {
    let text = AWQ.replace("ram = \"120GiB\"", "");
    let plan = plan_of(&text, &facts("four-16gb"), None).unwrap();
    assert!(lines(&plan.unit, "Memory").iter().all(|line| *line == "MemoryDenyWriteExecute=no"));
    let limited = plan_of(&awq("120GiB", "64GiB"), &facts("four-16gb"), None).unwrap();
    assert_eq!(lines(&limited.unit, "MemoryMax"), ["MemoryMax=68719476736"]);
}

/// A step that may run code of a model before the service does is enclosed by the very lines of its unit.
#[test]
fn a_question_is_enclosed_as_the_service_is() {
    let serve = serve("127.0.0.1", &[]);
    for scope in [Scope::System, Scope::User] {
        let layout = Layout::new("/var/lib/100% awqdeploy").under(scope);
        let text = service(Device::Cuda, &serve, &layout);
        let enclosed = with_service(Device::Cuda, &serve, &layout, unit::enclosure);
        let lines: Vec<_> = text.lines().map(|line| line.replace("%%", "%")).collect();
        assert!(enclosed.iter().all(|line| lines.contains(line)), "{enclosed:#?}");
        // All that is left says what is run, and how it is kept running.
        let left: Vec<_> = lines
            .into_iter()
            .skip_while(|line| line != "[Service]")
            .filter(|line| !enclosed.contains(line) && line.contains('=') && !line.starts_with('#'))
            .map(|line| line.split_once('=').unwrap().0.to_owned())
            .collect();
        assert_eq!(
            left.join(" "),
            "Type NotifyAccess ExecStartPre ExecStart ExecStopPost StateDirectory StateDirectoryMode CacheDirectory \
             CacheDirectoryMode WorkingDirectory Environment Environment Environment TimeoutStartSec WatchdogSec \
             TimeoutStopSec KillMode Restart RestartSec WantedBy"
        );
    }
}
