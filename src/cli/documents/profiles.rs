//! The document of `profiles`.

use crate::{
    domain::generation_id::GenerationId,
    flow::inspect::profiles::{ListedProfile, Stage},
};
use schemars::JsonSchema;
use serde::Serialize;

/// `awqdeploy/profiles/v1`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProfilesDocument {
    pub(crate) schema: &'static str,
    pub(crate) profiles: Vec<ProfileLine>,
}

/// One profile.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProfileLine {
    pub(crate) profile: String,
    /// `serves`, `proven` (on this host), `tried` (and never proven), `fetched`, `locked` or `written`.
    pub(crate) stage: &'static str,
    /// The newest generation of it that counts for that.
    pub(crate) generation: Option<GenerationId>,
    pub(crate) service: Option<String>,
    pub(crate) repo: Option<String>,
    pub(crate) vllm: Option<String>,
    /// The mistake in its file. Null: none.
    pub(crate) mistake: Option<String>,
}

impl ProfilesDocument {
    pub(crate) fn of(listed: Vec<ListedProfile>) -> Self {
        let line = |ListedProfile { name, profile, stage, generation }| {
            let (profile, mistake) = match profile {
                Ok(profile) => (Some(profile), None),
                Err(problem) => (None, Some(problem.in_one_line())),
            };
            let told = profile.as_ref();
            ProfileLine {
                profile: name,
                stage: word(stage),
                generation,
                service: told.map(|profile| profile.service().to_owned()),
                repo: told.map(|profile| profile.model().repo.clone()),
                vllm: told.map(|profile| profile.runtime().vllm.clone()),
                mistake,
            }
        };
        Self { schema: "awqdeploy/profiles/v1", profiles: listed.into_iter().map(line).collect() }
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Serves => "serves",
        Stage::Proven => "proven",
        Stage::Tried => "tried",
        Stage::Fetched => "fetched",
        Stage::Locked => "locked",
        Stage::Written => "written",
    }
}
