//! The request of a person to `adopt`.

/// The server to adopt, and its names.
#[derive(Clone, Debug)]
pub struct Request {
    /// A unit's name, or a process's number.
    pub target: String,
    /// The profile to write.
    pub profile: String,
    /// The service to make for a process that has no unit.
    pub service: String,
    /// `owner/name` of a model that lies in a plain folder.
    pub repo: Option<String>,
    /// The version of vLLM, where the packages do not tell it.
    pub vllm: Option<String>,
    /// Whether it is asked questions.
    pub questions: Questions,
}

/// Whether the server is asked the questions with known answers, now and after each rollback to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Questions {
    /// Asked: as many must be right later as are now.
    Asked,
    /// Not asked: a base model, say, has no answers.
    Spared,
}
