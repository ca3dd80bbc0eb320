//! Problems as people, programs and shells see them.

use awqdeploy::{
    cli::problem::{Style, render, to_json},
    domain::{
        exit_status::ExitStatus,
        problem::{Kind, Place, Problem},
    },
};
use insta::{assert_json_snapshot, assert_snapshot};
use std::ops::Range;

fn placed(text: &str, span: Range<usize>) -> Problem {
    Problem::new(Kind::Usage, "this will not do").help("write something else").at(Place {
        path: "dir/file.toml".into(),
        text: text.to_owned(),
        span,
        label: "here".to_owned(),
    })
}

fn caused() -> Problem {
    let root = std::io::Error::other("no space left on device");
    let middle = Problem::doing("write `/var/lib/x`", root);
    Problem::new(Kind::Unverified, "cannot fetch the model").help("free some space").because(middle)
}

#[test]
fn every_kind_has_the_documented_status() {
    let statuses = [
        Kind::Unexpected,
        Kind::Usage,
        Kind::Refused,
        Kind::Unverified,
        Kind::Busy,
        Kind::Stuck,
        Kind::Interrupted,
    ]
    .map(|kind| ExitStatus::from(kind).code());
    assert_eq!(statuses, [1, 2, 3, 4, 5, 7, 130]);
}

#[test]
fn without_a_place() {
    assert_snapshot!(render(&Problem::new(Kind::Busy, "another deploy runs"), Style::Plain), @r"
    error: another deploy runs
    ");
    assert_snapshot!(render(&caused(), Style::Plain), @r"
    error: cannot fetch the model
    caused by: cannot write `/var/lib/x`
    caused by: no space left on device
    help: free some space
    ");
}

#[test]
fn with_a_place() {
    assert_snapshot!(render(&placed("a = 1\nkey = 'é'\nb = 2\n", 12..16), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:2:7
      |
    2 | key = 'é'
      |       ^^^ here
      |
      = help: write something else
    ");
    assert_snapshot!(render(&placed("a = 1", 5..5), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:6
      |
    1 | a = 1
      |      ^ here
      |
      = help: write something else
    ");
    assert_snapshot!(render(&placed("", 0..0), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:1
      |
    1 |
      | ^ here
      |
      = help: write something else
    ");
    assert_snapshot!(render(&placed("a = [\n 1,\n 2]\n", 4..13), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:5
      |
    1 |   a = [
      |  _____^
    2 | |  1,
    3 | |  2]
      | |___^ here
      |
      = help: write something else
    ");
    let because = placed("a = 1", 4..5).because(std::io::Error::other("deeper"));
    assert_snapshot!(render(&because, Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:5
      |
    1 | a = 1
      |     ^ here
      |
      = caused by: deeper
      = help: write something else
    ");
}

#[test]
fn windows_line_breaks_and_tabs_keep_the_mark_in_place() {
    assert_snapshot!(render(&placed("a = 1\r\nkey = 'x'\r\n", 13..16), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:2:7
      |
    2 | key = 'x'
      |       ^^^ here
      |
      = help: write something else
    ");
    assert_snapshot!(render(&placed("\tkey = 'x'\n", 7..10), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:8
      |
    1 |     key = 'x'
      |           ^^^ here
      |
      = help: write something else
    ");
}

#[test]
fn several_mistakes_are_shown_one_after_the_other() {
    let problem = Problem::of_many(vec![placed("a = 1\nb = 2\n", 10..11), placed("a = 1\nb = 2\n", 4..5)]);
    assert_snapshot!(render(&problem.unwrap(), Style::Plain), @r"
    error: this will not do
     --> dir/file.toml:1:5
      |
    1 | a = 1
      |     ^ here
      |
      = help: write something else

    error: this will not do
     --> dir/file.toml:2:5
      |
    2 | b = 2
      |     ^ here
      |
      = help: write something else
    ");
    assert!(Problem::of_many(vec![]).is_none());
}

/// A file that is shown must not be able to move the cursor, change colours or reorder its line.
#[test]
fn control_characters_are_shown_and_not_sent() {
    let hostile = "\u{1b}[2J\u{202e}k\u{7}";
    let text = format!("{hostile} = '{hostile}'\n");
    let mut problem = placed(&text, hostile.len() + 3..hostile.len() * 2 + 5).help(hostile);
    problem.what = hostile.to_owned();
    problem = problem.because(std::io::Error::other(hostile));
    let shown = render(&problem, Style::Plain);
    assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{shown:?}");
    assert_snapshot!(shown, @r"
    error: \u{1b}[2J\u{202e}k\u{7}
     --> dir/file.toml:1:27
      |
    1 | \u{1b}[2J\u{202e}k\u{7} = '\u{1b}[2J\u{202e}k\u{7}'
      |                           ^^^^^^^^^^^^^^^^^^^^^^^^^ here
      |
      = caused by: \u{1b}[2J\u{202e}k\u{7}
      = help: \u{1b}[2J\u{202e}k\u{7}
    ");
}

#[test]
fn colours_are_sent_only_when_asked_for() {
    let problem = placed("a = 1", 4..5);
    assert!(!render(&problem, Style::Plain).contains('\u{1b}'));
    assert!(render(&problem, Style::Coloured).contains('\u{1b}'));
    assert!(render(&caused(), Style::Coloured).contains('\u{1b}'));
}

#[test]
fn programs_get_json() {
    assert_json_snapshot!(to_json(&placed("a = 1\nkey = 'é'\n", 12..16)), @r#"
    {
      "schema": "awqdeploy/error/v1",
      "code": "usage",
      "exit_code": 2,
      "message": "this will not do",
      "help": "write something else",
      "place": {
        "path": "dir/file.toml",
        "line": 2,
        "column": 7,
        "label": "here"
      },
      "causes": []
    }
    "#);
    assert_json_snapshot!(to_json(&caused()), @r#"
    {
      "schema": "awqdeploy/error/v1",
      "code": "unverified",
      "exit_code": 4,
      "message": "cannot fetch the model",
      "help": "free some space",
      "place": null,
      "causes": [
        "cannot write `/var/lib/x`",
        "no space left on device"
      ]
    }
    "#);
}
