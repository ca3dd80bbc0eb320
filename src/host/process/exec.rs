//! The only place that starts programs.

use super::output::{self, KeptOutput, OutputReader};
use crate::domain::problem::Problem;
use duct::Expression;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    io::{self, BufRead, BufReader, PipeReader, Read},
    os::unix::process::CommandExt,
    process::{ExitStatus, Stdio},
    sync::Weak,
    time::{Duration, Instant},
};

/// A program that has ended, with its output: text, or the first of its bytes.
#[derive(Debug)]
pub struct Finished<Output = String> {
    /// The command line as a person would type it.
    pub line: String,
    /// The exit status.
    pub status: ExitStatus,
    /// The standard output.
    pub stdout: Output,
    /// The standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output, or a problem that names the command and quotes its error.
    pub fn success(self) -> Result<String, Problem> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let doing = format!("run `{}`", self.line);
        Err(Problem::doing(doing, Failed(self)))
    }
}

/// A command that failed, with the end of its standard error.
#[derive(Debug)]
struct Failed(Finished);

/// The limit of time for programs that have none of their own.
const LONGEST: Duration = Duration::from_hours(1);
/// The longest line that is held in memory.
const LONGEST_LINE: u64 = 64 << 10;
/// Lines of a failed command's standard error that are shown.
const SHOWN_LINES: usize = 12;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)?;
        let lines: Vec<_> = self.0.stderr.trim().lines().collect();
        for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
            write!(f, "\n{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failed {}

/// Runs a program to its end. Its input is empty; its output is kept, not shown: the beginning and the end,
/// where it is very long.
pub fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Finished, Problem> {
    let ended = run_within(LONGEST, program, arguments, environment)?;
    ended.ok_or_else(|| {
        let late = format!("it took over {} min, and was ended", LONGEST.as_secs() / 60);
        Problem::doing(format_args!("run `{}`", line(program, arguments)), late)
    })
}

/// Runs a program as [`run`] does, for at most `limit`. None: it had not ended by then, and was killed.
pub fn run_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Option<Finished>, Problem> {
    let prepared = |command| {
        environment.iter().fold(command, |command: Expression, (name, value)| command.env(name, value))
    };
    Running::start(program, arguments, output::text, prepared)?.within(limit)
}

/// Runs a program as [`run_within`] does, with these variables and no others: nothing of the caller's
/// environment, which may hold secrets.
pub(crate) fn run_bare_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Option<Finished>, Problem> {
    let prepared = |command: Expression| command.full_env(environment);
    Running::start(program, arguments, output::text, prepared)?.within(limit)
}

/// Runs a program that prints bytes, for at most `limit`. `most` of the bytes are kept. None: it took longer, and was
/// killed.
pub(crate) fn bytes_within<A: AsRef<OsStr>>(
    limit: Duration,
    most: u64,
    program: &str,
    arguments: &[A],
) -> Result<Option<Finished<Vec<u8>>>, Problem> {
    let first = move |output: PipeReader, _: &Weak<()>| {
        let mut bytes = Vec::new();
        output.take(most).read_to_end(&mut bytes).map(|_| bytes)
    };
    Running::start(program, arguments, first, |command| command)?.within(limit)
}

/// A running program and its output.
struct Running<Output> {
    line: String,
    handle: duct::Handle,
    stdout: OutputReader<Output>,
    stderr: OutputReader,
}

impl<Output: Send + 'static> Running<Output> {
    fn start<A: AsRef<OsStr>>(
        program: &str,
        arguments: &[A],
        read: impl FnOnce(PipeReader, &Weak<()>) -> io::Result<Output> + Send + 'static,
        prepared: impl FnOnce(Expression) -> Expression,
    ) -> Result<Self, Problem> {
        let line = line(program, arguments);
        let failed = |e| Problem::doing(format_args!("hear `{line}`"), e);
        let (stdout, out) = OutputReader::begin(read).map_err(failed)?;
        let (stderr, errors) = OutputReader::begin(output::text).map_err(failed)?;
        let command = duct::cmd(program, arguments.iter().map(AsRef::as_ref))
            .stdin_null()
            .stdout_file(out)
            .stderr_file(errors)
            .unchecked();
        let handle = prepared(command).start().map_err(|e| not_started(&line, program, e))?;
        Ok(Self { line, handle, stdout, stderr })
    }

    /// Waits for its end, and for that of all its children that can still write. None: it took longer, and
    /// was killed.
    fn within(self, limit: Duration) -> Result<Option<Finished<Output>>, Problem> {
        let Self { line, handle, stdout, stderr } = self;
        let deadline = Instant::now() + limit;
        let failed = |e| Problem::doing(format_args!("run `{line}`"), e);
        let status = handle.wait_deadline(deadline).map_err(failed)?.map(|ended| ended.status);
        if let Some(status) = status
            && let Some(stdout) = stdout.end(deadline).map_err(failed)?
            && let Some(stderr) = stderr.end(deadline).map_err(failed)?
        {
            return Ok(Some(Finished { line, status, stdout, stderr }));
        }
        handle.kill().map_err(|e| Problem::doing(format_args!("end `{line}`"), e))?;
        Ok(None)
    }
}

/// Runs a program to its end with these variables and no others, in an empty folder. Passes on each line of
/// either output as it comes.
pub fn watch_alone<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
    said: &mut dyn FnMut(&str),
) -> Result<Finished, Problem> {
    let line = line(program, arguments);
    let command = duct::cmd(program, arguments.iter().map(AsRef::as_ref))
        .stdin_null()
        .stderr_to_stdout()
        .full_env(environment)
        .dir("/")
        .unchecked();
    let mut output = command.reader().map_err(|e| not_started(&line, program, e))?;
    let mut kept = KeptOutput::default();
    let heard = each_line(BufReader::new(&mut output), &mut |words| {
        said(words);
        kept.push(words.as_bytes());
        kept.push(b"\n");
    });
    heard.map_err(|e| Problem::doing(format_args!("hear `{line}`"), e))?;
    match output.try_wait() {
        Ok(Some(ended)) => {
            let stderr = kept.into_text();
            Ok(Finished { status: ended.status, line, stdout: String::new(), stderr })
        }
        Ok(None) => Err(Problem::doing(format_args!("run `{line}`"), "it closed its output and goes on")),
        Err(e) => Err(Problem::doing(format_args!("run `{line}`"), e)),
    }
}

/// Runs a program that may go on for ever, and passes on each line of its standard output. Nothing is kept.
pub fn stream<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    said: &mut dyn FnMut(&str),
) -> Result<(), Problem> {
    let line = line(program, arguments);
    let command = duct::cmd(program, arguments.iter().map(AsRef::as_ref)).stdin_null();
    let output = command.reader().map_err(|e| not_started(&line, program, e))?;
    // The status of a program that fails ends the reading.
    each_line(BufReader::new(output), said).map_err(|e| Problem::doing(format_args!("run `{line}`"), e))
}

/// Passes on each line. Bytes that are no text are replaced, and a line without end is passed on in parts.
fn each_line(mut output: impl BufRead, said: &mut dyn FnMut(&str)) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        output.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&line);
        said(words.trim_end_matches(['\n', '\r']));
    }
}

/// Starts a program, so that the caller can watch something else while it waits. The program gets a process
/// group of its own, so that Ctrl-C on the terminal reaches only the deployer, which then decides.
pub(crate) fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<duct::Handle, Problem> {
    duct::cmd(program, arguments.iter().map(AsRef::as_ref))
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start()
        .map_err(|e| not_started(&line(program, arguments), program, e))
}

/// Starts a long-running service in a process group of its own, its output appended to `log`.
pub(crate) fn service(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    log: std::fs::File,
) -> Result<std::process::Child, Problem> {
    let (program, arguments) = split(argv)?;
    let errors = log.try_clone().map_err(|e| Problem::doing("share the service's log", e))?;
    command(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|e| not_started(&argv.join(" "), program, e))
}

/// Starts the engine below a supervisor, its output piped to it. `removed` variables are not passed on.
pub(crate) fn engine(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    removed: &[&str],
) -> Result<tokio::process::Child, Problem> {
    let (program, arguments) = split(argv)?;
    let mut command = tokio::process::Command::from(command(program));
    for name in removed {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| not_started(&argv.join(" "), program, e))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
fn command(program: &str) -> std::process::Command {
    std::process::Command::new(program)
}

fn split(argv: &[String]) -> Result<(&String, &[String]), Problem> {
    argv.split_first().ok_or_else(|| Problem::doing("start a service", "its command line is empty"))
}

fn line<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    std::iter::once(program.into()).chain(words).collect::<Vec<_>>().join(" ")
}

fn not_started(line: &str, program: &str, cause: io::Error) -> Problem {
    let missing = cause.kind() == io::ErrorKind::NotFound;
    let problem = Problem::doing(format_args!("run `{line}`"), cause);
    if missing { problem.help(format!("install `{program}`, or put it on the PATH")) } else { problem }
}
