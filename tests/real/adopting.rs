//! A vLLM server under a unit that somebody wrote by hand: adopted, migrated away from, and returned to. On the way,
//! how long nothing serves is held against a plain restart of the same server.
//!
//! On demand, since it takes a quarter of an hour: `cargo test --locked --test real -- --ignored adopt`.

use crate::{
    UNITS, boot, committed,
    machine::{Machine, alone, tell},
    serves, units_are_clean,
};
use serde_json::Value;
use std::time::Instant;

/// What is compared, so many times each.
const ROUNDS: usize = 2;

/// A unit as one finds it: no sandbox, its secrets in plain sight.
const BY_HAND: &str = "[Unit]
Description=our vLLM
[Service]
Environment=LD_LIBRARY_PATH=/srv/awqdeploy-real/stubs PYTHONPATH=/srv/awqdeploy-real/plug
Environment=TORCHDYNAMO_DISABLE=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1
Environment=HF_TOKEN=hf_notForTheDisk VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo
ExecStart=/srv/awqdeploy-real/venv/bin/python -m vllm.entrypoints.cli.main serve \\
  /srv/awqdeploy-real/models/qwen3next-tiny-gptq --host 127.0.0.1 --port 8000 --served-model-name tiny \\
  --enforce-eager --max-model-len 2048 --max-num-seqs 2 --max-num-batched-tokens 2048 --generation-config vllm
Restart=on-failure
[Install]
WantedBy=multi-user.target
";

#[test]
#[ignore = "takes a quarter of an hour; `cargo test --test real -- --ignored adopt`"]
fn a_hand_made_service_is_adopted_and_returned_to() {
    if !rustix::process::geteuid().is_root() {
        tell("SKIPPED: booting a systemd in namespaces needs root");
        return;
    }
    let _alone = alone();
    let Some(machine) = boot("adopting") else {
        tell("SKIPPED: that systemd cannot be had here");
        return;
    };
    start_by_hand(&machine);
    adopt(&machine);
    migrate(&machine);
    measure(&machine);
}

fn start_by_hand(machine: &Machine) {
    // Two threads that wait for each other take turns for ever on a machine that does something else, too.
    machine
        .run(&["sh", "-c", "sed -i 's/^OMP_NUM_THREADS = .*/OMP_NUM_THREADS = \"1\"/' /etc/awqdeploy/*.toml"])
        .succeeded();
    machine.run(&["sh", "-c", &format!("cat > {UNITS}/vllm.service <<'END'\n{BY_HAND}END\n")]).succeeded();
    machine.run(&["systemctl", "daemon-reload"]).succeeded();
    machine.run(&["systemctl", "enable", "--now", "vllm"]).succeeded();
    machine.wait("the server that was set up by hand answers", |machine| machine.completion() == 200);
}

/// It is on record, and serves on as the very same process.
fn adopt(machine: &Machine) {
    let main = machine.service("MainPID");
    let look = machine.awqdeploy(&["adopt", "vllm", "--profile", "old", "--dry-run", "--json"], 0);
    assert_eq!((&look["generation"], &look["service"]), (&Value::Null, &Value::from("vllm")), "{look:#}");
    let adopted = machine.awqdeploy(&["adopt", "vllm.service", "--profile", "old", "--json"], 0);
    assert_eq!(adopted["generation"], 1, "{adopted:#}");
    assert_eq!(machine.service("MainPID"), main, "what serves was restarted");
    let status = machine.status();
    assert_eq!(status["as_found"], format!("{UNITS}/vllm.service"), "{status:#}");
    assert_eq!(
        (&status["serving"], &status["proven"]),
        (&Value::from("old"), &Value::from(true)),
        "{status:#}"
    );
    let told = machine.run(&["grep", "-r", "hf_notForTheDisk", "/var/lib/awqdeploy", "/etc/awqdeploy"]);
    assert_eq!(told.stdout, "", "a secret was written");
    machine.awqdeploy(&["lock", "awq", "--json"], 0);
}

/// A migration that fails returns to it, one that works replaces it, a rollback brings it back.
fn migrate(machine: &Machine) {
    machine.awqdeploy(&["lock", "broken", "--json"], 0);
    let failed = machine.awqdeploy(&["deploy", "broken", "--yes", "--json"], 6);
    assert_eq!(failed["returned_to"], 1, "{failed:#}");
    serves(machine, "old");
    units_are_clean(machine);
    let document = machine.awqdeploy(&["deploy", "awq", "--yes", "--json"], 0);
    committed(&document, "awq");
    serves(machine, "awq");
    assert!(machine.names(UNITS).contains(&"vllm.service.by-hand".to_owned()), "the old unit is gone");
    let document = machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0);
    committed(&document, "old");
    serves(machine, "old");
}

/// How long nothing serves in a switch, beside a plain restart of what it switches to.
fn measure(machine: &Machine) {
    let (mut switches, mut restarts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (verb, profile) in [("rollback", "awq"), ("rollback", "old")] {
            let document = machine.awqdeploy(&[verb, profile, "--yes", "--json"], 0);
            let downtime = document["downtime_seconds"].as_f64().expect("something served before");
            let plain = document["plain_restart_seconds"].as_f64();
            tell(&format!("{verb} {profile}: {downtime:.1} s; its own word for a plain restart: {plain:?}"));
            switches.push(downtime);
            let begun = Instant::now();
            machine.run(&["systemctl", "restart", "vllm"]).succeeded();
            restarts.push(begun.elapsed().as_secs_f64());
            tell(&format!("systemctl restart, {profile}: {:.1} s", begun.elapsed().as_secs_f64()));
        }
    }
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let (switch, restart) = (mean(&switches), mean(&restarts));
    tell(&format!(
        "nothing serves for {switch:.1} s in a switch, {restart:.1} s in a restart: {:.2}",
        switch / restart
    ));
    assert!(switch < 2.0 * restart, "{switches:?} {restarts:?}");
}
