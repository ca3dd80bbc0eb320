//! Amounts of memory and disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, iter::Sum, ops::Add, str::FromStr};

/// A number of bytes. In JSON it is a plain integer; for people it is shown in GiB and the like.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
#[schemars(rename = "Bytes")]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` × 2³⁰ bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// `n` × 2²⁰ bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The amount in units of 2³⁰ bytes.
    pub fn as_gib(self) -> f64 {
        self.0 as f64 / f64::from(1 << 30)
    }

    /// Whether it is nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "`skip_serializing_if` asks by reference")]
    pub(crate) const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The same share of this as `part` is of `whole`, which may be more than all of it; zero where this is
    /// zero.
    #[must_use]
    pub(crate) fn part(self, part: Self, whole: Self) -> Self {
        let product = u128::from(self.0) * u128::from(part.0);
        Self(u64::try_from(product / u128::from(whole.0.max(1))).unwrap_or(u64::MAX))
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for ByteSize {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bytesize::ByteSize(self.0).display().iec().to_string())
    }
}

impl FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<bytesize::ByteSize>().map(|size| Self(size.0))
    }
}
