//! What a rule of the preflight is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    #[default]
    Note,
    /// It may go wrong, or slower than one would like.
    Warning,
    /// It will not work.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fatal => "fatal",
        })
    }
}

/// What a rule has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// The host alone: `doctor` asks it.
    Host,
    /// A profile on a host.
    Plan,
    /// An installed runtime, asked about a plan.
    Runtime,
    /// A running engine against its plan.
    Engine,
    /// The limits that a running service is under.
    Service,
}

/// One thing that is known to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number: `P03`. Rules of one number watch the same thing.
    pub number: &'static str,
    /// The stable name that findings carry. A trailing `*` stands for what differs.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What has to be known to judge it.
    pub concerns: Concerns,
    /// When it holds.
    pub condition: &'static str,
    /// What helps, in general. A finding may know better.
    pub remedy: &'static str,
    /// Where this is known from.
    pub source: &'static str,
}
