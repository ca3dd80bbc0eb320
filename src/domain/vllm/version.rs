//! Version numbers as vLLM and the NVIDIA driver write them.

use std::fmt;

/// Three numbers that compare in order. What follows them (`rc1`, `+cpu`) is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u32, u32, u32);

impl Version {
    /// The version `major.minor.patch`.
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self(major, minor, patch)
    }

    /// The first number.
    pub(crate) const fn major(self) -> u32 {
        self.0
    }

    /// Reads `0.26.0`, `0.32.0+cpu` or `580.159.04`; missing parts count as 0. `None` where it
    /// starts with no number.
    pub fn of(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            part[..digits.unwrap_or(part.len())].parse().ok()
        };
        let mut parts = text.trim().split('.');
        let major = number(parts.next()?)?;
        let mut rest = parts.map(|part| number(part).unwrap_or(0));
        Some(Self(major, rest.next().unwrap_or(0), rest.next().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
