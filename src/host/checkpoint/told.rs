//! Checks and messages for a checkpoint's files, wherever they are read.

use std::path::Path;

use crate::domain::{
    checkpoint::{
        files::{self, NotAModel},
        safetensors::{Flaw, Header, Index},
    },
    problem::{Kind, Problem},
};

pub(crate) const CONFIG: &str = "config.json";

pub(crate) const INDEX: &str = "model.safetensors.index.json";

pub(crate) const SUFFIX: &str = ".safetensors";

/// Where a chat template may be, the first that has one counts.
pub(crate) const TEMPLATES: [&str; 3] =
    ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"];

/// The chat template that a file of this name and text has. Several of one model, each with its name, are taken together.
pub(crate) fn template_in(name: &str, text: &str) -> Option<String> {
    if Path::new(name).extension().is_some_and(|kind| kind == "jinja") {
        return Some(text.to_owned());
    }
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    match document.get("chat_template")? {
        serde_json::Value::String(template) => Some(template.clone()),
        serde_json::Value::Array(templates) => {
            let texts = templates.iter().filter_map(|named| named.get("template")?.as_str());
            Some(texts.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// Missing names that are told; the rest are only counted.
pub(crate) const NAMED: usize = 3;

/// The header, if its file has all tensors that the index places there.
pub(crate) fn has_all(index: &Index, name: &str, header: Header, place: &str) -> Result<Header, Problem> {
    match index.missing_from(name, &header).as_slice() {
        [] => Ok(header),
        missing => Err(unverified(format!("`{place}` lacks {}", some_of(missing)))),
    }
}

pub(crate) fn some_of(names: &[&str]) -> String {
    let first = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(crate) fn flawed(place: &str, flaw: &Flaw) -> Problem {
    let problem = unverified(format!("`{place}` cannot be served: {flaw}"));
    if *flaw == Flaw::Pointer { problem.help(files::POINTER_HELP) } else { problem }
}

/// A problem with a folder, or repository, that holds no model.
pub(crate) fn no_model(place: &str, why: &NotAModel) -> Problem {
    Problem::new(Kind::Unverified, format!("`{place}` holds no model that can be served: {why}"))
        .help(why.help())
}

pub(crate) fn unverified(what: String) -> Problem {
    Problem::new(Kind::Unverified, what).help("fetch it again, or take the model's original files")
}
