//! Runs uv without its surroundings: without the configuration of the working directory, without variables
//! that were not meant for it, and without a cache that others can write to.
//!
//! uv reads `uv.toml` and `pyproject.toml` of the working directory and of all above it, of the user and of the system
//! (`--no-config` ends that), and takes an unpacked wheel from its cache without hashing it again, whatever
//! `--require-hashes` says.

use crate::{
    domain::{
        problem::{Kind, Problem},
        store::layout::Layout,
    },
    host::{
        os::{fs, lock_file},
        process::exec::{self, Finished},
        store::nix_store::StorePath,
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The variables that uv needs: programs, a home for `.netrc`, and the way to the network.
const PLAIN: [&str; 17] = [
    "PATH",
    "HOME",
    "LANG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSL_CLIENT_CERT",
    "NETRC",
    "TERM",
    "NO_COLOR",
];
/// The variables of package indexes. Hashes decide what is installed; these only decide where it is asked
/// for.
const INDEX: [&str; 13] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX_STRATEGY",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_OFFLINE",
    "UV_PYTHON_INSTALL_MIRROR",
];
/// The name of the files by which one uv waits for another. It lets everybody open them, and whoever can open one can have
/// it wait.
pub(super) const LOCK: &str = ".lock";
/// The variable that names a cache of uv's to be used, and kept: for tests, and for hosts that are given
/// their wheels.
pub const CACHE: &str = "AWQDEPLOY_UV_CACHE";

/// A uv with its environment and cache.
#[derive(Debug)]
pub struct Uv {
    environment: BTreeMap<String, String>,
    cache: Cache,
    declared: Option<StorePath>,
}

/// The cache in which uv keeps unpacked wheels.
#[derive(Debug)]
enum Cache {
    /// A folder of ours. It is removed once everything is installed.
    Own(PathBuf),
    /// A folder that the caller named on purpose.
    Given(PathBuf),
    /// None.
    None,
}

impl Uv {
    /// A uv for questions: nothing is kept. `variables` are those of this process.
    pub fn asking(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { environment: environment(variables), cache: Cache::None, declared: None }
    }

    /// A uv for installations below a root that only we can write to.
    ///
    /// # Errors
    /// [`Kind::Refused`] where a cache is named that others can write to.
    pub fn installing(
        layout: &Layout,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problem> {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let given = variables.get(CACHE).filter(|named| !named.is_empty()).map(PathBuf::from);
        let own = layout.staging().join("uv");
        if given.is_none() {
            fs::make_directory(&layout.staging())?;
            lock_file::enter_alone(&own)?;
        }
        lock_file::only_ours(&[given.as_deref().unwrap_or(&own)])?;
        let mut environment = environment(variables);
        // An interpreter that uv installs must lie where the service can read it.
        let pythons = layout.root().join("store/python");
        fs::make_directory(&pythons)?;
        lock_file::close(&pythons.join(LOCK))?;
        environment.insert("UV_PYTHON_INSTALL_DIR".into(), shown(&pythons));
        Ok(Self { environment, cache: given.map_or(Cache::Own(own), Cache::Given), declared: None })
    }

    /// The uv without any cache: what it unpacks is new.
    #[must_use]
    pub(crate) fn without_cache(&self) -> Self {
        Self { environment: self.environment.clone(), cache: Cache::None, declared: self.declared.clone() }
    }

    /// Sets the Nix store path of the profiles, as part of a NixOS system: the remedy for a missing uv is
    /// then there.
    #[must_use]
    pub(crate) fn declared_by(self, profiles: Option<StorePath>) -> Self {
        Self { declared: profiles, ..self }
    }

    /// Runs uv to its end, and passes on each line that it writes.
    ///
    /// # Errors
    /// [`Kind::Unverified`] with its own words where it fails.
    pub(crate) fn run(&self, arguments: &[&str], said: &mut dyn FnMut(&str)) -> Result<Finished, Problem> {
        let mut all = vec!["--no-config"];
        let cache = match &self.cache {
            Cache::Own(folder) | Cache::Given(folder) => Some(folder.to_string_lossy()),
            Cache::None => None,
        };
        match &cache {
            Some(folder) => all.extend(["--cache-dir", folder]),
            None => all.push("--no-cache"),
        }
        all.extend(arguments);
        let finished = exec::watch_alone("uv", &all, &self.environment, said);
        let finished = finished.map_err(|problem| problem.help(self.remedy()))?;
        if finished.status.success() {
            return Ok(finished);
        }
        let refused = finished.success().map(drop).err();
        let mut problem = refused.unwrap_or_else(|| Problem::new(Kind::Unverified, "uv failed"));
        problem.kind = Kind::Unverified;
        Err(problem.help("nothing was changed; what uv said is above"))
    }

    /// The remedy where uv cannot be run.
    fn remedy(&self) -> String {
        match &self.declared {
            None => "install uv (`pipx install uv`, or your distribution's package), or use the Nix package"
                .to_owned(),
            Some(profiles) => format!(
                "the profiles in `{}` are part of a NixOS system, which brings vLLM without uv: leave \
                 `services.awqdeploy.runtimes` at its default, and rebuild the system; `nix run .#lock` beside your \
                 configuration brings uv",
                profiles.path().display()
            ),
        }
    }

    /// Removes the cache, unless the caller named it.
    pub(crate) fn forget(&self) -> Result<(), Problem> {
        match &self.cache {
            Cache::Own(folder) => fs::remove_tree(folder),
            Cache::Given(_) | Cache::None => Ok(()),
        }
    }
}

/// This process's variables, but those that are no text.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The variables that uv may see, of those of a process.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let taken = |name: &str| PLAIN.contains(&name) || INDEX.contains(&name) || is_credential(name);
    variables.into_iter().filter(|(name, _)| taken(name)).collect()
}

/// Whether a variable holds an index's credentials: `UV_INDEX_NAME_USERNAME`, `UV_INDEX_NAME_PASSWORD`.
fn is_credential(name: &str) -> bool {
    name.starts_with("UV_INDEX_") && (name.ends_with("_USERNAME") || name.ends_with("_PASSWORD"))
}

/// A path as an argument.
pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
