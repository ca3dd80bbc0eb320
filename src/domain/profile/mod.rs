//! A profile: the server that a person wants, and the gates of its validation.
//!
//! A text becomes a [`Profile`] in three stages: its syntax and keys (`document`), its types (`raw`), and
//! its values (`review`, by the `rules`). Each stage reports all that it finds, with its place.

mod checked;
pub mod document;
mod extra;
mod gates;
mod keys;
mod neighbours;
mod raw;
mod review;
pub(crate) mod rules;
pub mod secrets;
mod values;

use super::{machine::visible::DEVICES, problem::Problem};
pub use checked::Profile;
use checked::unplaced;
use document::{Document, DocumentError};
pub(super) use extra::{kept_argument, kept_variable};
pub use keys::KEYS;
use secrets::Secrets;
use std::path::{Path, PathBuf};
pub use values::{
    Arrivals, Baseline, Device, Gates, Limits, Listen, Memory, Model, Offload, Parallel, Python,
    QualityLimits, Runtime, Sweep, Timeouts, Tolerances, VerifyAtStart, Watch,
};

impl Profile {
    /// Reads the text of the profile `name`; `path` is named in problems.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) with the place of the first mistake; the others are in [`Problem::also`].
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Self, Problem> {
        Self::read(name, path, text, None)
    }

    /// Reads the text of a profile among others of these names: its baseline must be one of them.
    ///
    /// # Errors
    /// As [`Profile::parse`].
    pub(crate) fn parse_among(
        name: &str,
        path: &Path,
        text: &str,
        others: &[String],
    ) -> Result<Self, Problem> {
        Self::read(name, path, text, Some(others))
    }

    fn read(name: &str, path: &Path, text: &str, others: Option<&[String]>) -> Result<Self, Problem> {
        rules::name(name.to_owned()).map_err(|fault| Self::misnamed(name, path, fault))?;
        let document = Document::parse(path, text, KEYS)?;
        let (raw, unknown) = document.read_beside()?;
        review::profile(name, document, raw, others, unknown)
    }

    fn misnamed(name: &str, path: &Path, fault: DocumentError) -> Problem {
        let problem = fault
            .what(format!("`{name}` cannot be the name of a profile"))
            .help(format!("rename `{}`: its name without `.toml` is the profile's", path.display()));
        problem.unplaced(KEYS, "")
    }

    /// Moves the profile to another address: a rehearsal must not disturb the running server.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for port 0.
    pub fn with_listen(self, listen: Listen) -> Result<Self, Problem> {
        rules::port(listen.port.into()).map_err(unplaced("listen.port"))?;
        Ok(Self { listen, ..self })
    }

    /// Removes the secrets: a rehearsal needs none, and whoever rehearses may not read them.
    #[must_use]
    pub(crate) fn without_secrets(self) -> Self {
        Self { secrets: Secrets::default(), ..self }
    }

    /// Plans with all of each GPU's memory, and the usual share of it.
    #[must_use]
    pub(crate) fn with_whole_gpus(mut self) -> Self {
        self.memory.gpu = None;
        self.memory.gpu_memory_utilization = review::UTILIZATION;
        self
    }

    /// The profile for an upgrade: this model under another name and with another vLLM, compared with this profile.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a name or version that a profile's file could not have either.
    pub(crate) fn upgraded(&self, name: &str, vllm: &str, min_ratio: f64) -> Result<Self, Problem> {
        let name = rules::name(name.to_owned()).map_err(unplaced("name"))?;
        let vllm = rules::version(vllm.to_owned()).map_err(unplaced("runtime.vllm"))?;
        let baseline = Some(Baseline { profile: self.name.clone(), min_ratio, required: true });
        let runtime = Runtime { vllm, ..self.runtime.clone() };
        Self { name, runtime, ..self.clone() }.with_gates(Gates { baseline, ..self.gates.clone() })
    }

    /// The profile on these GPUs, by number or UUID.
    #[must_use]
    pub(crate) fn on_gpus(mut self, gpus: Vec<String>) -> Self {
        self.environment.insert(DEVICES.to_owned(), gpus.join(","));
        self.gpus = gpus;
        self
    }

    /// Sets the limits of time.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a time that a profile's file could not have either.
    pub fn with_timeouts(self, timeouts: Timeouts) -> Result<Self, Problem> {
        rules::within(rules::LONGEST_START)(timeouts.start).map_err(unplaced("timeouts.start"))?;
        rules::within(rules::LONGEST_REQUEST)(timeouts.request).map_err(unplaced("timeouts.request"))?;
        Ok(Self { timeouts, ..self })
    }

    /// Sets the folder of the model's files.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a path that is not absolute.
    pub(crate) fn with_path(mut self, path: PathBuf) -> Result<Self, Problem> {
        rules::whole_path(path.to_string_lossy().into_owned()).map_err(unplaced("model.path"))?;
        self.model.path = Some(path);
        Ok(self)
    }

    /// Adds a variable, or sets another value for it.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a name or value that a profile's file could not have either.
    pub fn with_environment(mut self, name: &str, value: &str) -> Result<Self, Problem> {
        let place = format!("vllm.environment.{name}");
        let name = extra::variable(name.to_owned()).map_err(unplaced(place.as_str()))?;
        let value = rules::one_line(value.to_owned()).map_err(unplaced(place))?;
        self.environment.insert(name, value);
        Ok(self)
    }

    /// Sets the gates.
    ///
    /// # Errors
    /// [`Kind::Usage`](super::problem::Kind::Usage) for a demand that a profile's file could not have either.
    pub fn with_gates(self, gates: Gates) -> Result<Self, Problem> {
        gates::check(&self, &gates)?;
        Ok(Self { gates, ..self })
    }
}
