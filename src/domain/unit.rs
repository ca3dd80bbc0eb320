//! The text of systemd units.

/// One unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// With its suffix: `vllm.service`.
    pub name: String,
    /// The whole text.
    pub text: String,
}
