//! Finds damaged records. A damaged record is skipped, and prevents nothing else.

use super::{Evidence, Recorded, Store, journal, numbers};
use crate::domain::{generation_id::GenerationId, problem::Problem, store::layout::Layout};

impl Store {
    /// The damaged records, each in one line.
    pub fn damages(&self) -> Result<Vec<String>, Problem> {
        let mut found = Vec::new();
        let mut note = |problem: Option<Problem>| found.extend(problem.map(|problem| problem.in_one_line()));
        for id in self.generation_ids()? {
            note(self.generation(id).err());
            note(self.adopted(id).err());
        }
        for number in numbers(&self.layout().activations())? {
            note(journal_of(&self.activation(number)?, self.layout()));
            note(self.order(number).err());
            for evidence in [Evidence::Baseline, Evidence::Candidate, Evidence::Returned] {
                note(self.report(number, evidence).err());
            }
        }
        Ok(found)
    }

    /// Whether a generation is known not to be proven. A damaged record of it might say otherwise.
    pub fn is_not_known_good(&self, id: GenerationId) -> Result<bool, Problem> {
        if self.known_good()?.contains(&id) {
            return Ok(false);
        }
        let damaged = |recorded: &Recorded| !recorded.damaged.is_empty() && self.may_concern(recorded, id);
        Ok(!self.activations()?.iter().any(damaged))
    }

    fn may_concern(&self, recorded: &Recorded, id: GenerationId) -> bool {
        let ordered = || self.order(recorded.number).ok().flatten().map(|order| order.to);
        recorded.last().map(|last| last.to).or_else(ordered).is_none_or(|to| to == id)
    }
}

fn journal_of(recorded: &Recorded, layout: &Layout) -> Option<Problem> {
    let lines: Vec<_> = recorded.damaged.iter().map(ToString::to_string).collect();
    let path = layout.activation(recorded.number).join(journal::NAME);
    (!lines.is_empty()).then(|| {
        Problem::doing(
            format_args!("read the journal `{}`", path.display()),
            format!("line {} is damaged", lines.join(", ")),
        )
    })
}
