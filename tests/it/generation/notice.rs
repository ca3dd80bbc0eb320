//! The messages to the host's journal.

use crate::running_engine::plan;
use awqdeploy::domain::{
    activation::machine::{Activation, Cause, End, State, Step},
    generation::notice::{ACTIVATED, Notice, ROLLED_BACK, STUCK},
    generation_id::GenerationId,
    store::layout::Scope,
};

fn activation(from: Option<u64>, end: End) -> Activation {
    Activation { from: from.map(GenerationId), to: GenerationId(4), state: State::Done { end } }
}

fn notice(from: Option<u64>, end: End) -> Notice {
    Notice::of(7, &activation(from, end), &plan(([127, 0, 0, 1], 8000).into()), Scope::System).unwrap()
}

fn field<'a>(notice: &'a Notice, name: &str) -> Option<&'a str> {
    notice.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
}

/// `sd-id128(7)`: 32 lowercase hexadecimal digits, of which each kind has its own; the fields are what
/// `systemd.journal-fields(7)` allows a program to send.
#[test]
fn each_end_has_a_number_of_its_own() {
    for id in [ACTIVATED, ROLLED_BACK, STUCK] {
        assert!(id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{id}");
        // The variant bits of a random UUID, as `systemd-id128 new` makes them.
        assert!(
            matches!(id.as_bytes()[12], b'4') && matches!(id.as_bytes()[16], b'8'..=b'9' | b'a'..=b'b'),
            "{id}"
        );
    }
    assert!(ACTIVATED != ROLLED_BACK && ROLLED_BACK != STUCK && STUCK != ACTIVATED);

    let cause = Cause::Failed { step: Step::Start, why: "out of memory".to_owned() };
    let committed = notice(None, End::Committed);
    assert_eq!((committed.id, committed.priority), (ACTIVATED, 5));
    assert_eq!(committed.message, "awq (generation 4) is proven and serves");
    assert_eq!(field(&committed, "AWQDEPLOY_FROM"), None);
    assert_eq!(field(&committed, "OBJECT_SYSTEMD_UNIT"), Some("vllm.service"));

    let back = notice(Some(3), End::RolledBack { cause: cause.clone() });
    assert_eq!((back.id, back.priority), (ROLLED_BACK, 4));
    assert_eq!(
        back.message,
        "awq (generation 4) was rolled back, generation 3 serves again: start failed: out of memory"
    );
    assert_eq!(field(&back, "AWQDEPLOY_FROM"), Some("3"));
    assert_eq!(field(&back, "AWQDEPLOY_WHY"), Some("start failed: out of memory"));
    let silent = back.failing("health");
    assert_eq!((silent.id, silent.priority), (STUCK, 2));
    assert!(
        silent.message.ends_with("; and the server that runs again does not pass its validation: health")
    );
    let nothing = notice(None, End::RolledBack { cause: cause.clone() });
    assert!(nothing.message.contains("was rolled back, nothing serves: "), "{}", nothing.message);

    let stuck = notice(Some(3), End::Stuck { cause, step: Step::Stop, why: "it hangs".to_owned() });
    assert_eq!((stuck.id, stuck.priority), (STUCK, 2));
    assert_eq!(
        field(&stuck, "AWQDEPLOY_WHY"),
        Some("start failed: out of memory; then the rollback failed at stop: it hangs")
    );
    for (name, _) in &stuck.fields {
        assert!(name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !name.starts_with('_'), "{name}");
    }
}

#[test]
fn what_goes_on_is_told_to_nobody() {
    assert_eq!(
        Notice::of(
            1,
            &Activation::new(None, GenerationId(1)),
            &plan(([127, 0, 0, 1], 8000).into()),
            Scope::User
        ),
        None
    );
}

/// A service's words can have any characters, and must not make fields of their own; with escape sequences in them
/// `journalctl` would not show them.
#[test]
fn a_line_break_does_not_end_a_field() {
    let why = "no\u{1b}[2J\nMESSAGE_ID=00000000000000000000000000000000".to_owned();
    let cause = Cause::Failed { step: Step::Start, why };
    let bytes = notice(Some(3), End::RolledBack { cause }).datagram();
    let value = b"start failed: no\\u{1b}[2J\nMESSAGE_ID=00000000000000000000000000000000";
    let mut wanted = b"AWQDEPLOY_WHY\n".to_vec();
    wanted.extend_from_slice(&(value.len() as u64).to_le_bytes());
    wanted.extend_from_slice(value);
    wanted.push(b'\n');
    assert!(bytes.ends_with(&wanted), "{}", String::from_utf8_lossy(&bytes));
    assert!(bytes.windows(13).any(|window| window == b"\nPRIORITY=4\nS"));
}
