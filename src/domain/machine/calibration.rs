//! Corrects the prediction of a plan by what similar servers were measured to do on this host.
//!
//! The prediction knows cards and links by tables. The speed of this host's own link, memory and processor
//! shows in its measurements: if the newest server in the same setting was so many times as fast as
//! predicted, this one will be too. Only this one factor is learnt, and a plan shows its source, so that a
//! person can judge it.

use crate::domain::{digest::Sha256Digest, generation_id::GenerationId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The measured speed of a server that was proven on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Experience")]
pub struct Calibration {
    /// The setting in which it ran.
    pub setting: Setting,
    /// The measured speed.
    pub measurement: Measurement,
}

/// The setting of a server. The speed of one server says something about another only in the same setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The name of each rank's GPU.
    pub gpus: Vec<String>,
    /// The stages of the pipeline.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) stages: u32,
    /// vLLM's version.
    pub(crate) vllm: String,
    /// The model's architecture. Its quantisation may be another: how many bytes that makes is computed.
    pub(crate) architecture: String,
    /// The resource that most of a decode step waits for.
    pub(crate) limited_by: Limit,
    /// The source of the rates of memory and link: what corrects a table says nothing about a probe.
    pub(crate) rates: RatesFrom,
    /// The digest of the profile's own arguments and variables: they may change how anything is computed.
    pub(crate) arguments: Sha256Digest,
}

/// The decode rate of one stream, in tokens/s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// The generation that was measured.
    pub generation: GenerationId,
    /// The profile of that generation.
    pub(crate) profile: String,
    /// When it was measured.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(crate) at: jiff::Timestamp,
    /// The rate computed from tables and probes alone.
    pub(crate) computed: f64,
    /// The median that was measured.
    pub measured: f64,
}

/// The factors that are believed: beyond them, something else was measured than was computed.
const BELIEVED: std::ops::RangeInclusive<f64> = 0.1..=10.0;

/// One stage: what settings had before there were more.
const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_one(stages: &u32) -> bool {
    *stages == 1
}

impl Setting {
    /// The newest measurement in this setting.
    pub(crate) fn newest(&self, calibrations: &[Calibration]) -> Option<Measurement> {
        let alike = calibrations.iter().filter(|one| one.setting == *self).map(|one| &one.measurement);
        alike.filter(|one| one.factor().is_some()).max_by_key(|one| one.at).cloned()
    }
}

impl Measurement {
    /// The factor by which it was faster than computed, where that can be believed.
    pub(crate) fn factor(&self) -> Option<f64> {
        Some(self.measured / self.computed).filter(|factor| BELIEVED.contains(factor))
    }
}

/// The resource that a decode step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// Kernel launches and the like.
    FixedWork,
    /// Reading VRAM.
    VramBandwidth,
    /// Reading offloaded experts over PCIe.
    PcieLink,
    /// The ranks waiting for each other.
    AllReduce,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FixedWork => "fixed work of a step",
            Self::VramBandwidth => "VRAM bandwidth",
            Self::PcieLink => "the PCIe link",
            Self::AllReduce => "the ranks' exchange",
        })
    }
}

/// The source of the rates of memory and link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RatesFrom {
    /// Data sheets of cards, and a table of links.
    #[default]
    Table,
    /// A probe on this host: `awqdeploy facts --probe`.
    Probe,
}

impl fmt::Display for RatesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "rates from a table of cards and links",
            Self::Probe => "rates measured on this host",
        })
    }
}
