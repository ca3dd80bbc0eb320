//! The subject of a proposal: the model, and the server that it replaces.

use crate::domain::{
    planning::inputs::PlannedRuntime,
    profile::{Device, Listen, Profile},
};
use std::path::Path;

/// The model to serve, with its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// `owner/name` on the hub.
    pub(crate) repo: &'a str,
    /// The profile's name.
    pub(crate) name: &'a str,
    /// The systemd unit's name without suffix.
    pub(crate) service: &'a str,
    /// The name that clients write into `model`.
    pub(crate) served_name: &'a str,
    /// The address of the API.
    pub(crate) listen: Listen,
    /// The source of the files.
    pub(crate) source: Source<'a>,
    /// The chat template.
    pub(crate) template: Template,
    /// The profile that is replaced, if any.
    pub(crate) replaces: Option<Replaced<'a>>,
}

/// The profile that is replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced<'a> {
    /// The profile.
    pub(crate) profile: &'a Profile,
    /// The predicted rate of one stream, tokens/s.
    pub(crate) predicted: Option<f64>,
}

/// The source of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// The hub.
    Hub,
    /// A folder that a person named.
    Folder(&'a Path),
    /// The hub, whose cache on this host has them, too.
    Cached(&'a Path),
}

/// The words of a chat template about the model's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Nobody could read it.
    Unknown,
    /// There is none: a base model.
    Missing,
    /// The model answers at once.
    Answers,
    /// The model thinks before it answers, unless a request says `enable_thinking: false`.
    MayThink,
    /// The model always thinks before it answers.
    Thinks,
}

impl Template {
    /// Reads the text of a chat template. A template that handles `<think>` of earlier turns is that of a
    /// thinking model. The switch has the same name in Qwen3, Qwen3.5, GLM and `DeepSeek`.
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
    /// The runtime, as a plan takes it.
    pub(crate) runtime: PlannedRuntime,
    /// The device that it computes on.
    pub(crate) device: Device,
    /// The locked `transformers`.
    pub(crate) transformers: Option<String>,
}
