//! Every rule of the preflight as data: what it watches, how grave it is, and who says so.
//!
//! The checks themselves are in [`super::preflight`] and [`super::placement`]; what they find takes its
//! severity and source from here, so that no finding lacks either.

mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use table::RULES;

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

impl Rule {
    /// The rule with this code.
    pub fn of(code: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| match rule.code.strip_suffix('*') {
            Some(start) => code.starts_with(start),
            None => rule.code == code,
        })
    }
}

/// Something to know before going on, or after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A stable name: `named-awq-stored-as-compressed-tensors`.
    pub code: String,
    /// The number of the rule that found it: `P02`.
    #[serde(default)]
    pub rule: String,
    /// How grave it is.
    #[serde(default)]
    pub severity: Severity,
    /// A lowercase fragment.
    pub message: String,
    /// What to do about it, if anything.
    pub help: Option<String>,
    /// Where this is known from.
    #[serde(default)]
    pub source: String,
}

impl Finding {
    /// A finding of the rule with this code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let rule = Rule::of(&code);
        Self {
            rule: rule.map_or("", |rule| rule.number).to_owned(),
            severity: rule.map_or(Severity::Fatal, |rule| rule.severity),
            source: rule.map_or("", |rule| rule.source).to_owned(),
            message: message.into(),
            help: None,
            code,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the remedy of its rule.
    #[must_use]
    pub fn with_remedy(self) -> Self {
        let remedy = Rule::of(&self.code).map(|rule| rule.remedy.to_owned());
        Self { help: remedy, ..self }
    }
}
