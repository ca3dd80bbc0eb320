//! What a generation was made of, by its digests: a record that was changed afterwards is not run.

use super::{
    content, fs, parallel,
    signals::Interrupt,
    store::{GENERATION, Store},
};
use crate::domain::{
    digest::Digest,
    generation_id::GenerationId,
    problem::{Kind, Problem},
};
use std::{path::Path, str::FromStr};

/// The digests of all files of a generation, as `sha256sum -c` reads them.
const SEAL: &str = "SHA256SUMS";

/// Writes the seal of a finished directory.
pub(super) fn seal(directory: &Path) -> Result<(), Problem> {
    let mut names = fs::names(directory)?;
    names.sort();
    let text = sums(directory, &names)?.into_iter().map(|(name, sum)| format!("{sum}  {name}\n"));
    fs::write_new(&directory.join(SEAL), text.collect::<String>())
}

impl Store {
    /// A problem if anything of a generation is not as it was made. One of before there were seals has none.
    ///
    /// # Errors
    /// [`Kind::Unverified`] that names the file.
    pub fn intact(&self, id: GenerationId) -> Result<(), Problem> {
        self.check(id, |_| true)
    }

    /// The same of what the service reads as it starts. Its program is not among it: one that was changed would
    /// hardly say so, and whoever deploys or returns has looked.
    ///
    /// # Errors
    /// As [`Store::intact`].
    pub fn record_intact(&self, id: GenerationId) -> Result<(), Problem> {
        self.check(id, |name| name == GENERATION)
    }

    fn check(&self, id: GenerationId, wanted: impl Fn(&str) -> bool) -> Result<(), Problem> {
        let directory = self.layout().generation(id);
        let Some(seal) = fs::read(&directory.join(SEAL))? else { return Ok(()) };
        let sealed: Vec<(String, Digest)> = seal
            .lines()
            .filter_map(|line| {
                let (sum, name) = line.split_once("  ")?;
                Some((name.to_owned(), Digest::from_str(sum).ok()?))
            })
            .collect();
        let changed = |what: String| {
            Problem::new(Kind::Unverified, format!("{what} since generation {id} was made")).help(format!(
                "put it back from a backup, or go to another generation; `cd {} && sha256sum -c {SEAL}` shows all",
                directory.display()
            ))
        };
        if sealed.len() != seal.lines().count() || sealed.is_empty() {
            return Err(changed(format!("`{SEAL}` was changed")));
        }
        for (name, sealed) in sealed.into_iter().filter(|(name, _)| wanted(name)) {
            let path = directory.join(&name);
            if !path.is_file() {
                return Err(changed(format!("`{}` was removed", path.display())));
            }
            if sum(&path)? != sealed {
                return Err(changed(format!("`{}` was changed", path.display())));
            }
        }
        Ok(())
    }
}

fn sums(directory: &Path, names: &[String]) -> Result<Vec<(String, Digest)>, Problem> {
    names.iter().map(|name| Ok((name.clone(), sum(&directory.join(name))?))).collect()
}

fn sum(path: &Path) -> Result<Digest, Problem> {
    // Some megabytes: nobody waits for it.
    let sums = parallel::each(&[path], &Interrupt::default(), &mut |_| (), |path, worker| {
        content::whole(path, worker)
    })?;
    sums.into_iter().next().map(|(_, sum)| sum).ok_or_else(|| Problem::doing("hash a file", "there is none"))
}
