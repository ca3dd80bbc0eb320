//! The only place that starts programs.

use crate::domain::problem::Problem;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

/// A program that has ended, with what it said.
#[derive(Debug)]
pub struct Finished {
    /// Program and arguments as a person would type them.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Finished {
    fn of(line: String, output: &std::process::Output) -> Self {
        Self {
            line,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its standard output, or a problem that names the command and what it said.
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

/// Runs a program to its end. Its input is empty; what it says is kept, not shown.
pub fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Finished, Problem> {
    let line = line(program, arguments);
    let output = captured(program, arguments, environment).run();
    output.map(|output| Finished::of(line.clone(), &output)).map_err(|e| not_started(&line, program, e))
}

fn captured<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> duct::Expression {
    let command = duct::cmd(program, arguments.iter().map(AsRef::as_ref))
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked();
    environment.iter().fold(command, |command, (name, value)| command.env(name, value))
}

/// As [`run`], for at most `limit`. None: it had not ended by then, and was killed.
pub fn run_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Option<Finished>, Problem> {
    within(limit, line(program, arguments), program, &captured(program, arguments, environment))
}

/// As [`run_within`], with these variables and no others: nothing of the caller's environment, which may hold secrets.
pub fn run_bare_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    arguments: &[A],
    environment: &BTreeMap<String, String>,
) -> Result<Option<Finished>, Problem> {
    let command = captured(program, arguments, &BTreeMap::new()).full_env(environment);
    within(limit, line(program, arguments), program, &command)
}

fn within(
    limit: Duration,
    line: String,
    program: &str,
    command: &duct::Expression,
) -> Result<Option<Finished>, Problem> {
    let running = command.start();
    let running = running.map_err(|e| not_started(&line, program, e))?;
    let ended = running.wait_timeout(limit).map_err(|e| Problem::doing(format_args!("run `{line}`"), e))?;
    if let Some(output) = ended {
        return Ok(Some(Finished::of(line, output)));
    }
    running.kill().map_err(|e| Problem::doing(format_args!("end `{program}`"), e))?;
    Ok(None)
}

/// Runs a program to its end with these variables and no others, in a folder where nothing lies, and tells each line
/// that it writes, to whichever output, as it comes.
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
    let mut stderr = String::new();
    let heard = each_line(BufReader::new(&mut output), &mut |words| {
        said(words);
        stderr.push_str(words);
        stderr.push('\n');
    });
    heard.map_err(|e| Problem::doing(format_args!("hear `{line}`"), e))?;
    match output.try_wait() {
        Ok(Some(ended)) => Ok(Finished { status: ended.status, line, stdout: String::new(), stderr }),
        Ok(None) => Err(Problem::doing(format_args!("run `{line}`"), "it closed its output and goes on")),
        Err(e) => Err(Problem::doing(format_args!("run `{line}`"), e)),
    }
}

/// Runs a program that may go on for ever, and tells each line of its standard output. Nothing is kept of it.
pub fn stream<A: AsRef<OsStr>>(
    program: &str,
    arguments: &[A],
    said: &mut dyn FnMut(&str),
) -> Result<(), Problem> {
    let line = line(program, arguments);
    let command = duct::cmd(program, arguments.iter().map(AsRef::as_ref)).stdin_null();
    let output = command.reader().map_err(|e| not_started(&line, program, e))?;
    // A program that fails ends the reading with its status.
    each_line(BufReader::new(output), said).map_err(|e| Problem::doing(format_args!("run `{line}`"), e))
}

/// Tells each line. Bytes that are no text are replaced, and a line without end is told in parts.
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

/// Starts a program whose end is waited for while something else is watched. It gets a process
/// group of its own, so that Ctrl-C on the terminal reaches only the deployer, which then decides.
pub fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<duct::Handle, Problem> {
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
pub fn service(
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
pub fn engine(
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
