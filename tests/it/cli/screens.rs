//! The screens of a person who does not know yet what there is.

use super::folder;
use crate::{
    program::{Said, awqdeploy},
    scratch::tempdir,
    terminal::{Cursor, Left, Terminal},
};
use insta::assert_snapshot;
use std::thread;

const LEAST: &str =
    "service = 'vllm'\n[model]\nrepo = 'owner/name'\nserved-name = 'name'\n[runtime]\nvllm = '0.26.0'\n";

/// In a folder with these profiles, without a root.
fn said(profiles: &[(&str, &str)], arguments: &[&str]) -> Said {
    let folder = folder(profiles);
    Said::by(awqdeploy(&["--root", "root", "--profiles", "profiles"]).args(arguments).current_dir(&folder))
}

#[test]
fn the_profiles_are_listed_with_how_far_each_is() {
    let two = [("one", LEAST), ("two", "service = 1\n")];
    let shown = said(&two, &["profiles"]).text();
    assert_snapshot!(shown, @r"
    one  written                   owner/name, vLLM 0.26.0
    two  written                   profiles/two.toml:1:12: `model` is missing
    ");
    let document = said(&two, &["profiles", "--json"]).document(0);
    assert_eq!(document["profiles"][0]["stage"], "written");
    assert_eq!(document["profiles"][0]["generation"], serde_json::Value::Null);
    assert!(document["profiles"][1]["mistake"].is_string(), "{document:#}");
    assert_eq!(
        said(&[], &["profiles"]).text(),
        "there are no profiles yet: `awqdeploy init OWNER/MODEL` writes one\n"
    );
}

#[test]
fn who_names_no_profile_is_told_which_there_are() {
    let two = [("one", LEAST), ("two", LEAST)];
    for command in ["apply", "export", "fetch", "lock", "plan", "units"] {
        let said = said(&two, &[command]).complaint(2);
        assert!(said.contains(&format!("`awqdeploy {command}` needs the name of a profile")), "{said}");
    }
    assert_snapshot!(said(&[], &["plan"]).complaint(2), @r"
    error: `awqdeploy plan` needs the name of a profile
    help: there are no profiles yet: `awqdeploy init OWNER/MODEL` writes one
    ");
    assert_snapshot!(said(&two, &["deploy"]).complaint(2), @r"
    error: `awqdeploy deploy` needs the name of a profile
    help: there are `one` and `two`; `awqdeploy profiles` shows how far each is
    ");
    let document = said(&two, &["deploy", "--json"]).document(2);
    assert_eq!(document["schema"], "awqdeploy/error/v1");
    assert_eq!(document["message"], "`awqdeploy deploy` needs the name of a profile");
}

#[test]
fn a_typo_is_met_with_what_exists_and_is_not_hidden() {
    for (typed, meant) in
        [("activat", None), ("deplyo", Some("deploy")), ("superviseX", None), ("profile", Some("profiles"))]
    {
        let said = said(&[], &[typed]).complaint(2);
        match meant {
            Some(meant) => assert!(said.contains(&format!("'{meant}'")), "{said}"),
            None => assert!(!said.contains("'activate'") && !said.contains("'supervise'"), "{said}"),
        }
    }
    let fault = said(&[], &["rehearse", "--fault", "slwo"]).complaint(2);
    assert!(fault.contains("did you mean `slow`?"), "{fault}");
}

/// Nothing is deployed: it says so, and what to type.
#[test]
fn a_status_of_nothing_says_what_to_type() {
    let shown = said(&[], &["status"]).text();
    assert!(shown.starts_with("nothing is deployed below "), "{shown}");
    assert!(shown.contains("next") && shown.contains("`awqdeploy profiles`"), "{shown}");
}

/// From 60 columns to 120: nothing is wrapped by the terminal, no bar and no spinner stays behind, and the last line is the
/// command's own.
#[test]
fn a_deployment_fits_the_terminal() {
    thread::scope(|scope| {
        for columns in [60, 80, 120] {
            scope.spawn(move || {
                let scratch = tempdir().unwrap();
                let variables = [("TMPDIR", scratch.path().display().to_string())];
                let Left { code, screen, cursor } = Terminal::start(columns, &["rehearse"], &variables).end();
                assert_eq!((code, cursor), (Some(0), Cursor::Ready), "{screen}");
                let frozen = |c: char| "⠁⠂⠄⡀⢀⠠⠐⠈█░".contains(c);
                assert!(!screen.contains(frozen), "{screen}");
                assert!(screen.trim_end().ends_with("awq serves: the migration works."), "{screen}");
            });
        }
    });
}
