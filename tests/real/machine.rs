//! A real systemd with a real vLLM in reach: what the tests drive.

use super::systemd::Systemd;
use serde_json::Value;
use std::{
    fs,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// The folder of this test in the repository.
pub(crate) const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real");
/// Where the prepared parts are inside; the profiles name it.
pub(crate) const PARTS: &str = "/srv/awqdeploy-real";
/// The API of every test profile.
pub(crate) const API: &str = "http://127.0.0.1:8000";
/// The words that every process of a vLLM that awqdeploy runs has in its command line.
const VLLM: &str = "VLLM::|/store/runtimes/|awqdeploy supervise";
/// The install's 3 GB, several generations, logs. The file is sparse.
const DISK: &str = "16G";
/// How long a restart may take on a busy machine; on an idle one it is half a minute.
const PATIENCE: Duration = Duration::from_mins(20);

/// Two machines with a real vLLM at once would only wait for each other: there may be two cores.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A booted systemd. Dropping it tears it down, after telling what happened if the test failed.
pub(crate) struct Machine {
    state: PathBuf,
    /// The options of each boot.
    options: Vec<String>,
}

/// The output of a command inside.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl Machine {
    /// Boots with awqdeploy and these profiles in place. Nothing where this systemd cannot be had.
    pub(crate) fn boot_with(
        name: &str,
        systemd: Systemd,
        profiles: &Path,
        more: &[(&'static str, String)],
    ) -> Option<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let program = Path::new(env!("CARGO_BIN_EXE_awqdeploy"));
        let mut options = systemd.options()?;
        options.extend([
            ("--disk-size", DISK.to_owned()),
            // After a power cut the boot waits for vLLM.
            ("--timeout", PATIENCE.as_secs().to_string()),
            ("--bind", bind(profiles, "/etc/awqdeploy")),
            ("--ro-bind", bind(program, "/usr/local/bin/awqdeploy")),
        ]);
        options.extend_from_slice(more);
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let machine = Self { state: scratch.join("machine"), options };
        // A machine of an earlier run that was killed.
        machine.down();
        machine.boot();
        Some(machine)
    }

    /// Cuts the power, which loses whatever is not on the disk, and boots again.
    pub(crate) fn power_cut(&self) {
        let cut = harness("cut", &self.state).status().expect("the harness starts");
        assert!(cut.success(), "the power stayed on: {cut}");
        self.boot();
    }

    fn boot(&self) {
        let booted = harness("up", &self.state).args(&self.options).status().expect("the harness starts");
        assert!(booted.success(), "systemd did not boot: {booted}");
    }

    /// Runs a command inside to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Said {
        Said::of(command, &self.command(command).output().expect("the harness starts"))
    }

    /// Starts `awqdeploy` inside, and does not wait for it.
    pub(crate) fn start_awqdeploy(&self, arguments: &[&str]) -> Child {
        self.command(&[&["awqdeploy"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the harness starts")
    }

    /// Runs `awqdeploy` inside, which must end with this exit status; its JSON document.
    pub(crate) fn awqdeploy(&self, arguments: &[&str], code: i32) -> Value {
        let begun = Instant::now();
        let said = self.run(&[&["awqdeploy"], arguments].concat());
        tell(&format!(
            "awqdeploy {}: {:?} after {} s",
            arguments.join(" "),
            said.code,
            begun.elapsed().as_secs()
        ));
        said.document(code)
    }

    /// `awqdeploy status --json`.
    pub(crate) fn status(&self) -> Value {
        self.run(&["awqdeploy", "status", "--json"]).document(0)
    }

    /// The HTTP status of a completion asked of the API; 0 where nothing answers.
    pub(crate) fn completion(&self) -> u16 {
        let body = r#"{"model":"tiny","prompt":"The quick brown","max_tokens":8}"#;
        let url = format!("{API}/v1/completions");
        let json = "content-type: application/json";
        let said = self.run(&[
            "curl",
            "-s",
            "-m",
            "60",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            json,
            "-d",
            body,
            &url,
        ]);
        said.stdout.parse().expect("curl prints a number")
    }

    /// The folder that the answering vLLM loaded its model from.
    pub(crate) fn model(&self) -> String {
        let said = self.run(&["curl", "-sf", "-m", "60", &format!("{API}/v1/models")]).succeeded();
        let models: Value = serde_json::from_str(&said).expect("the API answers JSON");
        models["data"][0]["root"].as_str().expect("a model has a root").to_owned()
    }

    /// The processes of every vLLM on this machine, each a line `PID COMMAND`.
    pub(crate) fn vllm_processes(&self) -> Vec<String> {
        self.run(&["pgrep", "-f", "-a", VLLM]).stdout.lines().map(str::to_owned).collect()
    }

    /// A property of the service.
    pub(crate) fn service(&self, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", property, "vllm.service"])
            .succeeded()
            .trim()
            .to_owned()
    }

    /// The names in a folder; none where there is no such folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        self.run(&["ls", folder]).stdout.lines().map(str::to_owned).collect()
    }

    /// Waits until something is so.
    pub(crate) fn wait(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(begun.elapsed() < PATIENCE, "not so after {} s: {what}", PATIENCE.as_secs());
            sleep(Duration::from_millis(200));
        }
        tell(&format!("{what}: after {:.1} s", begun.elapsed().as_secs_f32()));
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut harness = harness("run", &self.state);
        if self.options.iter().any(|option| option.ends_with(PARTS)) {
            harness.env("AWQDEPLOY_UV_CACHE", format!("{PARTS}/uv-cache")).env("UV_OFFLINE", "1");
        }
        harness.arg("--").args(command);
        harness
    }

    fn down(&self) {
        let _ = harness("down", &self.state).status();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for command in [
                &["journalctl", "--no-pager", "-u", "vllm", "-n", "100"][..],
                &["systemctl", "--no-pager", "status", "vllm"],
                &["awqdeploy", "status"],
                &["awqdeploy", "generations"],
            ] {
                let said = self.run(command);
                tell(&format!("---- {}\n{}{}", command.join(" "), said.stdout, said.stderr));
            }
        }
        self.down();
    }
}

impl Said {
    /// The output of a command that ran to its end.
    pub(crate) fn of(command: &[&str], output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: command.join(" "),
        }
    }

    /// The standard output, if the command ended with 0.
    pub(crate) fn succeeded(self) -> String {
        self.ended_with(0);
        self.stdout
    }

    /// The JSON document, if the command ended with this exit status.
    pub(crate) fn document(&self, code: i32) -> Value {
        self.ended_with(code);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("`{}` printed no JSON document: {e}\n{}", self.command, self.stdout))
    }

    fn ended_with(&self, code: i32) {
        let Self { stdout, stderr, command, .. } = self;
        assert_eq!(self.code, Some(code), "`{command}` ended with another status\n{stdout}\n{stderr}");
    }
}

/// Says something at once: these tests take minutes, and `cargo test` keeps back what is printed.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(stderr(), "real: {line}");
}

/// Copies the test's profiles to where they may be written to.
pub(crate) fn profiles(scratch: &str) -> PathBuf {
    let profiles = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scratch).join("profiles");
    let _ = fs::remove_dir_all(&profiles);
    copy(&Path::new(HERE).join("profiles"), &profiles);
    profiles
}

/// Makes the parts that are not there yet, and says where they are.
pub(crate) fn prepare() -> PathBuf {
    let parts = std::env::var_os("AWQDEPLOY_REAL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real"), PathBuf::from);
    let prepared = Command::new(Path::new(HERE).join("prepare"))
        .env("AWQDEPLOY_REAL_DIR", &parts)
        .status()
        .expect("tests/real/prepare starts");
    assert!(prepared.success(), "tests/real/prepare failed: {prepared}");
    parts
}

fn harness(verb: &str, state: &Path) -> Command {
    let mut command = Command::new(Path::new(HERE).join("with-systemd"));
    command
        .args([verb, "--state"])
        .arg(state)
        // awqdeploy looks for ./profiles first; on a server there is none.
        .current_dir("/")
        .env("PATH", format!("{PARTS}/uv/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    command
}

/// The option of the harness that shows `from` as `to` inside.
pub(crate) fn bind(from: &Path, to: &str) -> String {
    format!("{}:{to}", from.display())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch folder can be written");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the scratch folder can be written");
        }
    }
}
