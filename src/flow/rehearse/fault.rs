//! The faults that the second deployment of a rehearsal can have.

use crate::{
    domain::{
        problem::{Kind, Problem},
        spelling::{closest, listed},
    },
    host::rehearsal::engine::EngineFault,
};
use std::{fmt, str::FromStr};

/// The fault of the second deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RehearsalFault {
    /// The engine misbehaves.
    Engine(EngineFault),
    /// One byte of the model is flipped.
    BadHash,
    /// One file of the model is gone.
    MissingFile,
    /// The GPUs are too small.
    DoesNotFit,
    /// A person presses Ctrl-C while the candidate starts.
    Interrupted,
}

impl RehearsalFault {
    /// All faults.
    pub(crate) fn all() -> Vec<Self> {
        let engine = EngineFault::ALL.iter().copied().map(Self::Engine);
        engine.chain([Self::BadHash, Self::MissingFile, Self::DoesNotFit, Self::Interrupted]).collect()
    }

    /// Refuses a fault that an upgrade cannot have.
    pub(super) fn of_an_upgrade(self) -> Result<(), Problem> {
        match self {
            Self::BadHash | Self::MissingFile => Err(Problem::new(
                Kind::Usage,
                format!("`{self}` is a fault of a new model's files, and an upgrade keeps the model"),
            )
            .help("leave `--story upgrade` out, or choose another fault")),
            Self::Engine(_) | Self::DoesNotFit | Self::Interrupted => Ok(()),
        }
    }

    /// The fault in words, for the list of faults.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Engine(fault) => fault.summary(),
            Self::BadHash => "one byte of the model's weights is flipped: caught before anything is stopped",
            Self::MissingFile => "one file of the model is gone: caught before anything is stopped",
            Self::DoesNotFit => "the GPUs have too little memory: caught before anything is stopped",
            Self::Interrupted => "somebody presses Ctrl-C while the candidate starts",
        }
    }
}

impl fmt::Display for RehearsalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(fault) => fault.fmt(f),
            Self::BadHash => f.write_str("bad-hash"),
            Self::MissingFile => f.write_str("missing-file"),
            Self::DoesNotFit => f.write_str("does-not-fit"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl FromStr for RehearsalFault {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::all().into_iter().find(|fault| fault.to_string() == text).ok_or_else(|| {
            let names: Vec<String> = Self::all().iter().map(ToString::to_string).collect();
            let names = || names.iter().map(String::as_str);
            let meant =
                closest(text, names()).map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
            Problem::new(Kind::Usage, format!("no fault is named `{text}`"))
                .help(format!("{meant}choose one of {}", listed(names())))
        })
    }
}
