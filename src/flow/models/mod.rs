//! Models: locked, fetched, verified and laid out.

pub(crate) mod export;
pub mod fetch;
pub mod lock;
pub mod runtime;
pub mod verify;
pub mod verify_at_start;

use crate::{
    domain::problem::{Kind, Problem},
    host::hub::{Hub, Reach, Settings},
};

/// A client, where the hub may be asked at all.
pub(in crate::flow) fn online(settings: &Settings) -> Result<Hub, Problem> {
    if settings.reach == Reach::Offline {
        return Err(Problem::new(Kind::Unverified, "this needs the hub, and offline mode is on")
            .help("unset `HF_HUB_OFFLINE`, or leave out `--offline`"));
    }
    Hub::new(settings)
}

pub(in crate::flow) fn not_locked(name: &str) -> Problem {
    Problem::new(Kind::Unverified, format!("the model of `{name}` is not locked")).help(format!(
        "record its files once: `awqdeploy lock {name}` asks the hub, `awqdeploy lock {name} --from FOLDER` \
             takes what is here"
    ))
}
