//! Values and decisions. Nothing here touches a file, clock, process, socket, environment or terminal.

pub mod activation;
pub mod adoption;
pub mod api;
pub mod checkpoint;
pub mod conformance;
pub mod digest;
pub mod exit_status;
pub mod findings;
pub mod generation;
pub mod generation_id;
pub mod hub;
pub mod lockfile;
pub mod machine;
pub mod measure;
pub mod planning;
pub mod problem;
pub mod profile;
pub mod proposal;
pub mod service;
pub mod size;
pub mod spelling;
pub mod store;
pub mod validation;
pub mod vllm;
