//! The shortest profile that serves a model well on a host, with its plan: what `awqdeploy init` writes.

mod choice;
mod names;
mod subject;
mod text;

pub(crate) use choice::{Proposal, propose};
pub use names::{address, profile_name, served_name};
pub use subject::Template;
pub(crate) use subject::{Candidate, Replaced, Source, Subject};
