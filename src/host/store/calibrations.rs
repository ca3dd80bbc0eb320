//! Reads the calibrations of the generations below a root, which correct later plans for this host.

use super::{Evidence, Recorded, Store};
use crate::domain::{activation::machine::End, machine::calibration::Calibration, problem::Problem};

impl Store {
    /// The newest measurement of each setting, newest first.
    pub fn calibrations(&self) -> Result<Vec<Calibration>, Problem> {
        let mut newest: Vec<Calibration> = Vec::new();
        for recorded in self.activations()?.into_iter().rev() {
            let shown = self.shown(&recorded);
            newest.extend(shown.filter(|shown| newest.iter().all(|known| known.setting != shown.setting)));
        }
        Ok(newest)
    }

    /// The calibration of one activation: nothing if it did not stay committed, or its generation is gone.
    fn shown(&self, recorded: &Recorded) -> Option<Calibration> {
        let last = recorded.last().filter(|last| last.end() == Some(&End::Committed))?;
        // A record that cannot be read calibrates nothing.
        let generation = self.generation(last.to).ok()?;
        Calibration::of(&generation, &self.report(recorded.number, Evidence::Candidate).ok()??)
    }
}
