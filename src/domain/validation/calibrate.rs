//! Turns a validation into a calibration for later predictions.

use super::report::Report;
use crate::domain::{
    generation::Generation,
    machine::calibration::{Calibration, Measurement},
};

impl Calibration {
    /// The calibration from a passed validation. Nothing for a generation without a setting, for a rehearsal, and
    /// for a server that others used meanwhile.
    pub fn of(generation: &Generation, report: &Report) -> Option<Self> {
        let throughput = report.throughput.as_ref().filter(|speed| speed.beside() == 0.0)?;
        let measured = throughput.decode_tokens_per_second.median;
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
