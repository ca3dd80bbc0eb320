//! A host that looks as if systemd ran it, or as if nothing did, whatever this machine is: the program in mount
//! and user namespaces of its own.

use super::{
    program::{Said, awqdeploy, settled},
    running_engine::plan,
    scratch::tempdir,
    skipped::skipped,
    stand::{FORKED, PROGRAM},
};
use awqdeploy::{
    domain::{
        activation::machine::{Activation, End, State},
        generation_id::GenerationId,
        store::layout::Layout,
    },
    host::{os::fs::names, store::Store},
};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};
use tempfile::TempDir;

/// A systemd that is none, for tests to ask: a service that is active, and commands that do nothing. No test on it
/// comes as far as to change a service; those that do have a real systemd (tests/real) or the embedded supervisor.
const SYSTEMCTL: &str = "#!/bin/sh\ncase \"$*\" in *ActiveState*) echo ActiveState=active ;; esac\n";

/// The lock of a runtime that no test installs.
const RUNTIME: &str = "version = 1\nvllm = '0.32.0'\ndevice = 'cpu'\npython = '3.12'\nplatform = 'any'\n\
    [[wheel]]\nname = 'vllm'\nversion = '0.32.0'\nfile = 'vllm-0.32.0-py3-none-any.whl'\nsize = 1\n\
    sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n";

/// The looks of the host to the program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Looks {
    /// No systemd.
    Bare,
    /// systemd runs it, and the caller is root.
    Systemd,
    /// systemd runs it, and the caller is not root.
    SystemdAndNobody,
    /// As `Systemd`, while an activation of another root goes on.
    OtherRoot,
    /// As `Systemd`, with a store of 1 MiB.
    FullDisk,
    /// As `Systemd`, with a `vllm.service` that somebody wrote by hand.
    OwnUnit,
    /// As `Systemd`, with a drop-in of this name for it, by which it is always restarted.
    DropIn(&'static str),
}

/// A small model that is modelled, so that a plan knows it.
const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}"#;

/// A root on which generation 1 serves, and a locked profile `tiny` for the CPU.
pub(crate) struct Host {
    folder: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { folder: tempdir().unwrap() };
        for folder in ["profiles/runtimes", "model", "bin"] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        host.install("systemctl", SYSTEMCTL);
        fs::write(host.path("profiles/runtimes/vllm-0.32.0-cpu.toml"), RUNTIME).unwrap();
        let profile = format!(
            "service = 'vllm'\n[model]\nrepo = 'owner/tiny'\npath = '{}'\nserved-name = 'tiny'\n\
             [runtime]\nvllm = '0.32.0'\ndevice = 'cpu'\n",
            host.path("model").display()
        );
        fs::write(host.path("profiles/tiny.toml"), profile).unwrap();
        fs::write(host.path("model/config.json"), LLAMA).unwrap();
        host.write_weights(4 << 20);
        Said::by(&mut host.awqdeploy(&["lock", "tiny"])).text();
        host.serve();
        host
    }

    /// A file of weights of about this many bytes: a true header, and behind it a hole, which takes no room and has to
    /// be read all the same. Returns its length.
    pub(crate) fn write_weights(&self, bytes: u64) -> u64 {
        let header = format!(r#"{{"t":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
        let mut file = fs::File::create(self.path("model/model.safetensors")).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        let length = 8 + header.len() as u64 + bytes;
        file.set_len(length).unwrap();
        length
    }

    /// Generation 1 is current, and was proven.
    fn serve(&self) {
        let store = self.store();
        let writer = store.writer(FORKED, "test").unwrap();
        let program = self.path("bin/systemctl");
        // The default port of profiles, which `tiny` takes over from the running server.
        let to = writer.add_generation(plan(([127, 0, 0, 1], 8000).into()), "", &program).unwrap();
        writer.point(Some(to)).unwrap();
        let (_, mut journal) = writer.begin_activation().unwrap();
        let state = State::Done { end: End::Committed };
        journal.record(&Activation { from: None, to, state }).unwrap();
        drop(writer);
        // Whatever child of another test held it, too, has let go of it once it can be had again.
        drop(store.writer(FORKED, "test").unwrap());
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(Layout::new(self.path("root")))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this root and these profiles, on the machine as it is.
    pub(crate) fn awqdeploy(&self, arguments: &[&str]) -> Command {
        let mut command = awqdeploy(arguments);
        self.settle(&mut command);
        command
    }

    /// Tells a command about this root and these profiles.
    pub(crate) fn settle(&self, command: &mut Command) {
        settled(command);
        command.env("AWQDEPLOY_ROOT", self.path("root")).env("AWQDEPLOY_PROFILES", self.path("profiles"));
    }

    /// Runs this on a machine that looks so. Nothing where this machine does not let a test make namespaces.
    pub(crate) fn that_looks(&self, looks: Looks, arguments: &[&str]) -> Option<Command> {
        if !Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|tried| tried.status.success()) {
            skipped(&format!("{looks:?} needs user namespaces, or to be root"));
            return None;
        }
        let store = self.path("root/store");
        let (setup, user) = match looks {
            Looks::Bare => (String::new(), ""),
            Looks::Systemd => ("mkdir -p /run/systemd/system; ".to_owned(), ""),
            Looks::OtherRoot => (
                // The lock goes with the last program that has the file open, which is ours.
                "mkdir -p /run/systemd/system /run/awqdeploy; mount -t tmpfs tmpfs /etc; cd /run/awqdeploy; \
                 echo '{\"pid\":7,\"command\":\"awqdeploy --root /srv/b\",\"since\":\"2026-01-01T00:00:00Z\"}' \
                 > activation.lock; exec 9< activation.lock; flock 9; cd /; "
                    .to_owned(),
                "",
            ),
            Looks::SystemdAndNobody => {
                ("mkdir -p /run/systemd/system; ".to_owned(), "unshare -U --map-user=1000 ")
            }
            Looks::OwnUnit => (
                "mkdir -p /run/systemd/system; mount -t tmpfs tmpfs /etc; mkdir -p /etc/systemd/system; \
                 echo '[Service]' > /etc/systemd/system/vllm.service; "
                    .to_owned(),
                "",
            ),
            Looks::DropIn(name) => (
                format!(
                    "mkdir -p /run/systemd/system; mount -t tmpfs tmpfs /etc; d=/etc/systemd/system/vllm.service.d; \
                     mkdir -p $d; printf '[Service]\\nRestart=always\\n' > $d/{name}; "
                ),
                "",
            ),
            Looks::FullDisk => (
                format!(
                    "mkdir -p /run/systemd/system {store}; mount -t tmpfs -o size=1m,mode=755 tmpfs {store}; ",
                    store = store.display()
                ),
                "",
            ),
        };
        // Each program gives way to the next, so that a signal reaches the last.
        let script = format!("set -e; mount -t tmpfs tmpfs /run; {setup}exec {user}\"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script, "sh", PROGRAM]).args(arguments);
        self.settle(&mut command);
        if looks != Looks::Bare {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        }
        Some(command)
    }

    /// Puts a program where the host finds it first.
    pub(crate) fn install(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Nothing but generation 1 is there, and it is current.
    pub(crate) fn unchanged(&self) {
        self.still_serves();
        assert_eq!(names(&self.path("root/store/models")).unwrap(), [""; 0]);
    }

    /// Generation 1 is current, and nothing else is half-made or made. A verified model may have come.
    pub(crate) fn still_serves(&self) {
        let root = self.path("root");
        assert_eq!(self.store().current().unwrap(), Some(GenerationId(1)));
        assert_eq!(names(&root.join("generations")).unwrap(), ["1"]);
        for folder in ["store/runtimes", "store/staging"] {
            // The files that uv has unpacked stay for the next attempt.
            let made: Vec<String> = names(&root.join(folder)).unwrap();
            assert_eq!(made.into_iter().filter(|name| name != "uv").collect::<Vec<_>>(), [""; 0], "{folder}");
        }
    }
}
