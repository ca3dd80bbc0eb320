//! Checks whether a generation is still as it was made.

use super::{
    GENERATION, Store,
    checksums::{SUMS, sum},
};
use crate::{
    domain::{
        digest::Sha256Digest,
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    host::os::fs,
};
use std::str::FromStr;

impl Store {
    /// A problem if anything of a generation is not as it was made. Older generations have no checksums.
    ///
    /// # Errors
    /// [`Kind::Unverified`] that names the file.
    pub fn intact(&self, id: GenerationId) -> Result<(), Problem> {
        self.check(id, |_| true)
    }

    /// A problem if anything that the service reads at its start is not as it was made. The program is left
    /// out: a changed one would hardly report itself, and deployment and rollback check it.
    ///
    /// # Errors
    /// As [`Store::intact`].
    pub(crate) fn record_intact(&self, id: GenerationId) -> Result<(), Problem> {
        self.check(id, |name| name == GENERATION)
    }

    fn check(&self, id: GenerationId, wanted: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let directory = self.layout().generation(id);
        let Some(text) = fs::read(&directory.join(SUMS))? else { return Ok(()) };
        let listed: Vec<(String, Sha256Digest)> = text
            .lines()
            .filter_map(|line| {
                let (sum, name) = line.split_once("  ")?;
                Some((name.to_owned(), Sha256Digest::from_str(sum).ok()?))
            })
            .collect();
        let changed = |what: String| {
            Problem::new(Kind::Unverified, format!("{what} since generation {id} was made")).help(format!(
                "put it back from a backup, or go to another generation; `cd {} && sha256sum -c {SUMS}` shows all",
                directory.display()
            ))
        };
        if listed.len() != text.lines().count() || listed.is_empty() {
            return Err(changed(format!("`{SUMS}` was changed")));
        }
        for (name, kept) in listed.into_iter().filter(|(name, _)| wanted(name)) {
            let path = directory.join(&name);
            if !path.is_file() {
                return Err(changed(format!("`{}` was removed", path.display())));
            }
            if sum(&path)? != kept {
                return Err(changed(format!("`{}` was changed", path.display())));
            }
        }
        Ok(())
    }
}
