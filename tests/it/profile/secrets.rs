//! Secrets: what a file of one may hold, and where they are not shown.

use crate::inputs::{AWQ, facts, plan_of};
use awqdeploy::domain::profile::secrets::SecretText;

#[test]
fn a_secret_is_one_line_that_a_header_can_carry() {
    for (content, secret) in [("sk-1\n", "sk-1"), ("sk-1", "sk-1"), ("a+b/c=~!\r\n", "a+b/c=~!")] {
        assert_eq!(SecretText::of(content).unwrap().reveal(), secret);
    }
    for (content, fault) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("a\nb\n", "has more than one line"),
        ("a b\n", "has characters other than letters, digits and signs"),
        ("k\u{e9}y", "has characters other than letters, digits and signs"),
        ("a\0", "has characters other than letters, digits and signs"),
    ] {
        assert_eq!(SecretText::of(content).unwrap_err(), fault, "{content:?}");
    }
    assert_eq!(format!("{:?}", SecretText::of("hush").unwrap()), "…");
}

/// The unit names files, and systemd reads them; the plan that everybody can read names them, too.
#[test]
fn the_plan_and_the_unit_name_files() {
    let none = plan_of(AWQ, &facts("four-16gb"), None).unwrap();
    assert!(
        !none.unit.contains("LoadCredential") && !serde_json::to_string(&none).unwrap().contains("secrets")
    );
    let secrets = "\n[secrets]\napi-key-file = '/etc/a b/100%.key'\nhub-token-file = '/etc/hub-token'\n";
    let plan = plan_of(&format!("{AWQ}{secrets}"), &facts("four-16gb"), None).unwrap();
    let lines: Vec<_> = plan.unit.lines().filter(|line| line.starts_with("LoadCredential=")).collect();
    assert_eq!(
        lines,
        ["LoadCredential=api-key:/etc/a b/100%%.key", "LoadCredential=hub-token:/etc/hub-token"]
    );
    assert_eq!(plan.serve.env.keys().find(|name| name.contains("KEY") || name.contains("TOKEN")), None);
    let read: awqdeploy::domain::planning::plan::Plan =
        serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(read.secrets, plan.secrets);
}
