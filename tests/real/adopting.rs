//! A vLLM server under a unit that somebody wrote by hand: adopted, migrated away from, and returned to. On the way,
//! how long nothing serves is held against a plain restart of the same server.

use super::{
    UNITS, committed,
    machine::{Machine, tell},
    serves, units_are_clean,
};
use serde_json::Value;
use std::time::Instant;

/// How often it is gone back and forth, where once is not enough to measure.
const ROUNDS_VARIABLE: &str = "AWQDEPLOY_SWITCHES";

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

pub(crate) fn start_by_hand(machine: &Machine) {
    machine.run(&["sh", "-c", &format!("cat > {UNITS}/vllm.service <<'END'\n{BY_HAND}END\n")]).succeeded();
    machine.run(&["systemctl", "daemon-reload"]).succeeded();
    machine.run(&["systemctl", "enable", "--now", "vllm"]).succeeded();
    machine.wait("the server that was set up by hand answers", |machine| machine.completion() == 200);
}

/// Adopts the server: it is on record, and serves on as the very same process.
pub(crate) fn adopt(machine: &Machine) {
    let main = machine.service("MainPID");
    let look = machine.awqdeploy(&["adopt", "vllm", "--profile", "old", "--dry-run", "--json"], 0);
    assert_eq!((&look["generation"], &look["service"]), (&Value::Null, &Value::from("vllm")), "{look:#}");
    // Random weights have no answers.
    let adopt = ["adopt", "vllm.service", "--profile", "old", "--no-questions", "--json"];
    let adopted = machine.awqdeploy(&adopt, 0);
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
}

/// Back to it, and how long nothing serves in that, beside a plain restart of what is gone back to.
pub(crate) fn there_and_back(machine: &Machine, old: &str) {
    let rounds = std::env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let (mut switches, mut restarts) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round > 0 {
            committed(&machine.awqdeploy(&["rollback", "awq", "--yes", "--json"], 0), "awq");
        }
        let document = machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0);
        committed(&document, "old");
        assert_eq!(document["action"], "rollback", "{document:#}");
        serves(machine, "old");
        assert_eq!(machine.model(), old);
        switches.push(document["downtime_seconds"].as_f64().expect("something served before"));
        let begun = Instant::now();
        machine.run(&["systemctl", "restart", "vllm"]).succeeded();
        restarts.push(begun.elapsed().as_secs_f64());
        serves(machine, "old");
    }
    units_are_clean(machine);
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let (switch, restart) = (mean(&switches), mean(&restarts));
    tell(&format!(
        "nothing serves for {switch:.1} s in a switch ({switches:.1?}), {restart:.1} s in a restart ({restarts:.1?}): {:.2}",
        switch / restart
    ));
}
