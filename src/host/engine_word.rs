//! Asks the installed vLLM what it makes of a command line. Nothing is loaded, and no GPU is touched beyond
//! being looked for.

use super::{exec, fs};
use crate::domain::{
    engine_word::EngineWord,
    plan::Plan,
    problem::{Kind, Problem},
};
use std::{path::Path, time::Duration};

const SCRIPT: &str = include_str!("ask-engine.py");
/// How long it may take. Importing vLLM took 20 to 40 seconds where it was measured, from a cold disk more.
pub const PATIENCE: Duration = Duration::from_mins(5);
/// Variables that name folders in which vLLM and its libraries keep things. The service has folders of its own
/// for them; whoever only asks leaves nothing behind.
const FOLDERS: [&str; 4] = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VLLM_CACHE_ROOT"];

/// What it makes of the plan's command line for the checkpoint in this folder.
///
/// # Errors
/// [`Kind::Refused`] where it does not take the command line: the old service must not be stopped for it.
/// [`Kind::Unverified`] where it has said nothing when `patience` ends: whoever hangs here may hang when it is started.
pub fn ask(plan: &Plan, checkpoint: &Path, patience: Duration) -> Result<EngineWord, Problem> {
    let mut words = plan.serve.argv.iter();
    let python = words.next().map_or("", String::as_str);
    let flags = words.skip_while(|word| *word != "serve").skip(2);
    let folder = tempfile::tempdir().map_err(|e| Problem::doing("make a folder to ask vLLM in", e))?;
    let script = folder.path().join("ask-engine.py");
    fs::write_new(&script, SCRIPT)?;
    let [script, checkpoint, home] =
        [&script, checkpoint, folder.path()].map(|path| path.display().to_string());
    let before = [script.as_str(), checkpoint.as_str()];
    let arguments: Vec<&str> = before.into_iter().chain(flags.map(String::as_str)).collect();
    let mut environment = plan.serve.env.clone();
    environment.extend(FOLDERS.map(|name| (name.to_owned(), home.clone())));
    // The runtime is held against what was installed: nothing may be added to it.
    environment.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    let ended = exec::run_within(patience, python, &arguments, &environment)?.ok_or_else(|| {
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
    EngineWord::of(&said).ok_or_else(|| Problem::new(Kind::Unexpected, "the installed vLLM gave no answer"))
}
