//! The program itself, as a shell runs it.

use super::{docs::schemas::keeps_to_its_schema, scratch::SCRATCH, stand::PROGRAM};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

/// The output of a program that ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, with nothing of the surroundings that changes what it does.
pub(crate) fn awqdeploy(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    settled(&mut command);
    command
}

/// Takes out of the environment what would change what the program does.
pub(crate) fn settled(command: &mut Command) {
    for name in ["AWQDEPLOY_ROOT", "AWQDEPLOY_PROFILES", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.env("TMPDIR", SCRATCH).stdin(Stdio::null());
}

impl Said {
    pub(crate) fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard error, if the program ended with this exit status and said nothing else.
    pub(crate) fn complaint(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{}", self.stderr);
        self.stderr
    }

    /// The standard output, if all was well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The one JSON document that it printed, if it ended with this exit status. It keeps to its published schema.
    pub(crate) fn document(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        let document = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}:\n{}", self.stdout));
        keeps_to_its_schema(&document);
        document
    }
}

/// A program that runs, and tells its progress as JSON.
pub(crate) struct Running {
    child: Child,
    events: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts a command that was given `--progress json`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let events = BufReader::new(child.stderr.take().unwrap());
        Self { child, events }
    }

    /// Waits for the event that is meant.
    pub(crate) fn wait_for(&mut self, meant: impl Fn(&Value) -> bool) {
        let mut told = Vec::new();
        for line in self.events.by_ref().lines() {
            let line = line.unwrap();
            if serde_json::from_str(&line).is_ok_and(|event| meant(&event)) {
                return;
            }
            told.push(line);
        }
        panic!("it ended before:\n{}", told.join("\n"));
    }

    /// Sends a signal to it alone, as `kill` does.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, Said) {
        let stdout = self.child.stdout.take().unwrap();
        let printed = thread::spawn(move || std::io::read_to_string(stdout).unwrap());
        let mut stderr = String::new();
        self.events.read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        (status, Said { code: status.code(), stdout: printed.join().unwrap(), stderr })
    }
}
