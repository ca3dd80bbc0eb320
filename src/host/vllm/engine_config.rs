//! Asks the installed vLLM what it makes of a command line. Nothing is loaded, and GPUs are only looked for.

use super::isolated::{self, Question};
use crate::domain::{
    planning::engine_config::ResolvedEngineConfig,
    problem::{Kind, Problem},
    service::sandbox::Service,
};
use std::time::Duration;

const SCRIPT: &str = include_str!("ask-engine.py");
/// The longest wait for the answer. Importing vLLM took 20 to 40 seconds where it was measured, from a cold
/// disk more.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Asks vLLM what it makes of a service's command line. The model's own code may run for it
/// (`--trust-remote-code`), so it runs in the service's sandbox.
///
/// # Errors
/// [`Kind::Refused`] where it does not take the command line: the old service must not be stopped for it.
/// [`Kind::Unverified`] where it has said nothing when `patience` ends: whoever hangs here may hang when it is started.
pub fn ask(service: &Service<'_>, patience: Duration) -> Result<ResolvedEngineConfig, Problem> {
    let mut words = service.serve.argv.iter();
    let python = words.next().map_or("", String::as_str);
    let flags = words.skip_while(|word| *word != "serve").skip(2);
    let model = service.model.display().to_string();
    let arguments: Vec<String> = std::iter::once(model).chain(flags.cloned()).collect();
    let question = Question { name: "ask-engine.py", script: SCRIPT, patience };
    let asked = match isolated::ask(service, python, &question, &arguments) {
        // As on a host without a message bus. The question never runs as root instead.
        Err(problem) if problem.kind == Kind::Unverified => {
            return Ok(ResolvedEngineConfig {
                silent: Some(problem.what),
                ..ResolvedEngineConfig::default()
            });
        }
        asked => asked?,
    };
    let ended = asked.ok_or_else(|| {
        Problem::new(
            Kind::Unverified,
            format!(
                "the installed vLLM did not say within {} s what it makes of the plan's command line",
                patience.as_secs()
            ),
        )
        .help("nothing was touched; where this host is busy with other work, try again: nothing is left to fetch")
    })?;
    let said = ended.success().map_err(|problem| {
        Problem::new(Kind::Refused, "the installed vLLM does not take the plan's command line")
            .help("nothing was touched; its own error is above. The CUDA build needs a driver to be asked")
            .because(problem)
    })?;
    ResolvedEngineConfig::of(&said)
        .ok_or_else(|| Problem::new(Kind::Unexpected, "the installed vLLM gave no answer"))
}
