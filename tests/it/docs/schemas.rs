//! `docs/schema` has the schema of every document, as the program prints it; what it prints keeps to them.

use super::{at_root, printed, settle};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

const FOLDER: &str = "docs/schema";

fn names() -> Vec<String> {
    printed(&["schema"]).lines().map(str::to_owned).collect()
}

/// Where the schema of this document is published: `awqdeploy/plan/v1` in `plan-v1.json`.
fn file(document: &str) -> String {
    let name = document.strip_prefix("awqdeploy/").expect("every document is one of ours");
    format!("{FOLDER}/{}.json", name.replace('/', "-"))
}

/// What this document has that its published schema forbids, or lacks that it demands.
fn faults(document: &Value) -> Vec<String> {
    let name =
        document["schema"].as_str().unwrap_or_else(|| panic!("a document without a schema: {document:#}"));
    let schema = fs::read_to_string(at_root(&file(name))).unwrap_or_else(|e| panic!("{name}: {e}"));
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let faults = validator.iter_errors(document);
    faults.map(|fault| format!("{name}, {}: {fault}", fault.instance_path())).collect()
}

/// Panics unless the document keeps to its published schema.
pub(crate) fn keeps_to_its_schema(document: &Value) {
    assert_eq!(faults(document), [""; 0]);
}

#[test]
fn every_schema_is_published() {
    let mut files = BTreeSet::new();
    for name in names() {
        let schema = printed(&["schema", &name]);
        let title: Value = serde_json::from_str(&schema).unwrap();
        let file = file(title["title"].as_str().unwrap());
        let is = fs::read_to_string(at_root(&file)).unwrap_or_default();
        settle(&file, &is, &schema);
        files.insert(file);
    }
    let there = fs::read_dir(at_root(FOLDER)).unwrap();
    let there: BTreeSet<_> =
        there.map(|entry| format!("{FOLDER}/{}", entry.unwrap().file_name().display())).collect();
    assert_eq!(there, files, "a schema is of no document");
}

#[test]
fn a_schema_can_be_broken() {
    let good = serde_json::json!({
        "schema": "awqdeploy/recovery/v1", "activation": 8, "end": "rolled-back", "why": null
    });
    keeps_to_its_schema(&good);
    let with = |field: &str, value: Option<Value>| {
        let mut bad = good.clone();
        match value {
            Some(value) => bad[field] = value,
            None => drop(bad.as_object_mut().unwrap().remove(field)),
        }
        faults(&bad).len()
    };
    // A field of another type, one that is missing, and one more, which is allowed.
    assert_eq!(
        [with("activation", Some("8".into())), with("why", None), with("more", Some(1.into()))],
        [1, 1, 0]
    );
}
