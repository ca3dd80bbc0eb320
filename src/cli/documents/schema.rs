//! The schemas of the documents, from the types that print them. `docs/schema` has them all.

use super::{
    ActivationDocument, CollectDocument, DoctorDocument, FactsDocument, GenerationsDocument, PlanDocument,
    RecoveryDocument, StatusDocument, ValidationDocument,
    adoption::AdoptionDocument,
    evidence::{ComparisonDocument, ReportDocument},
    history::{HistoryDocument, WhyDocument},
    init::InitDocument,
    lookup::{DiffDocument, LogsDocument},
    models::{FetchDocument, LockDocument, RuntimeLockDocument, UpstreamDocument, verify::VerifyDocument},
    profiles::ProfilesDocument,
    rehearsal::RehearsalDocument,
    units::UnitsDocument,
};
use crate::{
    cli::{
        problem::ProblemJson,
        terminal::{print, print_json},
    },
    domain::{exit_status::ExitStatus, problem::Problem},
};
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::json;

/// Makes the schema of the document of this name.
type Of = fn(&str) -> Schema;

/// Each document by its name, `validation` of `awqdeploy/validation/v1`.
const DOCUMENTS: &[(&str, Of)] = &[
    ("activation", of::<ActivationDocument>),
    ("adoption", of::<AdoptionDocument>),
    ("collect", of::<CollectDocument>),
    ("comparison", of::<ComparisonDocument>),
    ("diff", of::<DiffDocument>),
    ("doctor", of::<DoctorDocument>),
    ("error", of::<ProblemJson>),
    ("facts", of::<FactsDocument>),
    ("fetch", of::<FetchDocument>),
    ("generations", of::<GenerationsDocument>),
    ("history", of::<HistoryDocument>),
    ("init", of::<InitDocument>),
    ("lock", of::<LockDocument>),
    ("logs", of::<LogsDocument>),
    ("plan", of::<PlanDocument>),
    ("profiles", of::<ProfilesDocument>),
    ("recovery", of::<RecoveryDocument>),
    ("rehearsal", of::<RehearsalDocument>),
    ("report", of::<ReportDocument>),
    ("runtime-lock", of::<RuntimeLockDocument>),
    ("status", of::<StatusDocument>),
    ("units", of::<UnitsDocument>),
    ("upstream", of::<UpstreamDocument>),
    ("validation", of::<ValidationDocument>),
    ("verify", of::<VerifyDocument>),
    ("why", of::<WhyDocument>),
];

/// The names of all documents.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.iter().map(|(name, _)| *name)
}

/// Prints the schema of a document, or the names of all.
pub(crate) fn schema(document: Option<&str>) -> Result<ExitStatus, Problem> {
    let wanted = document.and_then(|name| DOCUMENTS.iter().find(|(known, _)| *known == name));
    let text = match wanted {
        None => names().collect::<Vec<_>>().join("\n"),
        Some((name, of)) => return print_json(&of(name)).map(|()| ExitStatus::Done),
    };
    print(&text);
    Ok(ExitStatus::Done)
}

fn of<T: JsonSchema>(name: &str) -> Schema {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), json!(format!("urn:awqdeploy:{name}:v1")));
    schema.insert("title".to_owned(), json!(format!("awqdeploy/{name}/v1")));
    if let Some(own) = schema.pointer_mut("/properties/schema") {
        *own = json!({ "const": format!("awqdeploy/{name}/v1") });
    }
    schema
}
