//! Reads what the generations below a root showed of speed and memory, which corrects later plans for this host.

use super::{Evidence, Recorded, Store};
use crate::domain::{
    activation::machine::End,
    generation::Generation,
    machine::{calibration::Calibration, start::Start},
    problem::Problem,
    validation::report::Report,
};

impl Store {
    /// The newest measurement of each setting, newest first.
    pub fn calibrations(&self) -> Result<Vec<Calibration>, Problem> {
        self.newest(Calibration::of, |one, other| one.setting == other.setting)
    }

    /// The newest start of each setting, newest first.
    pub fn starts(&self) -> Result<Vec<Start>, Problem> {
        self.newest(Start::of, |one, other| one.setting == other.setting)
    }

    /// Evidence of the committed generations, the newest first of those that are alike.
    fn newest<T>(
        &self,
        shown: fn(&Generation, &Report) -> Option<T>,
        alike: fn(&T, &T) -> bool,
    ) -> Result<Vec<T>, Problem> {
        let mut newest: Vec<T> = Vec::new();
        for recorded in self.activations()?.into_iter().rev() {
            let found = self.proven(&recorded).and_then(|(generation, report)| shown(&generation, &report));
            newest.extend(found.filter(|found| !newest.iter().any(|known| alike(known, found))));
        }
        Ok(newest)
    }

    /// The generation and the report of one activation: nothing if it did not stay committed, or its generation is gone.
    fn proven(&self, recorded: &Recorded) -> Option<(Generation, Report)> {
        let last = recorded.last().filter(|last| last.end() == Some(&End::Committed))?;
        // A record that cannot be read shows nothing.
        let generation = self.generation(last.to).ok()?;
        Some((generation, self.report(recorded.number, Evidence::Candidate).ok()??))
    }
}
