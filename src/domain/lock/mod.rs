//! The locks: every file of a model, every wheel of a runtime, by hash.
//!
//! The program writes them and people review them, so there is one canonical text: sorted, one fact a
//! line, in TOML 1.0 without date-times, which Nix's `fromTOML` reads as well.

pub mod archive;
mod interpreter;
mod model;
mod pylock;
pub mod record;
mod runtime;
pub mod wheel_tags;

use super::{
    digest::{Digest, GitHash},
    problem::Problem,
    profile::{self, Device},
    size::Bytes,
};
pub use interpreter::{Interpreter, Listed, LockedInterpreter, Unlocked};
pub(super) use model::why_not_plain;
pub use runtime::normalised;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The format that this program reads and writes.
const VERSION: i64 = 1;

/// A package, and that of which it was a part until this major version: the whole of before brings the same files.
const SPLIT: [(&str, &str); 1] = [("cuda-bindings", "cuda-python")];

/// The length of a piece. The last one of a file is as long as what is left.
///
/// A flipped byte costs one piece to fetch again; a model of 45 GB has 5,400 of them, 400 KB of lock.
pub const PIECE: Bytes = Bytes::mib(8);

/// `locks/PROFILE.toml`: one model, file by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedModel {
    /// `owner/name` on the hub.
    pub repo: String,
    /// The revision that was locked: a branch, tag or commit.
    pub revision: String,
    /// The commit that the revision was then. Absent where the files came from a folder that does not say.
    pub commit: Option<GitHash>,
    /// Sorted by path; relative, without `..`.
    pub files: Vec<LockedFile>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockedFile {
    /// Relative to the model's folder.
    pub path: PathBuf,
    /// Its length.
    pub size: Bytes,
    /// Its content.
    pub sha256: Digest,
    /// The name of its content in git, by which hubs list small files. Of a folder's files all get it that are no
    /// longer than a piece, of a hub's those that it keeps in git.
    pub git_sha1: Option<GitHash>,
    /// The content of each [`PIECE`], in order. Only for a file longer than one; absent where nobody has
    /// read it yet, since hubs do not tell.
    pub pieces: Option<Vec<Digest>>,
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
    /// The interpreter that the wheels are installed for. Absent in locks of before there were any, and of profiles that
    /// take the host's.
    pub interpreter: Option<LockedInterpreter>,
    /// Sorted by name.
    pub wheels: Vec<LockedWheel>,
}

/// A lock of what uv has resolved, and where its index has each wheel, by name.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What is to be written.
    pub lock: LockedRuntime,
    /// Where the wheels are.
    pub addresses: BTreeMap<String, String>,
}

/// One wheel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Where a mirror of the index has it: `mirror://pypi/…`, which Nix's `fetchurl` reads. uv asks its own index and
    /// needs none.
    pub url: Option<String>,
}

impl LockedFile {
    /// A file of which no more is known than what names it.
    pub fn new(path: impl Into<PathBuf>, size: Bytes, sha256: Digest) -> Self {
        Self { path: path.into(), size, sha256, git_sha1: None, pieces: None }
    }

    /// How many pieces it has: none if it is no longer than one.
    pub fn piece_count(&self) -> u64 {
        if self.size > PIECE { self.size.0.div_ceil(PIECE.0) } else { 0 }
    }
}

impl LockedModel {
    /// A model of these files, in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) where a file's path is not relative and plain, or
    /// stands twice, or where a file has another number of pieces than its length asks for.
    pub fn of(
        repo: String,
        revision: String,
        commit: Option<GitHash>,
        files: Vec<LockedFile>,
    ) -> Result<Self, Problem> {
        model::checked(repo, revision, commit, files)
    }

    /// Reads a model's lock. Files may stand in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of what is wrong: a newer version, a
    /// value that cannot be, or lines that are not those that the program wrote.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        model::parse(path, text)
    }

    /// The canonical text: sorted, one fact a line, so that diffs stay small.
    pub fn to_toml(&self) -> String {
        let lines = self.lines();
        let checksum = Digest::of(&lines);
        format!(
            "# Every file of one model, by its hash; a piece is {} MiB. Made by `awqdeploy lock`, not by hand.\n\
             version = {VERSION}\nrevision = {}\n# Of all lines below.\nchecksum = \"{checksum}\"\n{lines}",
            PIECE.0 >> 20,
            model::REVISION,
        )
    }

    /// The name of this model in the store: it depends on the files alone.
    ///
    /// It is the SHA-256 of a heading and a line `HASH SIZE PATH` a file, sorted by path. A path has no
    /// line break, so no two models have one listing.
    pub fn digest(&self) -> Digest {
        let mut listing = "awqdeploy model 1\n".to_owned();
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let LockedFile { path, size, sha256, .. } = file;
            // Writing to a string does not fail.
            let _ = writeln!(listing, "{sha256} {} {}", size.0, path.display());
        }
        Digest::of(listing)
    }

    /// Bytes of all its files.
    pub fn size(&self) -> Bytes {
        self.files.iter().map(|file| file.size).sum()
    }

    /// All of the canonical text that its checksum is of.
    fn lines(&self) -> String {
        let (repo, revision) = (quoted(&self.repo), quoted(&self.revision));
        let mut text = format!("\n[model]\nrepo = {repo}\nrevision = {revision}\n");
        if let Some(commit) = self.commit {
            let _ = writeln!(text, "commit = \"{commit}\"");
        }
        for file in sorted(&self.files, |file| file.path.to_string_lossy()) {
            let path = quoted(&file.path.to_string_lossy());
            let (size, sha256) = (file.size.0, file.sha256);
            let _ = write!(text, "\n[[file]]\npath = {path}\nsize = {size}\nsha256 = \"{sha256}\"\n");
            if let Some(hash) = file.git_sha1 {
                let _ = writeln!(text, "git-sha1 = \"{hash}\"");
            }
            if let Some(pieces) = &file.pieces {
                text.push_str("pieces = [\n");
                for piece in pieces {
                    let _ = writeln!(text, "  \"{piece}\",");
                }
                text.push_str("]\n");
            }
        }
        text
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

    /// The lock of this runtime, of uv's `pylock.toml` for one Python (`3.12`) and one platform.
    ///
    /// # Errors
    /// [`Kind::Unverified`](super::problem::Kind::Unverified) where a package has no wheel for them, and what
    /// [`LockedRuntime::parse`] says of what came out.
    pub fn resolved(
        runtime: &profile::Runtime,
        python: &str,
        platform: &str,
        pylock: &str,
    ) -> Result<Resolved, Problem> {
        let wheels = pylock::wheels(pylock, runtime::target(python, platform)?)?;
        let addresses = wheels.iter().map(|(wheel, url)| (wheel.name.clone(), url.clone())).collect();
        let (vllm, device) = (runtime.vllm.clone(), runtime.device);
        let (python, platform) = (python.to_owned(), platform.to_owned());
        let wheels = wheels.into_iter().map(|(wheel, _)| wheel).collect();
        let made = Self { vllm, device, python, platform, interpreter: None, wheels };
        // Whatever an index says: what is written can be read.
        let lock = Self::parse(Path::new("what uv has resolved"), &made.to_toml())?;
        Ok(Resolved { lock, addresses })
    }

    /// What else to ask for, where versions were resolved that bring the same files and do not say so: of NVIDIA's
    /// packages for Python, the old whole beside a new part of it.
    pub fn constraints(&self) -> Vec<String> {
        let major = |name: &str| {
            let wheel = self.wheels.iter().find(|wheel| wheel.name == name)?;
            wheel.version.split('.').next()?.parse::<u32>().ok()
        };
        let behind = |(part, whole): &(&str, &str)| {
            let (part, old) = (major(part)?, major(whole)?);
            (old < part).then(|| format!("{whole}>={part}"))
        };
        SPLIT.iter().filter_map(behind).collect()
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
        if let Some(LockedInterpreter { version, build, file, sha256 }) = &self.interpreter {
            let [version, build, file] = [version, build, file].map(|text| quoted(text));
            let _ = write!(
                text,
                "\n[interpreter]\nversion = {version}\nbuild = {build}\nfile = {file}\nsha256 = \"{sha256}\"\n"
            );
        }
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
            if let Some(url) = &wheel.url {
                let _ = writeln!(text, "url = {}", quoted(url));
            }
        }
        text
    }

    /// The name of these wheels: it depends on the interpreter's minor version, the platform and the wheels. Nix, which
    /// brings an interpreter of its own, names what it built by it.
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

    /// The name in the store of a runtime that was installed for this interpreter. Another build of it makes another
    /// runtime, though the wheels are the same.
    pub fn installed_for(&self, interpreter: &Interpreter) -> Digest {
        match interpreter {
            Interpreter::Locked(python) => {
                Digest::of(format!("awqdeploy uv runtime 1\n{}\n{}\n", self.digest(), python.sha256))
            }
            Interpreter::System { .. } => self.digest(),
        }
    }

    /// `name==version --hash=sha256:…`, a line a wheel, as `uv pip install --require-hashes` reads them.
    pub fn requirements(&self) -> String {
        self.requirements_of(|_| true)
    }

    /// The same for some of the wheels.
    pub fn requirements_of(&self, wanted: impl Fn(&LockedWheel) -> bool) -> String {
        let mut lines = String::new();
        let wheels = sorted(&self.wheels, |wheel| wheel.name.as_str().into());
        for wheel in wheels.into_iter().filter(|wheel| wanted(wheel)) {
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
