//! The examples of the documents have the shape of what the program prints and stores: those in `examples/`, one for
//! each document, and those that `docs/json.md` shows.
//!
//! A shape is the names of all fields and the kind of each value. Null stands for any kind, on either side,
//! and a field `…` for all those that an abridged example leaves out.

use super::{at_root, awqdeploy, page, schemas::keeps_to_its_schema, settle};
use crate::scratch::tempdir;
use awqdeploy::{
    domain::{
        activation::{
            journal::Entry,
            machine::{Activation, End, State},
        },
        store::layout::Layout,
        validation::report::Report,
    },
    host::store::{Evidence, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet, fmt::Write, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration,
};
use tempfile::TempDir;

const PAGE: &str = "docs/json.md";
const FOLDER: &str = "tests/it/docs/examples";
const BEGIN: &str = "<!-- example: ";
/// How the name of a test's folder begins.
const SCRATCH: &str = "/.tmp";
const FENCE: &str = "```json\n";

#[test]
fn examples_have_the_shape_of_what_is_printed() {
    let root = root();
    let play = Play::of(&["rehearse", "--fault", "bad-hash", "--json", "--progress", "json"]);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(at_root(FOLDER)).unwrap() {
        let file = format!("{FOLDER}/{}", entry.unwrap().file_name().display());
        let name = Path::new(&file).file_stem().unwrap().to_str().unwrap().to_owned();
        let example = page(&file);
        settle(&file, &example, &told(&name, &example, &root, &play));
        names.insert(name);
    }
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ALL, "{FOLDER} has one of each");
    let text = page(PAGE);
    settle(PAGE, &text, &told_on_the_page(&text, &root, &play));
}

/// The page as it should be.
fn told_on_the_page(text: &str, root: &Root, play: &Play) -> String {
    let mut should = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->\n").expect("an example has a name");
        let (example, after) =
            after.strip_prefix(FENCE).and_then(|text| text.split_once("```")).expect("an example is fenced");
        let _ = write!(should, "{before}{BEGIN}{name} -->\n{FENCE}");
        should.push_str(&told(name, example, root, play));
        should.push_str("```");
        rest = after;
    }
    should + rest
}

const ALL: &[&str] = &[
    "activation",
    "comparison",
    "error",
    "events",
    "evidence",
    "facts",
    "generation",
    "generations",
    "journal",
    "locked",
    "plan",
    "recovery",
    "refused-plan",
    "rehearsal",
    "report",
    "status",
    "validation",
    "verify",
];

/// The example as it should be: as it is, if its shape is right.
fn told(name: &str, example: &str, root: &Root, play: &Play) -> String {
    let lines = || {
        example
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}")))
    };
    match name {
        "journal" => {
            lines().for_each(|line| same::<Entry>(name, &line));
            return example.to_owned();
        }
        "events" => return play.events(&lines().collect::<Vec<_>>(), example),
        _ => {}
    }
    assert!(!example.contains(SCRATCH), "{name} names a folder of the machine that it was made on");
    let shown: Value = serde_json::from_str(example).unwrap_or_else(|e| panic!("{name}: {e}"));
    let is = match name {
        "activation" => root.says(&["deploy", "awq", "--yes"], 4),
        "error" => root.says(&["plan", "wrong"], 2),
        "facts" => root.says(&["facts"], 0),
        "generation" => root.holds("generations/1/generation.json"),
        "generations" => root.says(&["generations"], 0),
        "locked" => root.locked.clone(),
        "plan" => root.says(&["plan", "awq", "--facts", "four"], 0),
        "recovery" => root.says(&["recover"], 0),
        "refused-plan" => root.says(&["plan", "awq", "--facts", "one"], 3),
        "rehearsal" => play.document.clone(),
        "evidence" => root.says(&["report"], 0),
        "comparison" => root.says(&["compare", "awq", "awq"], 0),
        "report" => play.document["acts"][0]["report"].clone(),
        "status" => root.says(&["status"], 0),
        "validation" => root.says(&["validate"], 6),
        "verify" => root.says(&["verify", "mine"], 4),
        _ => panic!("nobody prints `{name}`"),
    };
    if is["schema"].is_string() {
        keeps_to_its_schema(&is);
    }
    let mut differences = vec![];
    compare(name, &shown, &is, &mut differences);
    if differences.is_empty() {
        return example.to_owned();
    }
    let made = serde_json::to_string_pretty(&is).unwrap();
    format!(
        "{}\n",
        made.replace(&root.path("root"), "/var/lib/awqdeploy")
            .replace(&root.path("profiles"), "/etc/awqdeploy")
    )
}

#[test]
fn documents_without_an_example_keep_to_their_schemas() {
    let root = root();
    for command in [
        &["history"][..],
        &["why", "1"],
        &["gc", "--dry-run"],
        &["diff", "1", "1"],
        &["units", "awq", "--facts", "four"],
        &["doctor"],
        &["logs", "1"],
    ] {
        root.says(command, 0);
    }
}

/// The example is all that the type holds, and nothing more.
fn same<T: Serialize + DeserializeOwned>(name: &str, shown: &Value) {
    let read: T = serde_json::from_value(shown.clone()).unwrap_or_else(|e| panic!("{name}: {e}: {shown:#}"));
    assert_eq!(serde_json::to_value(read).unwrap(), *shown, "{name}");
}

fn compare(path: &str, shown: &Value, is: &Value, differences: &mut Vec<String>) {
    match (shown, is) {
        (Value::Object(shown), Value::Object(is)) => {
            let abridged = shown.contains_key("…");
            // Its names are a person's.
            let free = path.rsplit('.').next() == Some("env");
            for (name, value) in shown.iter().filter(|(name, _)| *name != "…") {
                match is.get(name) {
                    Some(is) => compare(&format!("{path}.{name}"), value, is, differences),
                    None if free => {}
                    None => differences.push(format!("{path}.{name} is not printed")),
                }
            }
            let missing = is.keys().filter(|name| !shown.contains_key(*name) && !abridged && !free);
            differences.extend(missing.map(|name| format!("{path}.{name} is not shown")));
        }
        (Value::Array(shown), Value::Array(is)) => {
            for (index, value) in shown.iter().enumerate() {
                if let Some(is) = is.get(index).or(is.last()) {
                    compare(&format!("{path}[{index}]"), value, is, differences);
                }
            }
        }
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => {}
        _ => differences.push(format!("{path} is {is}")),
    }
}

/// The output of a rehearsal.
struct Play {
    document: Value,
    events: Vec<Value>,
}

impl Play {
    fn of(arguments: &[&str]) -> Self {
        let said = awqdeploy(arguments);
        let errors = String::from_utf8(said.stderr).unwrap();
        let events =
            errors.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        Self { document: serde_json::from_slice(&said.stdout).unwrap(), events: events.collect() }
    }

    /// The example has a line of each event that came, in its shape.
    fn events(&self, shown: &[Value], example: &str) -> String {
        let mut differences = vec![];
        let mut out = example.to_owned();
        for is in &self.events {
            let same_name = |shown: &&Value| shown["event"] == is["event"];
            let mut alike = shown.iter().filter(same_name).peekable();
            if alike.peek().is_none() {
                let _ = writeln!(out, "{is}");
                return out;
            }
            // An event has one of several shapes: a state of an activation, say.
            let found: Vec<Vec<String>> = alike
                .map(|shown| {
                    let mut differences = vec![];
                    compare("event", shown, is, &mut differences);
                    differences
                })
                .collect();
            if !found.iter().any(Vec::is_empty) {
                differences.extend(found.concat());
            }
        }
        assert!(differences.is_empty(), "events: {differences:#?}");
        out
    }
}

/// A root with one committed generation, and a folder of profiles.
struct Root {
    folder: TempDir,
    /// The output of `lock` for a model that was changed since.
    locked: Value,
}

impl Root {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The document of a command that ends with this status.
    fn says(&self, command: &[&str], status: i32) -> Value {
        let at = |word: &&str| {
            if *word == "four" || *word == "one" { self.path(word) } else { (*word).to_owned() }
        };
        let command: Vec<String> = command.iter().map(at).collect();
        let (root, profiles) = (self.path("root"), self.path("profiles"));
        let mut words = vec!["--root", &root, "--profiles", &profiles, "--json", "--progress", "none"];
        words.extend(command.iter().map(String::as_str));
        let said = super::command(&words).env("PATH", self.path("bin")).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.status.code(), Some(status), "{command:?}: {text}");
        let document = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{command:?}: {e}: {text}"));
        keeps_to_its_schema(&document);
        document
    }

    fn holds(&self, file: &str) -> Value {
        let path = self.folder.path().join("root").join(file);
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }
}

fn root() -> Root {
    let mut root = Root { folder: tempdir().unwrap(), locked: Value::Null };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (profiles, model) = (root.path("profiles"), root.path("model"));
    for folder in [&format!("{profiles}/runtimes"), &model] {
        fs::create_dir_all(folder).unwrap();
    }
    for file in ["awq.toml", "gptq.toml", "runtimes/vllm-0.26.0.toml"] {
        fs::copy(repository.join("profiles").join(file), format!("{profiles}/{file}")).unwrap();
    }
    for (name, facts) in [("four", "four-16gb"), ("one", "no-gpu")] {
        let facts = repository.join(format!("tests/fixtures/facts/{facts}.json"));
        fs::copy(facts, root.path(name)).unwrap();
    }
    fs::write(format!("{model}/config.json"), "{}").unwrap();
    fs::write(format!("{model}/pytorch_model.bin"), "weights in name only").unwrap();
    // Not every host has systemd's journal, and none has anything of this service.
    let journalctl = Path::new(&root.path("bin")).join("journalctl");
    fs::create_dir(root.path("bin")).unwrap();
    fs::write(&journalctl, "#!/bin/sh\n").unwrap();
    fs::set_permissions(journalctl, fs::Permissions::from_mode(0o755)).unwrap();
    let mine = format!(
        "service = 'mine'\n[model]\nrepo = 'owner/name'\nserved-name = 'name'\npath = '{model}'\n\
         [runtime]\nvllm = '0.26.0'\n[listen]\nport = 8001\n"
    );
    fs::write(format!("{profiles}/mine.toml"), &mine).unwrap();
    fs::write(format!("{profiles}/wrong.toml"), format!("{mine}[limit]\n")).unwrap();
    commit_one(&Store::new(Layout::new(root.path("root"))));
    root.locked = root.says(&["lock", "mine"], 0);
    fs::write(format!("{model}/config.json"), "{ }").unwrap();
    root
}

fn commit_one(store: &Store) {
    let writer = store.writer(Duration::ZERO, "a test").unwrap();
    // A port that nobody listens on: validations of it must fail.
    let plan = crate::running_engine::plan("127.0.0.1:1".parse().unwrap());
    let binary = Path::new(env!("CARGO_BIN_EXE_awqdeploy"));
    let id = writer.add_generation(plan, "# the profile\n", binary).unwrap();
    let (number, mut journal) = writer.begin_activation().unwrap();
    let committed = Activation { state: State::Done { end: End::Committed }, ..Activation::new(None, id) };
    journal.record(&committed).unwrap();
    writer.point(Some(id)).unwrap();
    let report: Report = serde_json::from_value(json!({
        "generation": 1, "profile": "awq", "at": "2026-11-23T12:00:00Z",
        "checks": [], "throughput": null, "comparison": null, "failures": [],
    }))
    .unwrap();
    writer.keep_report(number, Evidence::Candidate, &report).unwrap();
}

#[test]
fn examples_can_be_wrong() {
    let found = |shown: Value, is: Value| {
        let mut differences = vec![];
        compare("it", &shown, &is, &mut differences);
        differences
    };
    let is = json!({"end": "committed", "acts": [{"seconds": 1.5}], "env": {"A": "1"}});
    assert_eq!(
        found(json!({"end": null, "acts": [{"seconds": 2.0}, {"…": 0}], "env": {"B": "2"}}), is.clone()),
        [""; 0]
    );
    assert_eq!(found(json!({"end": 1, "…": "and more"}), is.clone()), ["it.end is \"committed\""]);
    assert_eq!(
        found(json!({"end": "", "acts": [{"minutes": 2.0}], "env": {}}), is.clone()),
        ["it.acts[0].minutes is not printed", "it.acts[0].seconds is not shown"]
    );
    assert_eq!(found(json!({"acts": [], "env": {}}), is), ["it.end is not shown"]);
}
