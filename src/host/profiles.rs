//! Reads profiles and locks from a folder, or those that came with the program.

use super::{
    profile_files::{files_in, read},
    store::nix_store::StorePath,
};
use crate::domain::{
    lockfile::{LockedModel, LockedRuntime},
    problem::{Kind, Problem},
    profile::{Device, Profile, Runtime},
    spelling::{closest, listed},
    vllm::version::Version,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const LOCKS: &str = "locks";
const RUNTIMES: &str = "runtimes";

/// The profiles and locks in the program, so that a rehearsal needs no files.
const EMBEDDED: &[(&str, &str)] = &[
    ("awq.toml", include_str!("../../profiles/awq.toml")),
    ("gptq.toml", include_str!("../../profiles/gptq.toml")),
];

/// The runtimes that it brings along, for folders that lack them.
const EMBEDDED_RUNTIMES: &[(&str, &str)] =
    &[("vllm-0.26.0", include_str!("../../profiles/runtimes/vllm-0.26.0.toml"))];

/// Profiles with their locks.
#[derive(Clone, Debug)]
pub struct ProfileLibrary {
    shelf: Shelf,
    /// A folder whose locks come before those of the shelf.
    beside: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Shelf {
    Folder(PathBuf),
    Embedded,
    Given(Box<Given>),
}

/// Profiles made by the program itself, each with its text.
#[derive(Clone, Debug)]
struct Given {
    profiles: BTreeMap<String, (Profile, String)>,
    locks: BTreeMap<String, LockedModel>,
}

/// The texts of one profile and its locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts {
    /// The profile.
    pub profile: String,
    /// The lock of its model, where there is one.
    pub model: Option<String>,
    /// The lock of its vLLM, where there is one.
    pub runtime: Option<String>,
}

impl ProfileLibrary {
    /// The library in this folder. Nothing is read yet.
    pub fn at(dir: PathBuf) -> Self {
        Self { shelf: Shelf::Folder(dir), beside: None }
    }

    /// The profiles that came with the program.
    pub fn embedded() -> Self {
        Self { shelf: Shelf::Embedded, beside: None }
    }

    /// A library of these profiles, each with its text, and these locks by profile: for a rehearsal.
    pub(crate) fn of(
        profiles: BTreeMap<String, (Profile, String)>,
        locks: BTreeMap<String, LockedModel>,
    ) -> Self {
        Self { shelf: Shelf::Given(Box::new(Given { profiles, locks })), beside: None }
    }

    /// This library, with the locks beside the profile before its own, where the profile is named by its file.
    #[must_use]
    pub fn beside(&self, wanted: &str) -> Self {
        let folder = is_path(wanted).then(|| folder_around(Path::new(wanted))).flatten();
        let given = matches!(self.shelf, Shelf::Given(_));
        Self { beside: folder.filter(|_| !given).map(Path::to_owned), ..self.clone() }
    }

    /// A file, where there is one, and where it lies.
    fn read(&self, file: &str) -> Result<Option<(PathBuf, String)>, Problem> {
        if let Some(folder) = &self.beside {
            let path = below(folder, file);
            if let Some(text) = read(&path)? {
                return Ok(Some((path, text)));
            }
        }
        Ok(self.shelf.read(file)?.map(|text| (self.shelf.path(file), text)))
    }

    /// The folder of the profiles in a Nix store: then they are part of a NixOS system.
    pub(crate) fn declared(&self) -> Option<StorePath> {
        match &self.shelf {
            Shelf::Folder(folder) => StorePath::behind(folder),
            Shelf::Embedded | Shelf::Given(_) => None,
        }
    }

    /// The names of all profiles, sorted.
    ///
    /// # Errors
    /// [`Kind::Usage`] where there is no such folder; [`Kind::Unexpected`] where it cannot be read.
    pub fn names(&self) -> Result<Vec<String>, Problem> {
        self.shelf.stems("")?.ok_or_else(|| self.no_folder())
    }

    /// Reads a profile. What ends in `.toml` or has a slash is the path of a file, anything else a name.
    ///
    /// # Errors
    /// [`Kind::Usage`] where there is none, with the names that there are, or where it is wrong.
    pub fn load(&self, wanted: &str) -> Result<Profile, Problem> {
        if let Some((profile, _)) = self.given(wanted) {
            return Ok(profile.clone());
        }
        let Found { name, path, text } = self.find(wanted)?;
        Profile::parse(&name, &path, &text)
    }

    /// Reads a profile to plan it: its baseline must be there. To lock or fetch its model it need not be yet.
    ///
    /// # Errors
    /// As [`ProfileLibrary::load`]; [`Kind::Usage`] for a baseline that is no profile.
    pub fn load_to_plan(&self, wanted: &str) -> Result<Profile, Problem> {
        if let Some((profile, _)) = self.given(wanted) {
            return Ok(profile.clone());
        }
        let Found { name, path, text } = self.find(wanted)?;
        let mut others = self.shelf.stems("")?.unwrap_or_default();
        // Of a file that lies elsewhere the others may lie beside it.
        if let (Shelf::Folder(_) | Shelf::Embedded, Some(beside)) = (&self.shelf, folder_around(&path)) {
            others.extend(Shelf::Folder(beside.to_owned()).stems("")?.unwrap_or_default());
        }
        others.retain(|other| *other != name);
        others.sort();
        others.dedup();
        Profile::parse_among(&name, &path, &text, &others)
    }

    /// Reads all profiles, sorted by name.
    ///
    /// # Errors
    /// As [`ProfileLibrary::load`], for the first wrong one.
    pub fn load_all(&self) -> Result<Vec<Profile>, Problem> {
        self.names()?.iter().map(|name| self.load(name)).collect()
    }

    /// The text of a profile as it was written, comments and all.
    ///
    /// # Errors
    /// As [`ProfileLibrary::load`], with an unchecked text.
    pub fn text(&self, wanted: &str) -> Result<String, Problem> {
        match self.given(wanted) {
            Some((_, text)) => Ok(text.clone()),
            None => Ok(self.find(wanted)?.text),
        }
    }

    /// The lock of a profile's model. Absent before the first `awqdeploy lock`.
    ///
    /// # Errors
    /// [`Kind::Usage`] where it is wrong.
    pub fn lock(&self, profile: &str) -> Result<Option<LockedModel>, Problem> {
        if let Shelf::Given(given) = &self.shelf {
            return Ok(given.locks.get(profile).cloned());
        }
        let file = lock_of(profile);
        self.read(&file)?.map(|(path, text)| LockedModel::parse(&path, &text)).transpose()
    }

    /// The texts of a profile and of its locks, unchecked.
    ///
    /// # Errors
    /// As [`ProfileLibrary::load`].
    pub(crate) fn texts(&self, wanted: &str) -> Result<Texts, Problem> {
        let profile = self.load(wanted)?;
        Ok(Texts {
            profile: self.text(wanted)?,
            model: self.shelf.read(&lock_of(profile.name()))?,
            runtime: self.shelf.read(&format!(
                "{RUNTIMES}/{}.toml",
                stem_of(&profile.runtime().vllm, profile.runtime().device)
            ))?,
        })
    }

    /// The names of all profiles whose model is locked, sorted.
    ///
    /// # Errors
    /// [`Kind::Unexpected`] where they cannot be read.
    pub fn locked(&self) -> Result<Vec<String>, Problem> {
        match &self.shelf {
            Shelf::Given(given) => Ok(given.locks.keys().cloned().collect()),
            Shelf::Folder(_) | Shelf::Embedded => Ok(self.shelf.stems(LOCKS)?.unwrap_or_default()),
        }
    }

    /// Saves a profile through `write`, as [`ProfileLibrary::save_lock`] saves a lock.
    ///
    /// # Errors
    /// As [`ProfileLibrary::save_lock`].
    pub fn save_profile(
        &self,
        profile: &str,
        text: &str,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.save(&format!("{profile}.toml"), text, write)
    }

    /// Saves the lock of a profile's model through `write`, which is given the path and the whole content.
    /// The path's folder need not exist yet.
    ///
    /// # Errors
    /// [`Kind::Usage`] for the profiles that came with the program; what `write` says otherwise.
    pub fn save_lock(
        &self,
        profile: &str,
        model: &LockedModel,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.save(&lock_of(profile), &model.to_toml(), write)
    }

    /// The lock of this runtime.
    ///
    /// # Errors
    /// [`Kind::Usage`] where there is none, with the versions that there are, or where it is wrong.
    pub fn locked_runtime(&self, runtime: &Runtime) -> Result<LockedRuntime, Problem> {
        let file = format!("{RUNTIMES}/{}.toml", stem_of(&runtime.vllm, runtime.device));
        let Some((path, text)) = self.read(&file)? else {
            return Err(self.no_runtime(runtime, &file)?);
        };
        let locked = LockedRuntime::parse(&path, &text)?;
        if (&locked.vllm, locked.device) != (&runtime.vllm, runtime.device) {
            let says = stem_of(&locked.vllm, locked.device);
            return Err(Problem::new(
                Kind::Usage,
                format!("`{}` locks another runtime: `{says}`", path.display()),
            )
            .help("a runtime's lock is named after the version and device in it: rename it"));
        }
        Ok(locked)
    }

    /// The locks of all runtimes, also of those that came with the program, the newest version first. One that cannot
    /// be read is told of by whoever needs it.
    ///
    /// # Errors
    /// [`Kind::Unexpected`] where the folder cannot be read.
    pub(crate) fn locked_runtimes(&self) -> Result<Vec<LockedRuntime>, Problem> {
        let mut texts: BTreeMap<String, String> =
            EMBEDDED_RUNTIMES.iter().map(|(stem, text)| ((*stem).to_owned(), (*text).to_owned())).collect();
        for stem in self.shelf.stems(RUNTIMES)?.unwrap_or_default() {
            let text = self.shelf.read(&format!("{RUNTIMES}/{stem}.toml"))?;
            texts.extend(text.map(|text| (stem, text)));
        }
        let parsed = texts.iter().filter_map(|(stem, text)| {
            let locked = LockedRuntime::parse(Path::new(stem), text).ok()?;
            (stem_of(&locked.vllm, locked.device) == *stem).then_some(locked)
        });
        let mut runtimes: Vec<LockedRuntime> = parsed.collect();
        runtimes.sort_by_key(|locked| std::cmp::Reverse(Version::of(&locked.vllm)));
        Ok(runtimes)
    }

    /// Writes the lock of a runtime that came with the program, where the folder has none. Returns its path then.
    ///
    /// # Errors
    /// As [`ProfileLibrary::save_lock`].
    pub(crate) fn bring_runtime(
        &self,
        runtime: &Runtime,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
    ) -> Result<Option<PathBuf>, Problem> {
        let stem = stem_of(&runtime.vllm, runtime.device);
        let file = format!("{RUNTIMES}/{stem}.toml");
        let brought = EMBEDDED_RUNTIMES.iter().find(|(own, _)| *own == stem);
        let Some((_, text)) = brought.filter(|_| !self.shelf.path(&file).exists()) else {
            return Ok(None);
        };
        self.save(&file, text, write)?;
        Ok(Some(self.shelf.path(&file)))
    }

    /// Where the text of a profile of this name lies, or would.
    pub(crate) fn place(&self, profile: &str) -> PathBuf {
        self.shelf.path(&format!("{profile}.toml"))
    }

    /// Saves the lock of a runtime under its own name, by `write` as [`ProfileLibrary::save_lock`] does.
    ///
    /// # Errors
    /// As [`ProfileLibrary::save_lock`].
    pub(crate) fn save_runtime(
        &self,
        runtime: &LockedRuntime,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let stem = stem_of(&runtime.vllm, runtime.device);
        self.save(&format!("{RUNTIMES}/{stem}.toml"), &runtime.to_toml(), write)
    }

    fn save(
        &self,
        file: &str,
        text: &str,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        match &self.shelf {
            Shelf::Folder(folder) => match self.declared() {
                None => write(&self.shelf.path(file), text.as_bytes()),
                Some(_) => Err(not_ours_to_write(folder)),
            },
            Shelf::Embedded | Shelf::Given(_) => Err(nowhere_to_write()),
        }
    }

    fn given(&self, wanted: &str) -> Option<&(Profile, String)> {
        match &self.shelf {
            Shelf::Given(given) => given.profiles.get(wanted),
            Shelf::Folder(_) | Shelf::Embedded => None,
        }
    }

    fn find(&self, wanted: &str) -> Result<Found, Problem> {
        if is_path(wanted) {
            return at_path(Path::new(wanted));
        }
        let file = format!("{wanted}.toml");
        match self.shelf.read(&file)? {
            Some(text) => Ok(Found { name: wanted.to_owned(), path: self.shelf.path(&file), text }),
            None => Err(self.no_profile(wanted)?),
        }
    }

    fn no_profile(&self, wanted: &str) -> Result<Problem, Problem> {
        let names = self.names()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let there = match names.as_slice() {
            [] => format!("there are no profiles in `{}`", self.shelf.path("").display()),
            names => {
                format!("there are {} in `{}`", listed(names.iter().copied()), self.shelf.path("").display())
            }
        };
        let help = match closest(wanted, names) {
            Some(meant) => format!("did you mean `{meant}`? {there}"),
            None => there,
        };
        Ok(Problem::new(Kind::Usage, format!("no profile named `{wanted}`")).help(help))
    }

    fn no_folder(&self) -> Problem {
        let path = self.shelf.path("");
        Problem::new(Kind::Usage, format!("no folder of profiles at `{}`", path.display()))
            .help(
                "`awqdeploy init OWNER/MODEL` writes a first profile there; or name another folder: `--profiles DIR`",
            )
    }

    fn no_runtime(&self, runtime: &Runtime, file: &str) -> Result<Problem, Problem> {
        let stems = self.shelf.stems(RUNTIMES)?.unwrap_or_default();
        let there = match stems.as_slice() {
            [] => "none is locked there".to_owned(),
            stems => format!("locked there: {}", listed(stems.iter().map(String::as_str))),
        };
        let what = match runtime.device {
            Device::Cuda => format!("vLLM {} is not locked", runtime.vllm),
            Device::Cpu => format!("vLLM {} for the CPU is not locked", runtime.vllm),
        };
        Ok(Problem::new(Kind::Usage, what).help(format!(
            "add `{}`, or name another runtime in `[runtime]`; {there}",
            self.shelf.path(file).display()
        )))
    }
}

/// Whether a profile is named by its file.
fn is_path(wanted: &str) -> bool {
    let is_file = |ending: &std::ffi::OsStr| ending.eq_ignore_ascii_case("toml");
    wanted.contains('/') || Path::new(wanted).extension().is_some_and(is_file)
}

/// The folder that a file lies in: the working directory for a bare name.
fn folder_around(file: &Path) -> Option<&Path> {
    file.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

fn nowhere_to_write() -> Problem {
    Problem::new(Kind::Usage, "the profiles that came with the program have no lock to write")
        .help("name a folder of profiles: `--profiles DIR`")
}

/// The problem of saving on NixOS, where the profiles are part of the system.
fn not_ours_to_write(folder: &Path) -> Problem {
    let what = format!("`{}` is in the Nix store, where nothing is written", folder.display());
    Problem::new(Kind::Usage, what).help(
        "name the folder that it is made from, beside your configuration: `--profiles DIR`; then `git add` what was written, \
         and rebuild the system",
    )
}

struct Found {
    name: String,
    path: PathBuf,
    text: String,
}

fn at_path(path: &Path) -> Result<Found, Problem> {
    let text = read(path)?.ok_or_else(|| {
        Problem::new(Kind::Usage, format!("no file `{}`", path.display()))
            .help("give the path of a profile, or its name alone to find it among the profiles")
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Found { name: name.into_owned(), path: path.to_owned(), text })
}

/// The path of the lock of a profile's model.
fn lock_of(profile: &str) -> String {
    format!("{LOCKS}/{profile}.toml")
}

/// The name of a runtime's lock, without its suffix.
fn stem_of(vllm: &str, device: Device) -> String {
    match device {
        Device::Cuda => format!("vllm-{vllm}"),
        Device::Cpu => format!("vllm-{vllm}-cpu"),
    }
}

impl Shelf {
    fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Folder(dir) => below(dir, file),
            Self::Embedded => below(Path::new("<embedded>"), file),
            Self::Given(_) => below(Path::new("<given>"), file),
        }
    }

    /// The text of a file, if it exists.
    fn read(&self, file: &str) -> Result<Option<String>, Problem> {
        match self {
            Self::Folder(_) => read(&self.path(file)),
            Self::Embedded => {
                let found = EMBEDDED.iter().find(|(name, _)| *name == file);
                Ok(found.map(|(_, text)| (*text).to_owned()))
            }
            Self::Given(_) => Ok(None),
        }
    }

    /// The names of the TOML files in a folder without their suffix, sorted; nothing without a folder.
    fn stems(&self, folder: &str) -> Result<Option<Vec<String>>, Problem> {
        let files = match self {
            Self::Folder(_) => match files_in(&self.path(folder))? {
                Some(files) => files,
                None => return Ok(None),
            },
            Self::Embedded if folder.is_empty() => {
                EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect()
            }
            Self::Given(given) if folder.is_empty() => {
                given.profiles.keys().map(|name| format!("{name}.toml")).collect()
            }
            Self::Embedded | Self::Given(_) => return Ok(None),
        };
        let mut stems: Vec<String> = files
            .iter()
            .filter_map(|file| file.strip_suffix(".toml"))
            .filter(|stem| !stem.is_empty() && !stem.starts_with('.'))
            .map(str::to_owned)
            .collect();
        stems.sort();
        Ok(Some(stems))
    }
}

/// The path of a file in a folder, or of the folder itself: joining nothing would add a slash.
fn below(dir: &Path, file: &str) -> PathBuf {
    if file.is_empty() { dir.to_owned() } else { dir.join(file) }
}
