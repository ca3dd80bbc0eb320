//! Why a service does not serve, in words: the present cause, whatever was before.

use awqdeploy::domain::service::{
    account::{Account, why_not},
    active_state::ActiveState,
};

#[test]
fn each_cause_has_its_words() {
    let stopped = "a person stopped it, or it was not started since the boot";
    let cases = [
        ("inactive", "success", "", None, stopped),
        ("inactive", "", "", None, stopped),
        ("failed", "exit-code", "", None, "the engine ended by itself"),
        ("failed", "exit-code", "exit status: 1", None, "the engine ended by itself: exit status: 1"),
        ("failed", "signal", "exit status", Some("no memory"), "the engine ended by itself: no memory"),
        ("failed", "start-limit-hit", "", None, "it failed so often in a row that systemd starts it no more"),
        ("failed", "oom-kill", "", None, "the host had no memory left, and the kernel ended it"),
        ("failed", "timeout", "", None, "it was not ready in time"),
        ("failed", "watchdog", "", None, "it hung"),
        ("failed", "of-tomorrow", "", None, "of-tomorrow"),
        ("activating", "success", "loading weights", None, "it starts: loading weights"),
        ("activating", "exit-code", "", None, "it is being started again: the engine ended by itself"),
        ("deactivating", "success", "", None, "it is being stopped"),
        ("of-tomorrow", "success", "", None, "systemd says `of-tomorrow`"),
    ];
    for (state, result, said, engine, why) in cases {
        let account = Account { result: result.to_owned(), said: said.to_owned(), ..Account::default() };
        assert_eq!(why_not(&ActiveState::named(state), &account, engine), why, "{state}, {result}");
    }
}
