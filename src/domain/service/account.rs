//! How a service came to be what it is, as its service manager tells.

use super::active_state::ActiveState;
use std::time::Duration;

/// The account that a service manager gives of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How its last run ended, in systemd's word: `success`, `exit-code`.
    pub result: String,
    /// How often it was started again by itself since a person or a deployment started it.
    pub restarts: u32,
    /// For how long it has been what it is.
    pub since: Option<Duration>,
    /// The service's own words.
    pub said: String,
}

/// Why a service in this state does not serve. `engine` is the cause
/// that its log names, if it names one.
pub fn why_not(state: &ActiveState, account: &Account, engine: Option<&str>) -> String {
    let cause = cause(&account.result);
    let told = engine.or(Some(account.said.as_str()).filter(|said| !said.is_empty()));
    match (state, cause) {
        (ActiveState::Activating | ActiveState::Reloading, None) => match told {
            Some(told) => format!("it starts: {told}"),
            None => "it starts".to_owned(),
        },
        (ActiveState::Activating | ActiveState::Reloading, Some(cause)) => {
            with("it is being started again: ", cause, told)
        }
        (ActiveState::Deactivating, _) => "it is being stopped".to_owned(),
        (_, Some(cause)) => with("", cause, told),
        (ActiveState::Inactive, None) => {
            "a person stopped it, or it was not started since the boot".to_owned()
        }
        (state, None) => with("", &format!("systemd says `{state}`"), told),
    }
}

fn with(before: &str, cause: &str, told: Option<&str>) -> String {
    told.map_or_else(|| format!("{before}{cause}"), |told| format!("{before}{cause}: {told}"))
}

/// Explains a result of systemd's. Nothing for one that is none.
fn cause(result: &str) -> Option<&str> {
    Some(match result {
        "" | "success" => return None,
        "exit-code" | "signal" | "core-dump" => "the engine ended by itself",
        "start-limit-hit" => "it failed so often in a row that systemd starts it no more",
        "timeout" => "it was not ready in time",
        "watchdog" => "it hung",
        "oom-kill" => "the host had no memory left, and the kernel ended it",
        "condition" | "exec-condition" | "assert" => "a condition of its unit does not hold",
        "resources" | "protocol" => "systemd could not run it",
        other => other,
    })
}
