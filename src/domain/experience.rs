//! What servers were measured to do on this host, and what that says of a plan like theirs.
//!
//! The prediction knows cards and links by tables. How fast this host's own link, memory and processor are it learns
//! from what was measured here: the newest server that was alike was so many times as fast as predicted, and so will
//! this one be. Only one factor is learnt, and a plan shows from where, so that a person can judge it.

use super::{
    activation::GenerationId,
    digest::Digest,
    generation::Generation,
    plan::Inputs,
    prediction::{Decode, Limit, RatesFrom},
    report::Report,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A server that was proven on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experience {
    /// As what it ran.
    pub setting: Setting,
    /// How fast it was.
    pub measurement: Measurement,
}

/// What two servers must have in common for the speed of one to say something about that of the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The name of each rank's GPU.
    pub gpus: Vec<String>,
    /// vLLM's version.
    pub vllm: String,
    /// The model's architecture. Its quantisation may be another: how many bytes that makes is computed.
    pub architecture: String,
    /// What most of a step waits for.
    pub limited_by: Limit,
    /// Where the rates of memory and link come from: what corrects a table says nothing about a probe.
    pub rates: RatesFrom,
    /// The digest of the profile's own arguments and variables: they may change how anything is computed.
    pub arguments: Digest,
}

/// The decode rate of one stream, in tokens/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Of which generation.
    pub generation: GenerationId,
    /// Its profile.
    pub profile: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: jiff::Timestamp,
    /// What is computed from tables and probes alone.
    pub computed: f64,
    /// The median that was measured.
    pub measured: f64,
}

/// What is believed of a factor: beyond it, something else was measured than was computed.
const BELIEVED: std::ops::RangeInclusive<f64> = 0.1..=10.0;

impl Experience {
    /// What a passed validation says of its generation. Nothing of one that was made before settings were kept, and
    /// of a rehearsal's.
    pub fn of(generation: &Generation, report: &Report) -> Option<Self> {
        let measured = report.throughput.as_ref()?.decode_tokens_per_second.median;
        let prediction = &generation.plan.prediction;
        let loaded = report.actual.as_ref().is_some_and(|actual| !actual.rehearsed);
        let computed = prediction.decode_tokens_per_second.as_ref()?.computed();
        let measurement = Measurement {
            generation: generation.id,
            profile: generation.plan.profile.clone(),
            at: report.at,
            computed,
            measured,
        };
        let setting = prediction.setting.clone()?;
        (loaded && report.passed()).then_some(Self { setting, measurement })
    }
}

impl Setting {
    /// The setting of a plan with so many ranks, of which this is computed.
    pub fn of(inputs: Inputs<'_>, ranks: u32, decode: &Decode) -> Self {
        let Inputs { profile, checkpoint, runtime, facts, .. } = inputs;
        let arguments = profile.arguments().iter().map(|word| format!("{word}\n"));
        let variables = profile.environment().iter().map(|(name, value)| format!("{name}={value}\n"));
        Self {
            gpus: facts.gpus.iter().take(ranks as usize).map(|gpu| gpu.name.clone()).collect(),
            vllm: runtime.vllm.clone(),
            architecture: checkpoint.architecture.clone(),
            limited_by: decode.limited_by,
            rates: decode.rates,
            arguments: Digest::of(arguments.chain(variables).collect::<String>()),
        }
    }

    /// The newest measurement in this setting.
    pub fn newest(&self, experience: &[Experience]) -> Option<Measurement> {
        let alike = experience.iter().filter(|one| one.setting == *self).map(|one| &one.measurement);
        alike.filter(|one| one.factor().is_some()).max_by_key(|one| one.at).cloned()
    }
}

impl Measurement {
    /// How many times as fast as computed it was, where that can be believed.
    pub fn factor(&self) -> Option<f64> {
        Some(self.measured / self.computed).filter(|factor| BELIEVED.contains(factor))
    }
}
