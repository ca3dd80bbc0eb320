//! `profiles`: what can be deployed.

use crate::{
    cli::{
        args::Global,
        context::context,
        documents::profiles::{ProfileLine, ProfilesDocument},
        library,
        output::show,
        terminal::{BAD, FAINT, GOOD, TextStyle},
    },
    domain::{
        exit_status::ExitStatus,
        problem::{Kind, Problem},
        spelling::listed,
    },
    flow::inspect::profiles,
};
use std::fmt::Write;

const NONE_YET: &str = "there are no profiles yet: `awqdeploy init OWNER/MODEL` writes one";

pub(crate) fn profiles(global: &Global) -> Result<ExitStatus, Problem> {
    let document = ProfilesDocument::of(profiles::profiles(&mut context(global)?)?);
    show(global, &document, list)
}

fn list(document: &ProfilesDocument) -> String {
    if document.profiles.is_empty() {
        return format!("{NONE_YET}\n");
    }
    let width = document.profiles.iter().map(|line| line.profile.chars().count()).max().unwrap_or_default();
    document.profiles.iter().fold(String::new(), |mut out, line| {
        let ProfileLine { profile, stage, generation, repo, vllm, mistake, .. } = line;
        let style = if *stage == "serves" { GOOD } else { TextStyle::Plain };
        let stage = match generation {
            Some(id) => format!("{stage} (generation {id})"),
            None => (*stage).to_owned(),
        };
        let told = match (mistake, repo, vllm) {
            (Some(mistake), ..) => format!("{BAD}{mistake}{BAD:#}"),
            (None, Some(repo), Some(vllm)) => format!("{FAINT}{repo}, vLLM {vllm}{FAINT:#}"),
            (None, ..) => String::new(),
        };
        let _ = writeln!(out, "{profile:<width$}  {style}{stage:<24}{style:#}  {told}");
        out
    })
}

/// The refusal for somebody who names none.
pub(crate) fn none_named(global: &Global, command: &str) -> Problem {
    let help = match library::library(global).names() {
        Ok(names) if names.is_empty() => NONE_YET.to_owned(),
        Ok(names) => {
            let names = listed(names.iter().map(String::as_str));
            format!("there are {names}; `awqdeploy profiles` shows how far each is")
        }
        Err(problem) => return problem,
    };
    Problem::new(Kind::Usage, format!("`awqdeploy {command}` needs the name of a profile")).help(help)
}
