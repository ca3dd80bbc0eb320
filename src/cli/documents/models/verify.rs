//! The document of `verify`, and its text for people.

use crate::{
    cli::terminal::{BAD, CARE, FAINT, GOOD},
    domain::size::ByteSize,
    flow::models::verify::{By, Verified, VerifiedTree},
    host::models::verify::Damage,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{fmt::Write as _, path::PathBuf};

/// `awqdeploy/verify/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VerifyDocument {
    pub(crate) schema: &'static str,
    /// The number of files of all models.
    pub(crate) files: usize,
    pub(crate) bytes: ByteSize,
    pub(crate) seconds: f64,
    /// The files that differ from their lock. Empty: all is well.
    pub(crate) damaged: Vec<DamageLine>,
    /// The files that were damaged, and are repaired.
    pub(crate) repaired: Vec<DamageLine>,
    pub(crate) models: Vec<VerifiedLine>,
    /// The runtimes and interpreters in the store. Their damaged files are in `damaged`.
    pub(crate) runtimes: Vec<VerifiedRuntimeLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VerifiedRuntimeLine {
    /// The runtime, with the beginning of its name in the store.
    pub(crate) runtime: String,
    pub(crate) folder: PathBuf,
    /// The record that it was compared with: `record`, of its installation; `nix`; `nix-not-asked`; or
    /// `nothing`, where an earlier version installed it.
    pub(crate) by: &'static str,
    /// The number of files and links.
    pub(crate) files: usize,
    pub(crate) bytes: ByteSize,
    /// The message of Nix, where what it built was changed.
    pub(crate) complaint: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VerifiedLine {
    /// The profile's name.
    pub(crate) model: String,
    pub(crate) folder: PathBuf,
    pub(crate) files: usize,
    pub(crate) bytes: ByteSize,
    /// Why sources of a repair did not give what is still missing.
    pub(crate) unavailable: Vec<String>,
    /// Why it could not be verified at all.
    pub(crate) problem: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DamageLine {
    /// The profile's name, or the runtime.
    pub(crate) model: String,
    pub(crate) path: PathBuf,
    /// The difference: `missing`, `size`, `content`, `link`, `special`, `added` or `mode`.
    pub(crate) is: &'static str,
    /// The damaged pieces of 8 MiB, counted from 0.
    pub(crate) pieces: Vec<u64>,
}

impl VerifiedRuntimeLine {
    fn of(tree: &VerifiedTree) -> Self {
        Self {
            runtime: tree.name.clone(),
            folder: tree.path.clone(),
            by: match tree.by {
                By::Record => "record",
                By::Nix => "nix",
                By::NixUnasked => "nix-not-asked",
                By::Nobody => "nothing",
            },
            files: tree.files,
            bytes: tree.bytes,
            complaint: tree.complaint.clone(),
        }
    }
}

impl VerifyDocument {
    pub(crate) fn of(verified: &Verified) -> Self {
        let (models, runtimes) = (|| verified.models.iter(), || verified.runtimes.iter());
        let line = |model: &str, damage: &Damage| DamageLine {
            model: model.to_owned(),
            path: damage.path.to_string_lossy().into_owned().into(),
            is: damage.difference.name(),
            pieces: damage.pieces.clone(),
        };
        Self {
            schema: "awqdeploy/verify/v1",
            files: models().map(|model| model.files).sum(),
            bytes: models().map(|model| model.bytes).sum(),
            seconds: verified.took.as_secs_f64(),
            damaged: models()
                .map(|model| (&model.name, &model.damaged))
                .chain(runtimes().map(|tree| (&tree.name, &tree.damaged)))
                .flat_map(|(name, damaged)| damaged.iter().map(|damage| line(name, damage)))
                .collect(),
            repaired: models()
                .map(|model| (&model.name, &model.repaired))
                .chain(runtimes().map(|tree| (&tree.name, &tree.repaired)))
                .flat_map(|(name, repaired)| repaired.iter().map(|damage| line(name, damage)))
                .collect(),
            runtimes: runtimes().map(VerifiedRuntimeLine::of).collect(),
            models: models()
                .map(|model| VerifiedLine {
                    model: model.name.clone(),
                    folder: model.path.clone(),
                    files: model.files,
                    bytes: model.bytes,
                    unavailable: model.unavailable.clone(),
                    problem: model.problem.clone(),
                })
                .collect(),
        }
    }
}

/// The text of a verification.
pub(crate) fn verification(document: &VerifyDocument) -> String {
    let mut out = String::new();
    for model in &document.models {
        if let Some(problem) = &model.problem {
            let _ = writeln!(out, "{BAD}{}{BAD:#}: {problem}", model.model);
            continue;
        }
        let (files, folder) = (model.files, model.folder.display());
        verified(&mut out, document, &model.model, &format!("{files} files in {folder}"), "locked");
        for why in &model.unavailable {
            let _ = writeln!(out, "  {CARE}not brought{CARE:#}: {why}");
        }
    }
    for runtime in &document.runtimes {
        let (name, folder) = (&runtime.runtime, runtime.folder.display());
        let _ = match (runtime.by, &runtime.complaint) {
            ("record", _) => {
                let what = format!("{} files in {folder}", runtime.files);
                verified(&mut out, document, name, &what, "installed");
                Ok(())
            }
            (_, Some(complaint)) => writeln!(out, "{BAD}{name}{BAD:#}: {complaint}"),
            ("nix", None) => writeln!(out, "{GOOD}{name}{GOOD:#}: Nix says that {folder} is what it built"),
            ("nix-not-asked", None) => {
                writeln!(out, "{CARE}{name}{CARE:#}: Nix built {folder}, and cannot be asked")
            }
            (_, None) => writeln!(
                out,
                "{CARE}{name}{CARE:#}: an earlier awqdeploy installed {folder}, and kept no record of its files"
            ),
        };
    }
    let (bytes, seconds) = (document.bytes, document.seconds);
    let _ = writeln!(out, "{FAINT}{bytes} in {seconds:.1} s{FAINT:#}");
    out
}

/// The lines of one model or runtime: that all is well, or the damage.
fn verified(out: &mut String, document: &VerifyDocument, name: &str, files: &str, how: &str) {
    let of = |lines: &[DamageLine]| lines.iter().filter(|line| line.model == name).count();
    let _ = match (of(&document.damaged), of(&document.repaired)) {
        (0, 0) => writeln!(out, "{GOOD}{name}{GOOD:#}: all {files} are what was {how}"),
        (0, repaired) => {
            writeln!(out, "{GOOD}{name}{GOOD:#}: {repaired} repaired; all {files} are what was {how}")
        }
        (damaged, _) => writeln!(out, "{BAD}{name}{BAD:#}: {damaged} of {files} differ"),
    };
    for line in document.damaged.iter().filter(|line| line.model == name) {
        let _ = writeln!(out, "  {BAD}✗{BAD:#} {}", damage(line));
    }
    for line in document.repaired.iter().filter(|line| line.model == name) {
        let _ = writeln!(out, "  {GOOD}✓{GOOD:#} {}", damage(line));
    }
}

fn damage(line: &DamageLine) -> String {
    let pieces = match line.pieces.as_slice() {
        [] => String::new(),
        [piece] => format!(", piece {piece}"),
        [first, .., last] => format!(", {} pieces from {first} to {last}", line.pieces.len()),
    };
    format!("{} ({}{pieces})", line.path.display(), line.is)
}
