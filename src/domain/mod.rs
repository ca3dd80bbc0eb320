//! Values and decisions. Nothing here touches a file, clock, process, socket, environment or terminal.

pub mod activation;
pub mod checkpoint;
pub mod digest;
pub mod facts;
pub mod generation;
pub mod invocation;
pub mod layout;
pub mod lock;
pub mod memory;
pub mod openai;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod profile;
pub mod quantization;
pub mod questions;
pub mod report;
pub mod size;
pub mod sse;
pub mod startup;
pub mod stats;
pub mod tensors;
pub mod unit;
pub mod verdict;
pub mod version;
