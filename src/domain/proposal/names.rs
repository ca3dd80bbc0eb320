//! What a profile, its model and its address are called.

use crate::domain::profile::{Listen, Profile};
use std::net::{IpAddr, Ipv4Addr};

/// The port that is taken unless another service has it.
const PORT: u16 = 8000;

/// Ends of a repository's name that say how it is stored, and not what it is. With digits they may have a number:
/// `int4`, `4bit`, `w4a16`, `g128`.
const STORED: [&str; 16] = [
    "awq",
    "gptq",
    "int",
    "bit",
    "bits",
    "g",
    "gs",
    "w",
    "a",
    "fp",
    "nvfp",
    "mxfp",
    "nf",
    "marlin",
    "autoround",
    "quantized",
];

/// The name of the profile of a repository: `Qwen/Qwen3-8B-AWQ` is `qwen3-8b-awq`.
pub fn profile_name(repo: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = model(repo).chars().map(plain).collect();
    name.trim_matches('-').to_owned()
}

/// What clients are to call the model of a repository, however it is stored: `Qwen/Qwen3-8B-AWQ` is `qwen3-8b`. The next
/// checkpoint of the same model then needs no other name.
pub fn served_name(repo: &str) -> String {
    let name = model(repo).to_lowercase();
    let mut words: Vec<&str> = name.split('-').collect();
    while words.len() > 1 && words.last().is_some_and(|word| is_storage(word)) {
        words.pop();
    }
    words.join("-")
}

fn model(repo: &str) -> &str {
    repo.rsplit('/').next().unwrap_or(repo)
}

/// Whether all letters of a word are among those that say how a model is stored: `w4a16` are `w` and `a`.
fn is_storage(word: &str) -> bool {
    let mut letters = word.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).peekable();
    letters.peek().is_some() && letters.all(|part| STORED.contains(&part))
}

/// The address of a service beside these profiles: its own where one of them has it, else the first port from 8000 on
/// that none of them has.
pub fn address(service: &str, profiles: &[Profile]) -> Listen {
    if let Some(same) = profiles.iter().find(|profile| profile.service() == service) {
        return same.listen();
    }
    let taken = |port: &u16| profiles.iter().any(|profile| profile.listen().port == *port);
    let port = (PORT..u16::MAX).find(|port| !taken(port)).unwrap_or(PORT);
    Listen { host: IpAddr::V4(Ipv4Addr::LOCALHOST), port }
}
