//! GPUs that are ready late: the unit that makes them ready, and a service that needs them, by their own texts. A file in the
//! place of /proc/devices and a `nvidia-modprobe` of the test stand for the driver; what starts what is systemd's.

use super::machine::Machine;
use awqdeploy::domain::{
    profile::{Device, Listen, secrets::Secrets},
    service::{
        sandbox::Service,
        unit::{self, GPU_READY},
    },
    store::layout::Layout,
    vllm::serve::Serve,
};
use std::{collections::BTreeMap, path::Path};

/// A service of a CUDA profile. It only has to be started: what it runs is no engine.
const NAME: &str = "on-gpu";
const DROP_IN: &str = "[Unit]\\nAssertPathExists=\\nRequiresMountsFor=\\n[Service]\\nType=exec\\nExecStartPre=\\nExecStopPost=\\nExecStart=\\nExecStart=/bin/sleep infinity\\n\
    WatchdogSec=0\\nDynamicUser=no\\nBindReadOnlyPaths=\\n";

/// The driver answers once `/run/driver` is there. A minute's wait takes a second.
const HOST: &str = r#"
grep -v nvidia /proc/devices > /run/devices
mount --bind /run/devices /proc/devices
cat > /usr/local/bin/nvidia-modprobe <<'END'
#!/bin/sh
echo "$@" >> /run/asked
[ -e /run/driver ] || exit 1
grep -q nvidia-uvm /run/devices || echo '509 nvidia-uvm' >> /run/devices
END
printf '#!/bin/sh\nexec /bin/sleep 0.01\n' > /usr/local/bin/sleep
chmod 755 /usr/local/bin/nvidia-modprobe /usr/local/bin/sleep
mkdir -p /etc/systemd/system/awqdeploy-gpu-ready.service.d
printf '[Service]\nRestartSec=500ms\n' > /etc/systemd/system/awqdeploy-gpu-ready.service.d/fast.conf
"#;

pub(crate) fn comes_late(machine: &Machine) {
    let shell = |script: &str| machine.run(&["sh", "-ec", script]).succeeded();
    let show = |unit: &str, property: &str| {
        machine
            .run(&["systemctl", "show", "--value", "--property", property, unit])
            .succeeded()
            .trim()
            .to_owned()
    };
    shell(HOST);
    let service = format!("{NAME}.service");
    for (name, text) in [(GPU_READY, &unit::gpu_ready()), (&service, &service_text())] {
        shell(&format!("cat > /etc/systemd/system/{name} <<'END'\n{text}END"));
    }
    shell(&format!(
        "mkdir -p /etc/systemd/system/{service}.d; printf '{DROP_IN}' > /etc/systemd/system/{service}.d/run.conf"
    ));
    shell(&format!("systemctl daemon-reload; systemctl enable {NAME} {GPU_READY}"));

    // As boot does it: both are wanted, and the wait ends.
    let started = machine.run(&["systemctl", "start", GPU_READY, NAME]);
    assert_ne!(started.code, Some(0), "a GPU that is not there is no success");
    assert_eq!(show(NAME, "ActiveState"), "inactive");
    machine.wait("it is tried again and again", |machine| {
        let restarts = machine.run(&["systemctl", "show", "--value", "--property", "NRestarts", GPU_READY]);
        restarts.succeeded().trim().parse::<u32>().is_ok_and(|restarts| restarts > 6)
    });
    assert_ne!(show(NAME, "ActiveState"), "active", "it ran without a GPU");
    assert_eq!(show(NAME, "NRestarts"), "0", "waiting counts as failures of the service");

    shell("touch /run/driver");
    machine.wait("the service came up by itself", |machine| {
        machine.run(&["systemctl", "is-active", "--quiet", NAME]).code == Some(0)
    });
    assert_eq!(show(GPU_READY, "ActiveState"), "active");
    shell(&format!(
        "systemctl disable --now {NAME} {GPU_READY}; umount /proc/devices; rm /usr/local/bin/sleep"
    ));
}

/// The text of its own: what it requires, and what starts it.
fn service_text() -> String {
    let serve = Serve {
        argv: ["/bin/sleep", "infinity"].map(str::to_owned).into(),
        env: BTreeMap::new(),
        listen: Listen { host: "127.0.0.1".parse().expect("it is an address"), port: 8009 },
    };
    unit::service(&Service {
        name: NAME,
        device: Device::Cuda,
        memory_max: None,
        serve: &serve,
        secrets: &Secrets::default(),
        model: Path::new("/srv/models/new"),
        layout: &Layout::new("/var/lib/awqdeploy"),
    })
}
