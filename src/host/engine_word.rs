//! Asks the installed vLLM what it makes of a command line. Nothing is loaded, and no GPU is touched beyond
//! being looked for.

use super::exec;
use crate::domain::{
    engine_word::EngineWord,
    plan::Plan,
    problem::{Kind, Problem},
};

const SCRIPT: &str = include_str!("ask-engine.py");

/// Its answer. A runtime that cannot be asked is a problem: the caller wanted to know.
pub fn ask(plan: &Plan) -> Result<EngineWord, Problem> {
    let mut words = plan.serve.argv.iter();
    let python = words.next().map_or("", String::as_str);
    let flags = words.skip_while(|word| *word != "serve").skip(1);
    let arguments: Vec<&str> = ["-c", SCRIPT].into_iter().chain(flags.map(String::as_str)).collect();
    let said = exec::run(python, &arguments, &plan.serve.env).and_then(exec::Finished::success);
    let said = said.map_err(|problem| {
        Problem::new(Kind::Refused, "the installed vLLM does not take the plan's command line")
            .help("its own error is above; the CUDA build needs a driver to be asked")
            .because(problem)
    })?;
    EngineWord::of(&said).ok_or_else(|| Problem::new(Kind::Unexpected, "the installed vLLM gave no answer"))
}
