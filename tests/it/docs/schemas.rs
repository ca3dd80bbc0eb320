//! `docs/schema` has the schema of every document; what the program prints keeps to them.
//!
//! The program prints each schema whole. Published, whatever several of them define alike is defined once, in `SHARED`.

use super::{at_root, printed, settle};
use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

const FOLDER: &str = "docs/schema";
const SHARED: &str = "docs/schema/shared-v1.json";
const SHARED_ID: &str = "urn:awqdeploy:shared:v1";
/// How a schema refers to a definition of its own.
const OWN: &str = "#/$defs/";

/// Each document's schema as the program prints it, by the file that publishes it.
fn printed_schemas() -> BTreeMap<String, Value> {
    let names = printed(&["schema"]);
    let schemas =
        names.lines().map(|name| serde_json::from_str::<Value>(&printed(&["schema", name])).unwrap());
    schemas.map(|schema| (file(schema["title"].as_str().unwrap()), schema)).collect()
}

/// Where the schema of this document is published: `awqdeploy/plan/v1` in `plan-v1.json`.
fn file(document: &str) -> String {
    let name = document.strip_prefix("awqdeploy/").expect("every document is one of ours");
    format!("{FOLDER}/{}.json", name.replace('/', "-"))
}

/// All that is published: each schema without what is shared, and the file of that.
fn published(mut schemas: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let shared = shared(&schemas);
    for schema in schemas.values_mut() {
        if let Some(own) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
            own.retain(|name, _| !shared.contains_key(name));
            if own.is_empty() {
                schema.as_object_mut().unwrap().remove("$defs");
            }
        }
        each_reference(schema, &mut |reference| {
            if reference.strip_prefix(OWN).is_some_and(|name| shared.contains_key(name)) {
                *reference = format!("{SHARED_ID}{reference}");
            }
        });
    }
    let shared = json!({
        "$id": SHARED_ID,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "awqdeploy/shared/v1",
        "description": "What several documents define alike.",
        "$defs": shared,
    });
    schemas.insert(SHARED.to_owned(), shared);
    schemas
}

/// The definitions that more than one schema has, all of them alike, down to whatever they refer to.
fn shared(schemas: &BTreeMap<String, Value>) -> Map<String, Value> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (name, definition) in schemas.values().filter_map(|schema| schema["$defs"].as_object()).flatten() {
        found.entry(name.clone()).or_default().push(definition);
    }
    found.retain(|_, all| all.len() > 1 && all.iter().all(|one| *one == all[0]));
    loop {
        let names: BTreeSet<_> = found.keys().cloned().collect();
        found.retain(|_, all| {
            let mut within = true;
            each_reference(&mut all[0].clone(), &mut |reference| {
                within &= reference.strip_prefix(OWN).is_some_and(|name| names.contains(name));
            });
            within
        });
        if found.len() == names.len() {
            return found.into_iter().map(|(name, all)| (name, all[0].clone())).collect();
        }
    }
}

fn each_reference(schema: &mut Value, see: &mut impl FnMut(&mut String)) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(reference) if name == "$ref" => see(reference),
                    value => each_reference(value, see),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, see)),
        _ => {}
    }
}

fn read(file: &str) -> Value {
    let text = fs::read_to_string(at_root(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    serde_json::from_str(&text).unwrap()
}

/// Knows the published file of what is shared; asks no network.
fn validator(schema: &Value) -> Validator {
    let registry = Registry::new().add(SHARED_ID, read(SHARED)).unwrap().prepare().unwrap();
    jsonschema::options().with_registry(&registry).build(schema).unwrap()
}

/// Lists what this document has that its published schema forbids, or lacks that it demands.
fn faults(document: &Value) -> Vec<String> {
    let name =
        document["schema"].as_str().unwrap_or_else(|| panic!("a document without a schema: {document:#}"));
    let validator = validator(&read(&file(name)));
    let faults = validator.iter_errors(document);
    faults.map(|fault| format!("{name}, {}: {fault}", fault.instance_path())).collect()
}

/// Panics unless the document keeps to its published schema.
pub(crate) fn keeps_to_its_schema(document: &Value) {
    assert_eq!(faults(document), [""; 0]);
}

#[test]
fn every_schema_is_published() {
    let schemas = printed_schemas();
    assert!(!schemas.contains_key(SHARED), "a document is named like what all of them share");
    let published = published(schemas);
    for (file, schema) in &published {
        let is = fs::read_to_string(at_root(file)).unwrap_or_default();
        settle(file, &is, &format!("{}\n", serde_json::to_string_pretty(schema).unwrap()));
    }
    for schema in published.values() {
        validator(schema);
    }
    let there = fs::read_dir(at_root(FOLDER)).unwrap();
    let there: BTreeSet<_> =
        there.map(|entry| format!("{FOLDER}/{}", entry.unwrap().file_name().display())).collect();
    assert_eq!(there, published.into_keys().collect(), "a schema is of no document");
}

/// The report, the largest of them, is defined once.
#[test]
fn what_documents_share_is_defined_once() {
    let shared = read(SHARED);
    let defined = shared["$defs"].as_object().unwrap();
    assert!(defined.contains_key("Report") && defined.contains_key("Finding"));
    for file in printed_schemas().keys() {
        let own = read(file);
        let twice =
            own["$defs"].as_object().into_iter().flatten().filter(|(name, _)| defined.contains_key(*name));
        assert_eq!(twice.map(|(name, _)| name).collect::<Vec<_>>(), [""; 0], "{file}");
    }
}

#[test]
fn a_schema_can_be_broken() {
    let good =
        json!({ "schema": "awqdeploy/recovery/v1", "activation": 8, "end": "rolled-back", "why": null });
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

/// A fault in a part that is defined elsewhere is found, too.
#[test]
fn a_shared_part_can_be_broken() {
    let with = |report: Value| {
        faults(&json!({
            "schema": "awqdeploy/report/v1", "activation": 1, "generation": 1, "profile": "awq", "report": report,
            "baseline": null, "returned": null, "verdict": null, "start_up_seconds": null, "phases": [], "downtime_seconds": null,
        }))
        .len()
    };
    assert_eq!([with(Value::Null), with(json!({ "generation": 1 }))], [0, 1]);
}

#[test]
fn alike_is_alike_all_the_way_down() {
    let schema = |inner: &str| {
        json!({ "$defs": {
            "Inner": { "type": inner }, "Outer": { "$ref": "#/$defs/Inner" }, "Alone": { "type": "null" },
        }})
    };
    let of = |a: &str, b: &str| {
        let schemas = [("a".to_owned(), schema(a)), ("b".to_owned(), schema(b))];
        shared(&schemas.into()).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(of("string", "string"), ["Alone", "Inner", "Outer"]);
    assert_eq!(of("string", "integer"), ["Alone"], "`Outer` refers to what differs");
}
