//! The gate of quality on a small real model: a sound quantisation passes, and damage is seen by the right finding.

use super::{
    machine::{HERE, alone, prepare},
    skipped::skipped,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a vLLM may take to load on a busy machine; on an idle one it is half a minute.
const PATIENCE: Duration = Duration::from_mins(10);

/// A vLLM with a model, ended when it goes out of scope.
struct Server {
    process: Child,
    url: String,
    log: PathBuf,
}

impl Server {
    fn start(parts: &Path, model: &str, more: &[&str]) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{model}.log"));
        let output = File::create(&log).expect("a log");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let process = Command::new(format!("{HERE}/models/serve"))
            .arg(parts)
            .arg(parts.join("smollm2").join(model))
            .arg(port.to_string())
            .args(more)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("bash");
        Self { process, url: format!("http://127.0.0.1:{port}"), log }
    }

    fn ready(&mut self) {
        let began = Instant::now();
        while curl(&[&format!("{}/health", self.url)]).is_none() {
            let ended = self.process.try_wait().expect("a child of ours");
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "it does not serve: {}", log());
            sleep(Duration::from_millis(500));
        }
    }

    /// Mends what was damaged, and does these steps: see `models/damages.py`.
    fn plant(&self, steps: &Value) {
        let body = json!({ "method": "plant", "args": [steps] }).to_string();
        let url = format!("{}/collective_rpc", self.url);
        let said = curl(&["-H", "Content-Type: application/json", "-d", &body, &url]);
        assert!(said.as_deref().is_some_and(|said| said.contains("tensors changed")), "{said:?}");
    }

    fn validate(&self, more: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_awqdeploy"))
            .args(["validate", "--url", &self.url, "--min-decode-tokens-per-second", "0.1"])
            .args(["--json", "--progress", "none"])
            .args(more)
            .output()
            .expect("awqdeploy runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

impl Drop for Server {
    /// Asks first, so that its engine and workers end, too.
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg(self.process.id().to_string()).status();
        let _status = self.process.wait();
    }
}

/// The answer of a server with a good status.
fn curl(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("curl").args(["-sf", "--max-time", "300"]).args(arguments).output().expect("curl");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
#[ignore = "on demand, with AWQDEPLOY_REAL_WEIGHTS=1: needs vLLM and a small model"]
fn damage_to_a_real_model_is_seen() {
    if !rustix::process::geteuid().is_root() {
        skipped("the real vLLM is prepared as root");
        return;
    }
    let _alone = alone();
    let parts = prepare();
    let made = parts.join("smollm2").exists();
    assert!(made, "with AWQDEPLOY_REAL_WEIGHTS=1 `prepare` makes the model");
    // Both load at once. The first has weights that can be changed.
    let mut whole = Server::start(&parts, "smollm2-bf16", &["--worker-extension-cls", "damages.Damages"]);
    let mut quantised = Server::start(&parts, "smollm2-w4a16", &[]);
    whole.ready();
    quantised.ready();

    let questions = ["--min-known-answers", "0.2"];
    let baseline = whole.validate(&questions);
    assert_eq!(baseline["verdict"], "pass", "{:#}", baseline["failures"]);
    assert_eq!(baseline["quality"]["expectations"]["depth"], 20, "vLLM tells twenty likely tokens");

    // Another quantisation: a model as small as this one loses much by four bits.
    let from_whole = Reference::of(&baseline, "smollm2-bf16");
    let rounded = json!(["rtn", { "group": 32 }]);
    whole.plant(&json!([rounded]));
    let sound = whole.validate(&from_whole.within("0.6"));
    assert_eq!(sound["verdict"], "pass", "{:#}{:#}", sound["failures"], sound["doubts"]);
    assert!(mean(&sound) > 0.1, "four bits change something: {:#}", sound["reference"]);

    // Those four bits from a checkpoint, by vLLM's own kernel for them; and damaged.
    let same = Reference::of(&sound, "smollm2-rounded");
    let kernel = quantised.validate(&same.within("0.15"));
    assert_eq!(kernel["verdict"], "pass", "{:#}{:#}", kernel["failures"], kernel["doubts"]);
    drop(quantised);
    whole.plant(&json!([rounded, ["shard", { "layer": 12, "only": ["gate_up_proj"], "of": 4, "by": 1.5 }]]));
    fails(&whole.validate(&same.within("0.005")), "its expectations diverge from those of the model");
    whole.plant(&json!([rounded, ["row", { "only": ["embed_tokens"], "at": 2 }]]));
    fails(&whole.validate(&questions), "answers did not end within 48 tokens");
}

/// A report in a file, to compare with.
struct Reference(PathBuf);

impl Reference {
    fn of(report: &Value, name: &str) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        fs::write(&file, report.to_string()).expect("a report");
        Self(file)
    }

    fn within<'a>(&'a self, limit: &'a str) -> [&'a str; 4] {
        ["--reference", self.0.to_str().expect("a path of text"), "--max-divergence", limit]
    }
}

fn mean(report: &Value) -> f64 {
    report["reference"]["divergence"]["mean"].as_f64().expect("both tell what they expect")
}

fn fails(report: &Value, by: &str) {
    assert_eq!(report["verdict"], "fail", "{by}: {:#}{:#}", report["failures"], report["reference"]);
    let said = report["failures"].to_string();
    assert!(said.contains(by), "not by `{by}`: {said}");
}
