//! Checks and messages for a checkpoint's files, wherever they are read.

use crate::domain::{
    checkpoint::safetensors::{Flaw, Header, Index},
    problem::{Kind, Problem},
};

pub(crate) const CONFIG: &str = "config.json";

pub(crate) const INDEX: &str = "model.safetensors.index.json";

pub(crate) const SUFFIX: &str = ".safetensors";

/// The number of missing names in a message; the rest are only counted.
pub(crate) const NAMED: usize = 3;

/// The header, if its file has all tensors that the index places there.
pub(crate) fn has_all(index: &Index, name: &str, header: Header, place: &str) -> Result<Header, Problem> {
    match index.missing_from(name, &header).as_slice() {
        [] => Ok(header),
        missing => Err(unverified(format!("`{place}` lacks {}", some_of(missing)))),
    }
}

pub(crate) fn some_of(names: &[&str]) -> String {
    let first = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(crate) fn flawed(place: &str, flaw: &Flaw) -> Problem {
    unverified(format!("`{place}` cannot be served: {flaw}"))
}

pub(crate) fn unverified(what: String) -> Problem {
    Problem::new(Kind::Unverified, what).help("fetch it again, or take the model's original files")
}
