//! Records of what a model expects: of earlier validations, or from a file.

use crate::{
    domain::{
        digest::Sha256Digest,
        problem::{Kind, Problem},
        validation::{
            quality::Quality,
            reference::{Reference, ReferenceOf},
            report::Report,
        },
    },
    host::os::fs,
};
use serde::Deserialize;
use std::path::Path;

/// A record, and what it is of.
#[derive(Clone, Debug)]
pub(super) struct Record {
    quality: Option<Quality>,
    of: ReferenceOf,
    named: String,
    required: bool,
}

/// A report as a file, of any host: what `awqdeploy validate --json` prints, or a stored one.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferenceFile {
    #[serde(default)]
    weights: Option<Sha256Digest>,
    quality: Option<Quality>,
    profile: String,
}

impl ReferenceFile {
    /// Reads such a file.
    ///
    /// # Errors
    ///
    /// Where there is none, or none that tells what a model expects.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let what = |why: String| {
            Problem::new(Kind::Usage, format!("`{}` is no reference: {why}", path.display())).help(
                "name what `awqdeploy validate --json` printed about a model with `[validation.quality]`, or an \
                 activation's `report.json`",
            )
        };
        let text = fs::read(path)?.ok_or_else(|| what("there is no such file".to_owned()))?;
        let file: Self = serde_json::from_str(&text).map_err(|error| what(error.to_string()))?;
        if file.quality.as_ref().is_none_or(|quality| quality.expectations.is_none()) {
            return Err(what("it does not tell what the model expects at each token".to_owned()));
        }
        Ok(file)
    }

    /// The record for a model of these weights.
    pub(super) fn record(&self, weights: Option<Sha256Digest>) -> Record {
        let same = weights.is_some() && weights == self.weights;
        let (of, what) = if same {
            (ReferenceOf::SameWeights, "the same weights")
        } else {
            (ReferenceOf::SameModel, "the model")
        };
        Record {
            quality: self.quality.clone(),
            of,
            named: format!("{what} in the reference `{}`", self.profile),
            required: true,
        }
    }
}

impl Record {
    /// The record of an earlier validation of the same weights.
    pub(super) fn of_weights(report: &Report) -> Self {
        let generation = report.generation.map_or_else(String::new, |id| format!(", generation {id}"));
        let named = format!("the same weights on {}{generation}", report.at.strftime("%Y-%m-%d %H:%M"));
        Self { quality: report.quality.clone(), of: ReferenceOf::SameWeights, named, required: false }
    }

    /// The reference to compare with.
    pub(super) fn reference(&self) -> Option<Reference<'_>> {
        let quality = self.quality.as_ref()?;
        Some(Reference { quality, of: self.of, named: &self.named, required: self.required })
    }
}
