//! What a profile is proposed for.

use crate::domain::{
    planning::inputs::PlannedRuntime,
    profile::{Device, Listen, Profile},
};
use std::path::Path;

/// What is to be served, and under which names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// `owner/name` on the hub.
    pub(crate) repo: &'a str,
    /// The profile's name.
    pub(crate) name: &'a str,
    /// The systemd unit's name without suffix.
    pub(crate) service: &'a str,
    /// What clients write into `model`.
    pub(crate) served_name: &'a str,
    /// Where it answers.
    pub(crate) listen: Listen,
    /// Where the files come from.
    pub(crate) source: Source<'a>,
    /// How it answers a chat.
    pub(crate) template: Template,
    /// What it is to replace.
    pub(crate) replaces: Option<Replaced<'a>>,
}

/// What serves until then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced<'a> {
    /// Its profile.
    pub(crate) profile: &'a Profile,
    /// What is predicted of one stream, tokens/s.
    pub(crate) predicted: Option<f64>,
}

/// Where the files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// The hub.
    Hub,
    /// A folder that a person named.
    Folder(&'a Path),
    /// The hub; and this cache of a hub has them, too.
    Cached(&'a Path),
}

/// What a chat template tells of how a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Nobody could read it.
    Unknown,
    /// There is none: a base model.
    Missing,
    /// It answers at once.
    Answers,
    /// It thinks before it answers, unless a request says `enable_thinking: false`.
    MayThink,
    /// It always thinks before it answers.
    Thinks,
}

impl Template {
    /// What the text of a chat template tells. A template that handles `<think>` of earlier turns is of a model that
    /// thinks; the switch is called the same in Qwen3, Qwen3.5, GLM and `DeepSeek`.
    pub fn of(text: &str) -> Self {
        if text.contains("enable_thinking") {
            Self::MayThink
        } else if text.contains("<think>") {
            Self::Thinks
        } else {
            Self::Answers
        }
    }
}

/// A vLLM that a profile may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// As a plan takes it.
    pub(crate) runtime: PlannedRuntime,
    /// What it computes on.
    pub(crate) device: Device,
    /// The locked `transformers`.
    pub(crate) transformers: Option<String>,
}
