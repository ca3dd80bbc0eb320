//! A rule of the preflight.

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
    /// Something may go wrong, or be slower than one would like.
    Warning,
    /// Fails for certain.
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

/// The knowledge that a rule needs.
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
    /// The number: `P03`. Rules of one number watch the same thing.
    pub number: &'static str,
    /// The stable name that findings carry. A trailing `*` stands for what differs.
    pub code: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The knowledge that it needs.
    pub concerns: Concerns,
    /// The condition under which it holds.
    pub condition: &'static str,
    /// The usual remedy. A finding may know a better one.
    pub remedy: &'static str,
    /// The source of this knowledge.
    pub source: &'static str,
}
