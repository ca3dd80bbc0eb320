//! The integration tests that need nothing but this machine's kernel: one binary, one module a topic.

// What clippy.toml allows in tests is for functions marked as such; here everything is a test.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and tests start the programs that they test"
)]

mod actual;
mod adopting;
mod adoption;
mod architecture;
mod behind_systemd;
mod believing;
mod checkpoint;
mod circles;
mod cli;
mod closer;
mod collection;
mod contract;
mod crash;
mod declaration;
mod deploy;
mod deploy_from_hub;
mod docs;
mod engine;
mod engine_word;
mod experience;
mod fetch;
mod gpus;
mod hardening;
mod history;
mod host;
mod hostile;
#[path = "../hub/mod.rs"]
mod hub;
mod hub_answers;
mod inputs;
mod installed;
mod interop;
mod interpreter;
mod invocation;
mod job;
mod leftovers;
mod library;
mod liveness;
mod lock;
mod machine;
mod memory;
mod mistakes;
mod model_commands;
mod nix;
mod notice;
mod overtaken;
mod page;
mod panicked;
mod plan;
mod planning;
mod prediction;
mod preflight;
mod problem;
mod profile;
mod program;
mod quality;
mod questions;
mod recorded;
mod records;
mod rehearsal;
mod rehearse;
mod remote;
mod restart;
mod rules;
mod runtime_lock;
mod runtime_locking;
mod safetensors;
mod scratch;
mod secrets;
mod sequential;
mod server;
mod serving;
mod shape;
mod signature;
mod spelling;
mod sse;
mod stand;
mod startup;
mod stats;
mod store;
mod sweep;
mod tally;
mod terminal;
mod tidy;
mod transcript;
mod trust;
mod unit;
mod uv;
mod validate;
mod verdict;
mod watch;
mod way_back;
mod wheel;
mod wheel_files;
mod whose;
