//! What the generations below a root have shown: what later plans for this host are corrected by.

use crate::{
    domain::{activation::machine::End, machine::calibration::Calibration, problem::Problem},
    host::store::{Evidence, Recorded, Store},
};

/// The newest measurement of each setting, newest first.
pub fn of(store: &Store) -> Result<Vec<Calibration>, Problem> {
    let mut newest: Vec<Calibration> = Vec::new();
    for recorded in store.activations()?.into_iter().rev() {
        let shown = shown(store, &recorded);
        newest.extend(shown.filter(|shown| newest.iter().all(|known| known.setting != shown.setting)));
    }
    Ok(newest)
}

/// What one activation has shown: nothing if it did not last, or its generation is gone.
fn shown(store: &Store, recorded: &Recorded) -> Option<Calibration> {
    let last = recorded.last().filter(|last| last.end() == Some(&End::Committed))?;
    // What cannot be read has shown nothing.
    let generation = store.generation(last.to).ok()?;
    Calibration::of(&generation, &store.report(recorded.number, Evidence::Candidate).ok()??)
}
