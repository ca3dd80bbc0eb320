//! Tells which version of vLLM reads which of its variables. It ignores an unknown one, with one line in its
//! log.

use super::{flags, version::Version};

const TABLE: &str = include_str!("known/vllm-variables.txt");

/// The variables that this version reads, for a version that the table of flags [`flags::covers`].
pub fn read_by(version: Version) -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| line.starts_with("VLLM_")).filter_map(move |line| {
        let mut words = line.split(' ');
        let name = words.next()?;
        let [first, last] = [words.next()?, words.next()?].map(Version::of);
        (first? <= version && version <= last?).then_some(name)
    })
}

/// A variable of vLLM's that this version does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The variable of this version that is spelled most alike.
    pub(crate) like: Option<&'static str>,
}

/// Finds whether this version ignores this variable. Nothing is said of versions that are not in the table,
/// and of variables that others read.
pub(crate) fn unread(name: &str, version: Version) -> Option<Unread> {
    let ours = name.starts_with("VLLM_") && flags::covers(version);
    if !ours || read_by(version).any(|known| known == name) {
        return None;
    }
    Some(Unread { like: flags::most_alike(name, read_by(version)) })
}
