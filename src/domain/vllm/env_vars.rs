//! Which version of vLLM reads which variable of its own. What it does not know it passes over, with one line in its log.

use super::{flags, version::Version};

const TABLE: &str = include_str!("known/vllm-variables.txt");

/// Those that this version reads, for a version that the table of flags [`flags::covers`].
pub fn read_by(version: Version) -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| line.starts_with("VLLM_")).filter_map(move |line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let [first, last] = [words.next()?, words.next()?].map(Version::of);
        (first? <= version && version <= last?).then_some(name)
    })
}

/// A variable by its name, that is vLLM's and that this version does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The one that it reads and that is spelled most alike.
    pub(crate) like: Option<&'static str>,
}

/// Whether this version passes over this variable. Nothing is said of versions that are not in the table, and of
/// variables that others read.
pub(crate) fn unread(name: &str, version: Version) -> Option<Unread> {
    let ours = name.starts_with("VLLM_") && flags::covers(version);
    if !ours || read_by(version).any(|known| known == name) {
        return None;
    }
    Some(Unread { like: flags::most_alike(name, read_by(version)) })
}
