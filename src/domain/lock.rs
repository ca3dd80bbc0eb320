//! The locks: every file of a model, every wheel of a runtime, by hash.

use super::{digest::Digest, problem::Problem, size::Bytes};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    /// Reads `lock.toml`.
    pub fn parse(_path: &Path, _text: &str) -> Result<Self, Problem> {
        todo!()
    }

    /// The canonical text: sorted, one file a line, so that diffs stay small.
    pub fn to_toml(&self) -> String {
        todo!()
    }
}

impl LockedModel {
    /// The name of this model in the store: it depends on the files alone.
    pub fn digest(&self) -> Digest {
        todo!()
    }
}

impl LockedRuntime {
    /// Reads a runtime lock.
    pub fn parse(_path: &Path, _text: &str) -> Result<Self, Problem> {
        todo!()
    }

    /// The name of this runtime in the store: it depends on the interpreter, the platform and the wheels.
    pub fn digest(&self) -> Digest {
        todo!()
    }

    /// `name==version --hash=sha256:…`, a line a wheel, as `uv pip install --require-hashes` reads them.
    pub fn requirements(&self) -> String {
        todo!()
    }
}
