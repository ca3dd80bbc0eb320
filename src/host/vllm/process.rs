//! The engine below its supervisor: passes its output on, reads its lines, ends its descendants.

use crate::{
    domain::problem::Problem,
    host::process::{exec, process_tree},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{collections::BTreeMap, process::ExitStatus, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::Child,
    sync::mpsc,
    time::timeout,
};

/// Variables of the service manager that the engine must not get.
const NOT_PASSED_ON: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"];
/// Bytes of output passed on at once.
const CHUNK: usize = 8 << 10;
/// The longest line that is read; the rest of a longer one is only passed on.
const LINE_LIMIT: usize = 4 << 10;
/// The most lines that may wait; the engine is held up beyond that.
const LINES_WAITING: usize = 256;

/// The longest wait for each of an ended engine's last lines.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A running engine.
#[derive(Debug)]
pub(crate) struct EngineProcess {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl EngineProcess {
    /// Starts the engine. This process inherits the orphans that it leaves.
    pub(crate) fn start(argv: &[String], environment: &BTreeMap<String, String>) -> Result<Self, Problem> {
        process_tree::adopt_orphans()?;
        let mut child = exec::engine(argv, environment, &NOT_PASSED_ON)?;
        let (said, lines) = mpsc::channel(LINES_WAITING);
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_on(stdout, tokio::io::stdout(), said.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(stderr, tokio::io::stderr(), said));
        }
        Ok(Self { child, lines })
    }

    /// The next line of the engine, or its end with the last lines.
    pub(crate) async fn next(&mut self) -> Result<Next, Problem> {
        let ended = tokio::select! {
            biased;
            Some(line) = self.lines.recv() => return Ok(Next::Line(line)),
            ended = self.child.wait() => ended,
        };
        let status = ended.map_err(|e| Problem::doing("wait for the engine", e))?;
        let mut last = Vec::new();
        // The last lines say why it ended, and may still be in the pipe. Its orphans may hold the pipe open
        // for ever.
        while let Ok(Some(line)) = timeout(LAST_WORDS, self.lines.recv()).await {
            last.push(line);
        }
        Ok(Next::Ended { status, last })
    }

    /// Asks the engine to stop, waits for at most `grace`, and ends whatever is left of it.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<(), Problem> {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // An engine that is gone already is fine.
            let _gone = kill_process(pid, Signal::TERM);
            // An engine that ignored the signal, as vLLM can while it starts, is killed below.
            let _late = timeout(grace, self.child.wait()).await;
        }
        self.clear()
    }

    /// Ends the processes that an ended engine left.
    pub(crate) fn clear(&mut self) -> Result<(), Problem> {
        let _gone = self.child.start_kill();
        process_tree::kill_descendants()
    }
}

/// An event of the engine.
#[derive(Debug)]
pub(crate) enum Next {
    /// The engine wrote this line.
    Line(String),
    /// The engine ended.
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The lines that were not read yet.
        last: Vec<String>,
    },
}

/// Copies output as it comes, and passes on each line.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    said: mpsc::Sender<String>,
) {
    let mut chunk = vec![0; CHUNK];
    let mut line = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        // A closed log is no reason to stop an engine.
        let _closed = to.write_all(&chunk[..length]).await;
        let _closed = to.flush().await;
        for byte in &chunk[..length] {
            match byte {
                b'\n' => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    line.clear();
                    let _unheard = said.send(text).await;
                }
                byte if line.len() < LINE_LIMIT => line.push(*byte),
                _ => {}
            }
        }
    }
}
