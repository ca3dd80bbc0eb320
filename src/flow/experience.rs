//! What the generations below a root have shown: what later plans for this host are corrected by.

use crate::{
    domain::{activation::End, experience::Experience, problem::Problem},
    host::store::{Evidence, Recorded, Store},
};

/// The newest measurement of each setting, newest first.
pub fn of(store: &Store) -> Result<Vec<Experience>, Problem> {
    let mut newest: Vec<Experience> = Vec::new();
    for recorded in store.activations()?.into_iter().rev() {
        let shown = shown(store, &recorded)?;
        newest.extend(shown.filter(|shown| newest.iter().all(|known| known.setting != shown.setting)));
    }
    Ok(newest)
}

/// What one activation has shown: nothing if it did not last, or its generation is gone.
fn shown(store: &Store, recorded: &Recorded) -> Result<Option<Experience>, Problem> {
    let committed = recorded.last().filter(|last| last.end() == Some(&End::Committed)).map(|last| last.to);
    let Some(id) = committed.filter(|id| store.layout().generation(*id).is_dir()) else { return Ok(None) };
    let report = store.report(recorded.number, Evidence::Candidate)?;
    let generation = store.generation(id)?;
    Ok(report.and_then(|report| Experience::of(&generation, &report)))
}
