//! Several services on one host: those on GPUs of their own deploy side by side, and two on one GPU wait for each other.
//! The GPUs are numbers here: nobody asks whether they are there.

use super::{machine::Machine, stories::ended};
use serde_json::Value;

/// Makes a profile of `new` for a service of its own.
fn profile(name: &str, port: u16, gpu: u8, load: u32) -> String {
    format!(
        "cd /etc/awqdeploy; sed \"s/service = .vllm./service = '{name}'/; s/LOAD_MS = .*/LOAD_MS = '{load}'/; \
         s/^start = .*/start = '30min'/\" new.toml > {name}.toml; printf \"CUDA_VISIBLE_DEVICES = '{gpu}'\\n[listen]\\n\
         port = {port}\\n\" >> {name}.toml; cp locks/new.toml locks/{name}.toml"
    )
}

fn awqdeploy(machine: &Machine, service: &str, arguments: &[&str], code: i32) -> Value {
    let root = format!("/var/lib/{service}");
    machine.run(&[&["awqdeploy", "--root", &root, "--json"], arguments].concat()).document(code)
}

pub(crate) fn by_side(machine: &Machine) {
    let shell = |script: &str| machine.run(&["sh", "-ec", script]).succeeded();
    for (name, port, gpu, load) in
        [("left", 8011, 0, 1_000_000), ("right", 8012, 1, 100), ("rival", 8013, 0, 100)]
    {
        shell(&profile(name, port, gpu, load));
        let plan = awqdeploy(machine, name, &["plan", name], 0);
        assert_eq!(plan["serve"]["env"]["CUDA_DEVICE_ORDER"], "PCI_BUS_ID", "{plan:#}");
    }
    let left = machine.start_awqdeploy(&["--root", "/var/lib/left", "deploy", "left", "--yes", "--json"]);
    let step =
        |machine: &Machine| awqdeploy(machine, "left", &["status"], 0)["last_activation"]["step"].clone();
    machine.wait("the candidate on the left loads", |machine| step(machine) == "start");

    ended(&awqdeploy(machine, "right", &["deploy", "right", "--yes"], 0), "committed");
    let rival = awqdeploy(machine, "rival", &["deploy", "rival", "--yes"], 5);
    assert!(rival["why"].as_str().is_some_and(|why| why.contains("--root /var/lib/left")), "{rival:#}");
    assert_eq!(step(machine), "start", "they went one after the other");

    awqdeploy(machine, "left", &["cancel"], 6);
    drop(left);
    ended(&awqdeploy(machine, "rival", &["deploy", "rival", "--yes"], 0), "committed");
    shell("systemctl disable --now right rival");
}
