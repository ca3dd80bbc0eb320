//! The locks: every file of a model, every wheel of a runtime, by hash.
//!
//! The program writes them and people review them, so there is one canonical text: sorted, one file a
//! line, in TOML 1.0 without date-times, which Nix's `fromTOML` reads as well.

mod model;
mod runtime;

use super::{digest::Digest, problem::Problem, profile::Device, size::Bytes};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The format that this program reads and writes.
const VERSION: i64 = 1;

/// `lock.toml`: the files of each profile's model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// By profile name.
    pub models: BTreeMap<String, LockedModel>,
}

/// One model, file by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedModel {
    /// `owner/name` on the hub.
    pub repo: String,
    /// The revision that was locked.
    pub revision: String,
    /// Sorted by path; relative, without `..`.
    pub files: Vec<LockedFile>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedFile {
    /// Relative to the model's folder.
    pub path: PathBuf,
    /// Its length.
    pub size: Bytes,
    /// Its content.
    pub sha256: Digest,
}

/// `runtimes/vllm-VERSION[-cpu].toml`: every wheel of one vLLM environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedRuntime {
    /// vLLM's version.
    pub vllm: String,
    /// What it computes on.
    pub device: Device,
    /// The interpreter's minor version: `3.12`.
    pub python: String,
    /// The platform that the wheels are for.
    pub platform: String,
    /// Sorted by name.
    pub wheels: Vec<LockedWheel>,
}

/// One wheel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedWheel {
    /// The distribution's normalised name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The wheel's file name.
    pub file: String,
    /// Its length.
    pub size: Bytes,
    /// Its content.
    pub sha256: Digest,
}

impl Lock {
    /// Reads `lock.toml`. Files may stand in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of what is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        model::parse(path, text)
    }

    /// The canonical text: sorted, one file a line, so that diffs stay small.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# Made by `awqdeploy lock`. Every file of every model, by its hash.\nversion = {VERSION}\n"
        );
        for (name, model) in &self.models {
            model.write_toml(name, &mut text);
        }
        text
    }
}

impl LockedModel {
    /// A model of these files, in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) where a file's path is not relative and plain, or
    /// stands twice.
    pub fn of(repo: String, revision: String, files: Vec<LockedFile>) -> Result<Self, Problem> {
        model::checked(repo, revision, files)
    }

    /// The name of this model in the store: it depends on the files alone.
    ///
    /// It is the SHA-256 of a heading and a line `HASH SIZE PATH` a file, sorted by path. A path has no
    /// line break, so no two models have one listing.
    pub fn digest(&self) -> Digest {
        let mut listing = "awqdeploy model 1\n".to_owned();
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let LockedFile { path, size, sha256 } = file;
            // Writing to a string does not fail.
            let _ = writeln!(listing, "{sha256} {} {}", size.0, path.display());
        }
        Digest::of(listing)
    }

    fn write_toml(&self, name: &str, text: &mut String) {
        let (repo, revision) = (quoted(&self.repo), quoted(&self.revision));
        let _ = write!(text, "\n[models.{name}]\nrepo = {repo}\nrevision = {revision}\nfiles = [\n");
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let path = quoted(&file.path.to_string_lossy());
            let (size, sha256) = (file.size.0, file.sha256);
            let _ = writeln!(text, "  {{ path = {path}, size = {size}, sha256 = \"{sha256}\" }},");
        }
        text.push_str("]\n");
    }
}

impl LockedRuntime {
    /// Reads a runtime lock. Wheels may stand in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of what is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        runtime::parse(path, text)
    }

    /// The canonical text: wheels sorted by name.
    pub fn to_toml(&self) -> String {
        let device = match self.device {
            Device::Cuda => "cuda",
            Device::Cpu => "cpu",
        };
        let mut text = format!(
            "# Every wheel of one vLLM environment, by its hash.\nversion = {VERSION}\nvllm = {}\ndevice = \"{device}\"\n\
             python = {}\nplatform = {}\n",
            quoted(&self.vllm),
            quoted(&self.python),
            quoted(&self.platform)
        );
        for wheel in sorted(&self.wheels, |wheel| wheel.name.as_str().into()) {
            let _ = write!(
                text,
                "\n[[wheel]]\nname = {}\nversion = {}\nfile = {}\nsize = {}\nsha256 = \"{}\"\n",
                quoted(&wheel.name),
                quoted(&wheel.version),
                quoted(&wheel.file),
                wheel.size.0,
                wheel.sha256
            );
        }
        text
    }

    /// The name of this runtime in the store: it depends on the interpreter, the platform and the wheels.
    ///
    /// It is the SHA-256 of a heading and a line `HASH FILE` a wheel, sorted by name.
    pub fn digest(&self) -> Digest {
        let mut listing =
            format!("awqdeploy runtime 1\npython {}\nplatform {}\n", self.python, self.platform);
        for wheel in sorted(&self.wheels, |wheel| wheel.name.as_str().into()) {
            let _ = writeln!(listing, "{} {}", wheel.sha256, wheel.file);
        }
        Digest::of(listing)
    }

    /// `name==version --hash=sha256:…`, a line a wheel, as `uv pip install --require-hashes` reads them.
    pub fn requirements(&self) -> String {
        let mut lines = String::new();
        for wheel in sorted(&self.wheels, |wheel| wheel.name.as_str().into()) {
            let LockedWheel { name, version, sha256, .. } = wheel;
            let _ = writeln!(lines, "{name}=={version} --hash=sha256:{sha256}");
        }
        lines
    }
}

/// By the bytes of the key. A `PathBuf` compares by components, which would put `a/b` before `a-b`.
fn sorted<'a, T>(items: &'a [T], key: impl Fn(&'a T) -> std::borrow::Cow<'a, str>) -> Vec<&'a T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by_key(|item| key(item));
    items
}

/// A TOML basic string. A JSON string is one: its escapes are a subset.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
