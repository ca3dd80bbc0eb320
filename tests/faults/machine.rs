//! A real systemd with the rehearsal engine in vLLM's place: everything else is what a deployment meets.

use super::systemd::Systemd;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The folders of this test and of the harness in the repository.
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults");
const HARNESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/with-systemd");
/// Where programs are looked for inside: ahead of all, the one that is in uv's place, whatever uv this host has.
const PROGRAMS: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a file inside is looked at. A step of the machine takes some milliseconds at least.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(10);

/// A booted systemd, gone when this is dropped.
pub(crate) struct Machine {
    state: PathBuf,
    options: Vec<String>,
}

impl Machine {
    /// Boots with awqdeploy, two tiny models and the profiles in place. Nothing where this systemd cannot be had.
    pub(crate) fn up(name: &str, systemd: Systemd) -> Option<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}"));
        let state = scratch.join("machine");
        let more = systemd.options()?;
        let machine =
            Self { options: more.into_iter().chain(parts(&scratch)).flat_map(words).collect(), state };
        machine.down();
        machine.boot().unwrap_or_else(|why| panic!("{why}"));
        for profile in ["old", "new", "slow", "watched"] {
            assert!(machine.run(&["awqdeploy", "lock", profile]).status.success(), "`{profile}` is locked");
        }
        Some(machine)
    }

    /// Boots it. What the harness says of one that does not come up is the error.
    pub(crate) fn boot(&self) -> Result<(), String> {
        let booted = self.harness("up").args(&self.options).output().expect("the harness starts");
        if booted.status.success() {
            return Ok(());
        }
        Err(format!("systemd did not boot: {}", String::from_utf8_lossy(&booted.stderr)))
    }

    /// Cuts the power: what is not on the disk is lost.
    pub(crate) fn cut(&self) {
        let cut = self.harness("cut").status().expect("the harness starts");
        assert!(cut.success(), "the power stayed on: {cut}");
    }

    fn down(&self) {
        let _ = self.harness("down").status();
    }

    /// Runs a command inside to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        self.harness("run").arg("--").args(command).output().expect("the harness starts")
    }

    /// Runs a command and returns its standard output, without the last line's end.
    pub(crate) fn said(&self, command: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(command).stdout).trim().to_owned()
    }

    /// Starts a command inside.
    pub(crate) fn start(&self, command: &[&str]) -> Child {
        let mut harness = self.harness("run");
        harness.arg("--").args(command).stdout(Stdio::piped()).stderr(Stdio::piped());
        harness.spawn().expect("the harness starts")
    }

    /// Sends a signal to the processes inside that `pkill` finds by these words.
    pub(crate) fn signal(&self, signal: &str, which: &[&str]) {
        let _none_left = self.at_once(&[&["pkill", signal], which].concat());
    }

    /// Makes the engine that serves a slow one.
    pub(crate) fn slow_down(&self) {
        self.signal("-USR1", &["-f", "awqdeploy engine"]);
    }

    /// The state of a unit, in systemd's word.
    pub(crate) fn unit(&self, unit: &str) -> String {
        self.at_once(&["systemctl", "is-active", unit])
    }

    /// Runs a command that is not worth a control group of its own, unlike [`Self::run`].
    fn at_once(&self, command: &[&str]) -> String {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.init(), "-p", "-m", "--"]).args(command).stdin(Stdio::null());
        let output = nsenter.output().expect("nsenter starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `awqdeploy status --json`.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.said(&["awqdeploy", "status", "--json"])).unwrap_or_default()
    }

    /// The HTTP status of a completion asked of the API; 0 where nothing answers.
    pub(crate) fn completion(&self) -> String {
        let body = r#"{"model":"tiny","prompt":"The quick brown","max_tokens":4}"#;
        let form = ["-H", "content-type: application/json", "-d", body];
        let curl = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"];
        self.said(&[&curl[..], &form, &["http://127.0.0.1:8000/v1/completions"]].concat())
    }

    /// A file inside, read from outside: without starting anything. Nothing where it is not there.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// The names in a folder inside, likewise.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether something is so before the patience ends.
    pub(crate) fn wait(&self, mut so: impl FnMut(&Self) -> bool) -> bool {
        let began = Instant::now();
        while !so(self) {
            if began.elapsed() > PATIENCE {
                return false;
            }
            sleep(LOOK_EVERY);
        }
        true
    }

    /// Whether its PID 1 has ended.
    pub(crate) fn is_off(&self) -> bool {
        !Path::new("/proc").join(self.init()).join("exe").exists()
    }

    /// A file inside, as a path outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init()))
    }

    /// The number of its PID 1 outside.
    fn init(&self) -> String {
        fs::read_to_string(self.state.join("pid")).unwrap_or_default().trim().to_owned()
    }

    fn harness(&self, verb: &str) -> Command {
        let mut command = Command::new(HARNESS);
        command.args([verb, "--state"]).arg(&self.state).current_dir("/");
        command.env("PATH", PROGRAMS).stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.down();
    }
}

/// Makes what is bound into the machine, and says where to.
fn parts(scratch: &Path) -> [(&'static str, String); 5] {
    let _ = fs::remove_dir_all(scratch);
    let profiles = scratch.join("profiles");
    fs::create_dir_all(profiles.join("runtimes")).expect("the scratch folder can be written");
    for folder in ["", "runtimes"] {
        for entry in fs::read_dir(Path::new(HERE).join("profiles").join(folder)).expect("profiles are there")
        {
            let from = entry.expect("profiles can be read").path();
            if from.is_file() {
                let to = profiles.join(folder).join(from.file_name().expect("a file has a name"));
                fs::copy(&from, to).expect("the scratch folder can be written");
            }
        }
    }
    for model in ["old", "new"] {
        weights(&scratch.join("models").join(model), model);
    }
    let bind = |from: &Path, to: &str| format!("{}:{to}", from.display());
    [
        ("--disk-size", "4G".to_owned()),
        ("--bind", bind(&profiles, "/etc/awqdeploy")),
        ("--ro-bind", bind(&scratch.join("models"), "/srv/models")),
        ("--ro-bind", bind(&Path::new(HERE).join("uv"), "/usr/local/bin/uv")),
        ("--ro-bind", bind(Path::new(env!("CARGO_BIN_EXE_awqdeploy")), "/usr/local/bin/awqdeploy")),
    ]
}

fn words((name, value): (&str, String)) -> [String; 2] {
    [name.to_owned(), value]
}

/// A small model that is modelled, so that a plan knows it.
const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}"#;

/// A model that the plan can read: a true header, and some bytes.
fn weights(folder: &Path, name: &str) {
    const BYTES: usize = 4096;
    fs::create_dir_all(folder).expect("the scratch folder can be written");
    fs::write(folder.join("config.json"), LLAMA).expect("the scratch folder can be written");
    let header = format!(r#"{{"t":{{"dtype":"U8","shape":[{BYTES}],"data_offsets":[0,{BYTES}]}}}}"#);
    let mut file = fs::File::create(folder.join("model.safetensors")).expect("the folder can be written");
    let bytes: Vec<u8> = name.bytes().cycle().take(BYTES).collect();
    for part in [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes] {
        file.write_all(part).expect("the folder can be written");
    }
}
