//! Every mistake in a profile as a person sees it. These pages are the specification of the messages.

mod extra;
mod structure;
mod values;

use awqdeploy::{
    cli::problem::{Style, render},
    domain::profile::Profile,
};
use std::path::Path;

/// The least that a profile must say.
const LEAST: &str = r#"service = "vllm"
[model]
repo = "owner/name"
served-name = "name"
[runtime]
vllm = "0.26.0"
"#;

/// The answer to this text as the profile `awq`.
fn shown(text: &str) -> String {
    match Profile::parse("awq", Path::new("profiles/awq.toml"), text) {
        Ok(profile) => panic!("accepted: {profile:#?}"),
        Err(problem) => render(&problem, Style::Plain),
    }
}

/// The answer to these lines after the least that must be said.
fn refused(lines: &str) -> String {
    shown(&format!("{LEAST}{lines}\n"))
}

/// The answer to the least with one thing replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(LEAST.contains(from), "{from}");
    shown(&LEAST.replacen(from, to, 1))
}
