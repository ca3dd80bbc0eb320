//! The checksums of a generation: a record that was changed afterwards is not run.

use super::hashing;
use crate::{
    domain::{digest::Sha256Digest, problem::Problem},
    host::os::{fs, parallel, signals::Interrupt},
};
use std::path::Path;

/// The name of the file with the digests of all files of a generation, as `sha256sum -c` reads them.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Writes the checksums of a finished directory.
pub(super) fn write(directory: &Path) -> Result<(), Problem> {
    let mut names = fs::names(directory)?;
    names.sort();
    let text = sums(directory, &names)?.into_iter().map(|(name, sum)| format!("{sum}  {name}\n"));
    fs::write_new(&directory.join(SUMS), text.collect::<String>())
}

fn sums(directory: &Path, names: &[String]) -> Result<Vec<(String, Sha256Digest)>, Problem> {
    names.iter().map(|name| Ok((name.clone(), sum(&directory.join(name))?))).collect()
}

pub(super) fn sum(path: &Path) -> Result<Sha256Digest, Problem> {
    // Some megabytes: progress is not shown.
    let sums = parallel::each(&[path], &Interrupt::default(), &mut |_| (), |path, worker| {
        hashing::whole(path, worker)
    })?;
    sums.into_iter().next().map(|(_, sum)| sum).ok_or_else(|| Problem::doing("hash a file", "there is none"))
}
