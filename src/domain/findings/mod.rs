//! Every rule of the preflight as data: its condition, severity and source.
//!
//! The checks themselves are in [`super::planning::preflight`] and [`super::planning::placement`]; what they find takes its
//! severity and source from here, so that no finding lacks either.

mod after;
mod before;
mod host;
pub mod refusal;
mod rule;

pub use rule::{Concerns, Rule, Severity};

use super::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// All rules.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| [before::BEFORE, host::HOST, after::AFTER].concat());

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
    pub(crate) rule: String,
    /// How grave it is.
    #[serde(default)]
    pub severity: Severity,
    /// A lowercase fragment.
    pub message: String,
    /// The remedy, if there is one.
    pub help: Option<String>,
    /// The source of this knowledge.
    #[serde(default)]
    pub source: String,
}

impl Finding {
    /// A finding of the rule with this code.
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
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

    /// The finding that a plan counts with the weights that were published, since this problem kept the headers from
    /// being read.
    pub(crate) fn headers_not_read(problem: &Problem) -> Self {
        let what = format!("the weights are those that were published: {}", problem.in_one_line());
        Self::new("headers-not-read", what).with_remedy()
    }

    /// Adds the remedy.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the remedy of its rule.
    #[must_use]
    pub(crate) fn with_remedy(self) -> Self {
        let remedy = Rule::of(&self.code).map(|rule| rule.remedy.to_owned());
        Self { help: remedy, ..self }
    }
}
