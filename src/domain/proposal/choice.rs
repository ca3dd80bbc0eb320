//! Chooses the vLLM and the limits for a proposed profile.

use super::{
    subject::{Candidate, Source, Subject},
    text::{Draft, Setting},
};
use crate::domain::{
    checkpoint::Checkpoint,
    findings::refusal::Refusal,
    machine::facts::Facts,
    planning::{
        inputs::{Inputs, PlannedModel},
        plan::Plan,
        preflight,
    },
    problem::{Kind, Problem},
    profile::{Limits, Profile, VerifyAtStart},
    store::layout::Layout,
    vllm::version::Version,
};
use std::path::{Path, PathBuf};

/// Contexts and requests at once, the best first. A context for documents comes before many requests, and one for
/// chats before few.
const LIMITS: [(u32, u32); 11] = [
    (32_768, 8),
    (32_768, 4),
    (16_384, 8),
    (16_384, 4),
    (8192, 8),
    (8192, 4),
    (8192, 2),
    (8192, 1),
    (4096, 2),
    (4096, 1),
    (2048, 1),
];
/// The limits of a model whose KV cache is not modelled: the defaults of a profile.
const LIMITS_UNMODELLED: (u32, u32) = (8192, 4);
/// Steps of so many tokens: the default, and those that need the least VRAM.
const STEPS: [Option<u32>; 2] = [None, Some(2048)];
/// Shares of a GPU that are tried where others hold some of it. The first is the default.
const SHARES: [Option<f64>; 6] = [None, Some(0.85), Some(0.8), Some(0.7), Some(0.6), Some(0.5)];
/// The share of the speed that a longer context must keep, where it pushes weights into RAM.
const SPEED_SHARE: f64 = 0.95;

/// A profile with its plan on the host that it was made for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal {
    /// The profile's text, with comments.
    pub(crate) text: String,
    /// The profile as it was read from the text.
    pub(crate) profile: Profile,
    /// The plan of the profile.
    pub(crate) plan: Plan,
}

/// Proposes a profile for a checkpoint on these facts, with the first candidate that can serve it; or says
/// why none can.
///
/// # Errors
/// [`Kind::Usage`] where a name, a path or an address cannot stand in a profile.
pub(crate) fn propose(
    subject: &Subject<'_>,
    checkpoint: &Checkpoint,
    facts: &Facts,
    candidates: &[Candidate],
    layout: &Layout,
) -> Result<Result<Proposal, Refusal>, Problem> {
    let mut refused = None;
    for candidate in candidates {
        match (Choice { subject, checkpoint, facts, candidate, layout }).best()? {
            Ok(proposal) => return Ok(Ok(proposal)),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    refused.map(Err).ok_or_else(|| {
        Problem::new(Kind::Usage, "no vLLM is locked").help("lock one: `awqdeploy lock PROFILE --runtime`")
    })
}

struct Choice<'a> {
    subject: &'a Subject<'a>,
    checkpoint: &'a Checkpoint,
    facts: &'a Facts,
    candidate: &'a Candidate,
    layout: &'a Layout,
}

impl Choice<'_> {
    fn best(&self) -> Result<Result<Proposal, Refusal>, Problem> {
        let mut refused = None;
        for share in SHARES {
            match self.with_share(share)? {
                Ok(setting) => return self.proposal(setting),
                Err(refusal) => {
                    let held = refusal.code == "vram-held-by-others";
                    refused = refused.or(Some(refusal));
                    if !held {
                        break;
                    }
                }
            }
        }
        match refused {
            Some(refusal) => Ok(Err(refusal)),
            None => self.proposal(self.settings(None)[0]),
        }
    }

    /// The best setting with this share of each GPU.
    fn with_share(&self, share: Option<f64>) -> Result<Result<Setting, Refusal>, Problem> {
        let mut fitting: Vec<(Setting, Option<f64>)> = Vec::new();
        let (mut refused, mut waiting) = (None, None);
        for setting in self.settings(share) {
            match self.plan(&self.draft(setting, None).write())? {
                // That requests wait is for a person to choose.
                Ok((_, plan)) if !plan.memory.serves_all_at_once() => waiting = waiting.or(Some(setting)),
                // Clients keep the limits that they have today.
                Ok(_) if self.kept() == Some((setting.max_model_len, setting.max_num_seqs)) => {
                    return Ok(Ok(setting));
                }
                Ok((_, plan)) => fitting.push((setting, plan.prediction.expected())),
                Err(refusal) => refused = Some(refusal),
            }
        }
        let fastest = fitting.iter().filter_map(|(_, rate)| *rate).fold(0.0, f64::max);
        let good =
            |(_, rate): &&(Setting, Option<f64>)| rate.is_none_or(|rate| rate >= fastest * SPEED_SHARE);
        match (fitting.iter().find(good).map(|(setting, _)| *setting).or(waiting), refused) {
            (Some(setting), _) => Ok(Ok(setting)),
            (None, Some(refusal)) => Ok(Err(refusal)),
            (None, None) => Ok(Ok(self.settings(share)[0])),
        }
    }

    /// The settings to try, the best first.
    fn settings(&self, share: Option<f64>) -> Vec<Setting> {
        let longest = self.checkpoint.shape.as_ref().map(|shape| shape.max_position_embeddings);
        let longest = longest.and_then(|longest| u32::try_from(longest).ok());
        let limits: Vec<(u32, u32)> = match longest {
            Some(longest) => {
                LIMITS.iter().map(|(length, requests)| ((*length).min(longest), *requests)).collect()
            }
            None => vec![LIMITS_UNMODELLED],
        };
        let mut settings = Vec::new();
        for steps in STEPS {
            for (max_model_len, max_num_seqs) in self.kept().into_iter().chain(limits.iter().copied()) {
                let setting = Setting {
                    max_model_len,
                    max_num_seqs,
                    max_num_batched_tokens: steps,
                    gpu_memory_utilization: share,
                };
                if !settings.contains(&setting) {
                    settings.push(setting);
                }
            }
        }
        settings
    }

    /// The limits of the replaced profile.
    fn kept(&self) -> Option<(u32, u32)> {
        let Limits { max_model_len, max_num_seqs, .. } = self.subject.replaces?.profile.limits();
        Some((max_model_len, max_num_seqs))
    }

    fn draft<'d>(&'d self, setting: Setting, plan: Option<&'d Plan>) -> Draft<'d> {
        let Self { subject, checkpoint, candidate, facts, .. } = self;
        Draft { subject, checkpoint, candidate, setting, plan, facts }
    }

    /// The proposal with this setting: its comments have the plan, and its floor follows from it.
    fn proposal(&self, setting: Setting) -> Result<Result<Proposal, Refusal>, Problem> {
        let first = match self.plan(&self.draft(setting, None).write())? {
            Ok((_, plan)) => plan,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let text = self.draft(setting, Some(&first)).write();
        Ok(self.plan(&text)?.map(|(profile, plan)| Proposal { text, profile, plan }))
    }

    fn plan(&self, text: &str) -> Result<Result<(Profile, Plan), Refusal>, Problem> {
        let Self { subject, checkpoint, facts, candidate, layout } = self;
        let file = PathBuf::from(format!("{}.toml", subject.name));
        let profile = Profile::parse(subject.name, &file, text)?;
        let model = PlannedModel {
            repo: subject.repo.to_owned(),
            revision: profile.model().revision.clone(),
            served_name: subject.served_name.to_owned(),
            digest: None,
            path: match subject.source {
                Source::Folder(path) => path.to_owned(),
                Source::Hub | Source::Cached(_) => Path::new(subject.repo).to_owned(),
            },
            verify_at_start: VerifyAtStart::Memo,
        };
        let runtime = &candidate.runtime;
        let inputs = Inputs { profile: &profile, model: &model, checkpoint, runtime, facts, layout };
        let packages = Version::of(&runtime.vllm).zip(candidate.transformers.as_deref());
        let checked = packages.map_or(Ok(()), |(version, locked)| preflight::transformers(version, locked));
        let plan = checked.and_then(|()| Plan::of(inputs));
        Ok(plan.map(|plan| (profile, plan)))
    }
}
