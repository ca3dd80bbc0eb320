//! Tells the host's journal of an activation that ended, under numbers that never change.
//!
//! `journalctl MESSAGE_ID=…` finds each kind on any host; the fields say the rest to programs.

use crate::domain::{
    activation::machine::{Activation, End},
    planning::plan::Plan,
    spelling::visible,
    store::layout::Scope,
};

/// A generation was proven and serves.
pub const ACTIVATED: &str = "5f0c9e2b7d2e4c1f9a3b8c6d41e7a025";
/// A generation failed, and the one before it runs again.
pub const ROLLED_BACK: &str = "b1d7430c95a84e6ab2f90d5e76c3481f";
/// The rollback failed: a person is needed.
pub const STUCK: &str = "d93e6a815c0b4f27860f1ab47e52c9d4";

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The kind: 32 hexadecimal digits.
    pub id: &'static str,
    /// The priority, as syslog counts: 5 for a notice, 4 for a warning, 2 for what is critical.
    pub priority: u8,
    /// For people, in one line.
    pub message: String,
    /// For programs: names in capital letters, and their values.
    pub fields: Vec<(&'static str, String)>,
}

impl Notice {
    /// The notice for this activation, if it has ended; `plan` is that of the generation on trial.
    pub fn of(number: u64, activation: &Activation, plan: &Plan, scope: Scope) -> Option<Self> {
        let Plan { profile, service, .. } = plan;
        let Activation { from, to, .. } = activation;
        let end = activation.end()?;
        let back = from
            .map_or_else(|| "nothing serves".to_owned(), |from| format!("generation {from} serves again"));
        let (id, priority, message, why) = match end {
            End::Committed => {
                (ACTIVATED, 5, format!("{profile} (generation {to}) is proven and serves"), None)
            }
            End::RolledBack { cause } => {
                let why = cause.to_string();
                (
                    ROLLED_BACK,
                    4,
                    format!("{profile} (generation {to}) was rolled back, {back}: {why}"),
                    Some(why),
                )
            }
            End::Stuck { cause, step, why } => {
                let why = format!("{cause}; then the rollback failed at {step}: {why}");
                let message = format!(
                    "{profile} (generation {to}) failed and so did the rollback, a person is needed: {why}"
                );
                (STUCK, 2, message, Some(why))
            }
        };
        let unit = match scope {
            Scope::System => "OBJECT_SYSTEMD_UNIT",
            Scope::User => "USER_UNIT",
        };
        let mut fields = vec![
            ("AWQDEPLOY_ACTIVATION", number.to_string()),
            ("AWQDEPLOY_END", end.name().to_owned()),
            ("AWQDEPLOY_PROFILE", profile.clone()),
            ("AWQDEPLOY_TO", to.to_string()),
            // So that `journalctl -u SERVICE` shows it among the service's own lines.
            (unit, format!("{service}.service")),
        ];
        fields.extend(from.map(|from| ("AWQDEPLOY_FROM", from.to_string())));
        fields.extend(why.map(|why| ("AWQDEPLOY_WHY", why)));
        Some(Self { id, priority, message, fields })
    }

    /// Raises the notice where the server after a rollback failed its validation too: a person is needed.
    #[must_use]
    pub fn failing(self, why: &str) -> Self {
        let message =
            format!("{}; and the server that runs again does not pass its validation: {why}", self.message);
        Self { id: STUCK, priority: 2, message, ..self }
    }

    /// The datagram by which the journal takes it (`JOURNAL_NATIVE_PROTOCOL`): a value with a line break follows its
    /// length, as 8 bytes, the lowest first.
    pub fn datagram(&self) -> Vec<u8> {
        let priority = self.priority.to_string();
        let own = [
            ("MESSAGE", self.message.as_str()),
            ("MESSAGE_ID", self.id),
            ("PRIORITY", &priority),
            ("SYSLOG_IDENTIFIER", "awqdeploy"),
        ];
        let mut bytes = Vec::new();
        for (name, value) in
            own.into_iter().chain(self.fields.iter().map(|(name, value)| (*name, value.as_str())))
        {
            // A reason may quote a server, and `journalctl` shows no text with escape sequences in it.
            let value = visible(value);
            bytes.extend_from_slice(name.as_bytes());
            if value.contains('\n') {
                bytes.push(b'\n');
                bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            } else {
                bytes.push(b'=');
            }
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}
