//! uv, asked which versions belong together. It asks the index that this machine is set up with.

use super::{exec, fs};
use crate::domain::problem::{Kind, Problem};
use std::collections::BTreeMap;

/// What is to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `NAME==VERSION`, each.
    pub requirements: Vec<String>,
    /// The interpreter's version: `3.12`.
    pub python: String,
    /// The platform in uv's words: `x86_64-manylinux_2_31`.
    pub platform: String,
    /// A day, `2026-11-23`: what the index got later is not seen.
    pub until: Option<String>,
}

/// The text of uv's `pylock.toml`.
///
/// # Errors
/// [`Kind::Unverified`] where uv finds no versions that belong together, or no index.
pub fn resolve(question: &Question) -> Result<String, Problem> {
    let folder = tempfile::tempdir().map_err(|e| Problem::doing("make a folder for uv", e))?;
    let (requirements, pylock) = (folder.path().join("requirements.in"), folder.path().join("pylock.toml"));
    fs::write_new(&requirements, question.requirements.join("\n") + "\n")?;
    let shown = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mut arguments: Vec<String> =
        ["pip", "compile", "--no-header", "--format", "pylock.toml", "--only-binary", ":all:"]
            .map(str::to_owned)
            .into();
    arguments.extend(["--python-version".into(), question.python.clone()]);
    arguments.extend(["--python-platform".into(), question.platform.clone()]);
    if let Some(until) = &question.until {
        arguments.extend(["--exclude-newer".into(), until.clone()]);
    }
    arguments.extend(["--output-file".into(), shown(&pylock), shown(&requirements)]);
    // It needs no interpreter of that version to say what is for it.
    let environment = BTreeMap::from([("UV_PYTHON_DOWNLOADS".to_owned(), "never".to_owned())]);
    let finished = exec::run("uv", &arguments, &environment)
        .map_err(|problem| problem.help("install uv (`pipx install uv`, or your distribution's package)"))?;
    finished.success().map_err(|mut problem| {
        problem.kind = Kind::Unverified;
        problem.help("nothing was changed; what uv said is above")
    })?;
    fs::read(&pylock)?.ok_or_else(|| Problem::doing("resolve with uv", "it wrote nothing"))
}
