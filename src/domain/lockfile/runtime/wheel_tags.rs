//! Finds the wheels that a target can use, and the one that an installer would take.
//!
//! The order is that of PEP 425, PEP 513 and PEP 600 as Python's `packaging.tags` puts them.

/// One Python on one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The interpreter's minor version: 12 for 3.12.
    pub python: u32,
    /// The minor version of the C library: 31 for glibc 2.31.
    pub glibc: u32,
}

/// The old names of manylinux, and the version of glibc that each stands for.
const OLD_NAMES: [(&str, u32); 3] = [("manylinux2014", 17), ("manylinux2010", 12), ("manylinux1", 5)];

impl Target {
    /// How much an installer prefers this wheel, less being better; nothing where it cannot be used.
    pub fn rank(self, file: &str) -> Option<(u32, u32)> {
        let mut parts = file.strip_suffix(".whl")?.rsplitn(4, '-');
        let (platforms, abis, pythons) = (parts.next()?, parts.next()?, parts.next()?);
        // A distribution and its version come first.
        parts.next()?.split_once('-')?;
        let mut ranks = Vec::new();
        for python in pythons.split('.') {
            for abi in abis.split('.') {
                for platform in platforms.split('.') {
                    ranks.extend(self.rank_of(python, abi, platform));
                }
            }
        }
        ranks.into_iter().min()
    }

    fn rank_of(self, python: &str, abi: &str, platform: &str) -> Option<(u32, u32)> {
        let own = format!("cp3{}", self.python);
        let minor = |prefix: &str| python.strip_prefix(prefix)?.parse::<u32>().ok();
        let age = |minor: u32| self.python.checked_sub(minor);
        // Of the versions that a wheel without an ABI may name, `py3` comes after this very one.
        let pure = match (python, minor("py3")) {
            ("py3", _) => Some(1),
            (_, Some(minor)) => age(minor).map(|age| if age == 0 { 0 } else { age + 1 }),
            _ => None,
        };
        if platform == "any" {
            return match abi {
                "none" if python == own => Some((200, 0)),
                "none" => Some((201 + pure?, 0)),
                _ => None,
            };
        }
        let place = self.place(platform)?;
        let group = match abi {
            _ if python == own && abi == own => 0,
            "abi3" if python == own => 1,
            "none" if python == own => 2,
            "abi3" => 2 + age(minor("cp3")?)?,
            "none" => 100 + pure?,
            _ => return None,
        };
        Some((group, place))
    }

    /// The place of a platform, newest first; each old name stands right behind the version that it means.
    fn place(self, platform: &str) -> Option<u32> {
        if platform == "linux_x86_64" {
            return Some(u32::MAX);
        }
        let name = platform.strip_suffix("_x86_64")?;
        let old = OLD_NAMES.iter().find(|(old, _)| *old == name);
        let (glibc, behind) = match old {
            Some((_, glibc)) => (*glibc, 1),
            None => (name.strip_prefix("manylinux_2_")?.parse().ok()?, 0),
        };
        // No supported architecture has an older one.
        (glibc >= 5).then_some(self.glibc.checked_sub(glibc)? * 2 + behind)
    }
}
