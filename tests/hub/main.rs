//! `cargo run --features benches --example hub -- ADDRESS OWNER/NAME FOLDER`: a folder as a repository of a hub on loopback,
//! for `hf`, for benchmarks, and to try things out. Ends with its standard input.

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, missing_docs)]

#[path = "mod.rs"]
mod hub;

use hub::{Delivery, Hub, Repo};
use std::{io::Read, path::Path};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, folder] = arguments.as_slice() else {
        println!("usage: hub ADDRESS:PORT OWNER/NAME FOLDER");
        std::process::exit(2);
    };
    let repo = Repo::from_folder(Path::new(folder)).unwrap();
    let commit = repo.commit.clone();
    let hub = Hub::start_at(address.parse().unwrap(), Delivery::Cdn, name, repo);
    println!("HF_ENDPOINT={} # {name} at {commit}", hub.endpoint());
    let _ended = std::io::stdin().read(&mut [0]);
}
