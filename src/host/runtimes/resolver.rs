//! Asks uv which versions belong together. uv asks the index that this machine is set up with.

use super::uv::{Uv, shown};
use crate::{domain::problem::Problem, host::os::fs};

/// The question to uv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The requirements, each as `NAME==VERSION`.
    pub(crate) requirements: Vec<String>,
    /// The interpreter's version: `3.12`.
    pub(crate) python: String,
    /// The platform in uv's words: `x86_64-manylinux_2_31`.
    pub(crate) platform: String,
    /// A day, `2026-11-23`: uv ignores what the index got later.
    pub(crate) until: Option<String>,
}

/// The text of uv's `pylock.toml`.
///
/// # Errors
/// [`Kind::Unverified`](crate::domain::problem::Kind::Unverified) where uv finds no versions that belong together, or no index.
pub(crate) fn resolve(uv: &Uv, question: &Question) -> Result<String, Problem> {
    let folder = tempfile::tempdir().map_err(|e| Problem::doing("make a folder for uv", e))?;
    let (requirements, pylock) = (folder.path().join("requirements.in"), folder.path().join("pylock.toml"));
    fs::write_new(&requirements, question.requirements.join("\n") + "\n")?;
    let (pylock_shown, requirements_shown) = (shown(&pylock), shown(&requirements));
    // uv needs no interpreter of that version for this.
    let mut arguments =
        vec!["pip", "compile", "--no-python-downloads", "--no-header", "--format", "pylock.toml"];
    arguments.extend(["--only-binary", ":all:"]);
    arguments.extend(["--python-version", &question.python, "--python-platform", &question.platform]);
    if let Some(until) = &question.until {
        arguments.extend(["--exclude-newer", until]);
    }
    arguments.extend(["--output-file", &pylock_shown, &requirements_shown]);
    uv.run(&arguments, &mut |_| ())?;
    fs::read(&pylock)?.ok_or_else(|| Problem::doing("resolve with uv", "it wrote nothing"))
}
