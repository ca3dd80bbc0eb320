//! A vLLM server under a unit that somebody wrote by hand: adopted, migrated away from, and returned to. On the way,
//! how long nothing serves is held against a plain restart of the same server.

use super::{
    UNITS, boot, committed,
    machine::{Machine, alone, tell},
    serves,
    skipped::skipped,
    units_are_clean,
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

/// Variables of a server that is set up as people do, in a file: a value in quotes, a secret, a script's own.
const VARIABLES: &str = "LD_LIBRARY_PATH=/srv/awqdeploy-real/stubs
PYTHONPATH=/srv/awqdeploy-real/plug
TORCHDYNAMO_DISABLE=1
VLLM_CPU_KVCACHE_SPACE=1
VLLM_CPU_OMP_THREADS_BIND=\"nobind\"
OMP_NUM_THREADS=1
VLLM_HOST_IP=127.0.0.1
GLOO_SOCKET_IFNAME=lo
HF_TOKEN=hf_notForTheDisk
HF_HUB_OFFLINE=1
VLLM_MODEL=tests/tiny
";

/// The flags of a server in a file.
const FLAGS: &str = "host: 127.0.0.1
port: 8000
served_model_name: tiny
enforce-eager: yes
disable-log-stats: false
max-model-len: 2k
max-num-seqs: 1
max-num-batched-tokens: 2048
generation-config: vllm
";

/// A model below `--download-dir`, as the hub's client has it; a virtual environment in a home folder; a script that
/// becomes the server.
const PLACES: &str = "set -e
mkdir -p /etc/vllm /opt/llm /home/ai/venv/bin /home/ai/venv/lib/python3.11
cache=/srv/dl/models--tests--tiny commit=0123456789abcdef0123456789abcdef01234567
mkdir -p $cache/refs $cache/snapshots/$commit
printf %s $commit > $cache/refs/main
cp /srv/awqdeploy-real/models/qwen3next-tiny-gptq/* $cache/snapshots/$commit/
ln -s /usr/bin/python3.11 /home/ai/venv/bin/python
printf 'home = /usr/bin\nversion = 3.11\n' > /home/ai/venv/pyvenv.cfg
ln -s /srv/awqdeploy-real/venv/lib/python3.11/site-packages /home/ai/venv/lib/python3.11/site-packages
printf '#!/home/ai/venv/bin/python\nfrom vllm.entrypoints.cli.main import main\nmain()\n' > /home/ai/venv/bin/vllm
printf '#!/bin/sh\ncd /srv\nexec nice -n 5 /home/ai/venv/bin/vllm serve \"$VLLM_MODEL\" --download-dir dl --config /etc/vllm/flags.yaml --max-num-seq 2\n' > /opt/llm/run.sh
chmod +x /opt/llm/run.sh /home/ai/venv/bin/vllm
";

/// A script, variables in a file, a file of flags, a cache, an environment in a home folder.
const BY_A_SCRIPT: &str = "[Service]
EnvironmentFile=/etc/vllm/env
ExecStart=/bin/bash -lc 'umask 022 && /opt/llm/run.sh'
[Install]
WantedBy=multi-user.target
";

/// The old module, as an instance of a template.
const TEMPLATE: &str = "[Service]
EnvironmentFile=/etc/vllm/env
WorkingDirectory=/srv/awqdeploy-real/models
ExecStart=/usr/bin/env /srv/awqdeploy-real/venv/bin/python -m vllm.entrypoints.openai.api_server \
  --model qwen3next-tiny-%i --host=127.0.0.1 --port=8000 --served_model_name tiny --enforce-eager \
  --max-model-len 2048 --max-num-seqs 2 --max-num-batched-tokens 2048 --generation-config vllm
";

/// Servers as people start them. Each is adopted as what it is; the first is returned to, the last is a template's.
#[test]
#[ignore = "on demand: needs root, vLLM and a systemd of its own, and ten minutes"]
fn adoptions_of_every_kind() {
    if !rustix::process::geteuid().is_root() {
        skipped("booting a systemd in namespaces needs root; run `cargo test --test real` as root");
        return;
    }
    let _alone = alone();
    let Some(machine) = boot("adoptions") else {
        skipped("that systemd cannot be had here");
        return;
    };
    machine.run(&["sh", "-c", PLACES]).succeeded();
    write(&machine, "/etc/vllm/env", VARIABLES);
    write(&machine, "/etc/vllm/flags.yaml", FLAGS);
    a_template(&machine);
    a_script(&machine);
}

/// Started by a template it is refused, with the unit that would do; as that unit it is adopted.
fn a_template(machine: &Machine) {
    write(machine, &format!("{UNITS}/vllm@.service"), TEMPLATE);
    started(machine, "vllm@gptq");
    let refused = machine.run(&["awqdeploy", "adopt", "vllm@gptq", "--profile", "old", "--json"]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("vllm-gptq.service") || refused.stdout.contains("vllm-gptq.service"));
    machine.run(&["systemctl", "stop", "vllm@gptq"]).succeeded();

    write(machine, &format!("{UNITS}/vllm-gptq.service"), &TEMPLATE.replace("%i", "gptq"));
    started(machine, "vllm-gptq");
    let adopted = ["--root", "/var/lib/awqdeploy-second", "--profile", "second", "--no-questions", "--json"];
    let adopted = machine.awqdeploy(&[&["adopt", "vllm-gptq"], &adopted[..]].concat(), 0);
    let argv = adopted["argv"].to_string();
    assert!(argv.contains("vllm.entrypoints.openai.api_server"), "{adopted:#}");
    machine.run(&["systemctl", "disable", "--now", "vllm-gptq"]).succeeded();
}

/// Adopts what a script started with all that it is, replaces it, and returns to it.
fn a_script(machine: &Machine) {
    write(machine, &format!("{UNITS}/vllm.service"), BY_A_SCRIPT);
    started(machine, "vllm");
    adopt(machine);
    let generation = machine.run(&["cat", "/var/lib/awqdeploy/generations/1/generation.json"]).document(0);
    let argv = generation["plan"]["serve"]["argv"].as_array().expect("it has a command line");
    let argv: Vec<&str> = argv.iter().filter_map(Value::as_str).collect();
    assert_eq!(argv[..3], ["/home/ai/venv/bin/python", "/home/ai/venv/bin/vllm", "serve"], "{argv:?}");
    let said = argv.join(" ");
    for words in ["--max-model-len 2k", "--max-num-seqs 2", "--enforce-eager"] {
        assert!(said.contains(words), "`{words}` in {said}");
    }
    assert!(!said.contains("disable-log-stats") && !said.contains("--config"), "{said}");
    let notes = machine.run(&["cat", "/var/lib/awqdeploy/generations/1/adopted.json"]).succeeded();
    for note in ["a nice value of 5", "`VLLM_MODEL`"] {
        assert!(notes.contains(note), "`{note}` in {notes}");
    }
    machine.run(&["awqdeploy", "lock", "gptq"]).succeeded();
    committed(&machine.awqdeploy(&["deploy", "gptq", "--yes", "--json"], 0), "gptq");
    committed(&machine.awqdeploy(&["rollback", "old", "--yes", "--json"], 0), "old");
    serves(machine, "old");
    units_are_clean(machine);
}

fn write(machine: &Machine, path: &str, text: &str) {
    machine.run(&["sh", "-c", &format!("cat > {path} <<'END'\n{text}END\n")]).succeeded();
}

fn started(machine: &Machine, unit: &str) {
    machine.run(&["systemctl", "daemon-reload"]).succeeded();
    machine.run(&["systemctl", "start", unit]).succeeded();
    machine.wait(&format!("`{unit}` answers"), |machine| machine.completion() == 200);
}

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
