//! Reads what uv has resolved (PEP 751, `pylock.toml`): every package with all its wheels, of which one is
//! taken.

use super::{wheel::LockedWheel, wheel_tags::Target};
use crate::domain::{
    problem::{Kind, Problem},
    size::ByteSize,
};
use serde::Deserialize;

/// The separator between an index and the path that its mirrors share.
const PACKAGES: &str = "/packages/";

#[derive(Deserialize)]
struct Pylock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<Wheel>,
}

#[derive(Deserialize)]
struct Wheel {
    url: String,
    size: u64,
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: String,
}

/// For each package, the one wheel that an installer on this target would take, and its address.
pub(super) fn wheels(text: &str, target: Target) -> Result<Vec<(LockedWheel, String)>, Problem> {
    let pylock: Pylock = toml::from_str(text).map_err(|e| Problem::doing("read what uv has resolved", e))?;
    pylock.packages.into_iter().map(|package| choose(package, target)).collect()
}

fn choose(package: Package, target: Target) -> Result<(LockedWheel, String), Problem> {
    let Package { name, version, wheels } = package;
    let named = wheels.into_iter().map(|wheel| (file_of(&wheel.url), wheel));
    let usable = named.filter_map(|(file, wheel)| Some((target.rank(&file)?, file, wheel)));
    // Between two that are equally good, the name decides: the same index gives the same lock.
    let best = usable.min_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let unfit = |what: String| Problem::new(Kind::Unverified, what);
    let Some((_, file, Wheel { url, size, hashes })) = best else {
        return Err(unfit(format!(
            "`{name}` has no wheel for Python 3.{} and glibc 2.{}",
            target.python, target.glibc
        ))
        .help("name a version that has one: `--with \"NAME==VERSION\"`"));
    };
    let version = version.ok_or_else(|| unfit(format!("uv has resolved `{name}` to no version")))?;
    let sha256 =
        hashes.sha256.parse().map_err(|why: String| unfit(format!("of `{name}` uv says no hash: {why}")))?;
    let path = url.split_once(PACKAGES).map(|(_, path)| format!("mirror://pypi/{path}"));
    Ok((LockedWheel { name, version, file, size: ByteSize(size), sha256, url: path }, url))
}

fn file_of(url: &str) -> String {
    url.rsplit('/').next().unwrap_or_default().replace("%2B", "+")
}
