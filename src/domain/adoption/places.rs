//! Where a model may lie that a command line names by its repository, as the variables of the server say.

use super::{Reading, Seen};
use crate::domain::problem::{Kind, Problem};
use std::path::PathBuf;

/// The folders and caches in the order in which vLLM looks, each once.
pub fn places(reading: &Reading, seen: &Seen) -> Vec<PathBuf> {
    let home = variable(seen, "HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    // Python's libraries take `~` for the home; what is relative is below the server's own folder.
    let path = |name: &str| {
        let value = PathBuf::from(variable(seen, name)?);
        let below_home = value.strip_prefix("~").map(|rest| home.join(rest));
        Some(seen.directory.join(below_home.unwrap_or(value)))
    };
    let mut places = vec![seen.directory.join(&reading.model)];
    let asked = reading.download_dir.as_ref().map(|folder| seen.directory.join(folder));
    if asks_modelscope(seen) {
        let caches = path("MODELSCOPE_CACHE").map_or_else(
            || vec![home.join(".cache/modelscope/hub"), home.join(".cache/modelscope")],
            |cache| vec![cache.join("hub"), cache],
        );
        // ModelScope writes a dot of a name so.
        let names = [reading.model.clone(), reading.model.replace('.', "___")];
        for cache in asked.into_iter().chain(caches) {
            places.extend(names.iter().flat_map(|name| [cache.join("models").join(name), cache.join(name)]));
        }
    } else {
        places.extend(asked);
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(path("HF_HOME")?.join("hub")));
        let cache = cache.or_else(|| Some(path("XDG_CACHE_HOME")?.join("huggingface/hub")));
        places.push(cache.unwrap_or_else(|| home.join(".cache/huggingface/hub")));
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for place in places {
        if !once.contains(&place) {
            once.push(place);
        }
    }
    once
}

/// Why a model cannot be adopted that lies in none of its places.
pub fn nowhere(reading: &Reading, seen: &Seen) -> Problem {
    let looked: Vec<_> = places(reading, seen).iter().map(|place| format!("`{}`", place.display())).collect();
    let what = format!("the model `{}` is in none of {}", reading.model, looked.join(", "));
    let variable = if asks_modelscope(seen) { "MODELSCOPE_CACHE" } else { "HF_HOME" };
    Problem::new(Kind::Refused, what).help(format!(
        "start it with the model's folder, or with `{variable}` set to its cache, and adopt it then"
    ))
}

fn asks_modelscope(seen: &Seen) -> bool {
    variable(seen, "VLLM_USE_MODELSCOPE")
        .is_some_and(|value| ["1", "true"].contains(&value.to_lowercase().as_str()))
}

fn variable<'a>(seen: &'a Seen, name: &str) -> Option<&'a String> {
    seen.environment.get(name).filter(|value| !value.is_empty())
}
