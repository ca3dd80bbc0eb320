//! The tests of decisions alone: no file is read, no program started, no time waited for. Whoever packages awqdeploy runs them
//! (`checkPhase` in nix/package.nix); `it` has them among its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "here everything is a test, and `inputs` serves more of them"
)]

#[path = "../it/architecture.rs"]
mod architecture;
#[path = "../it/inputs.rs"]
mod inputs;
#[path = "../it/invocation.rs"]
mod invocation;
#[path = "../it/lock.rs"]
mod lock;
#[path = "../it/memory.rs"]
mod memory;
#[path = "../it/plan.rs"]
mod plan;
#[path = "../it/preflight.rs"]
mod preflight;
#[path = "../it/quality.rs"]
mod quality;
#[path = "../it/questions.rs"]
mod questions;
#[path = "../it/secrets.rs"]
mod secrets;
#[path = "../it/sequential.rs"]
mod sequential;
#[path = "../it/shape.rs"]
mod shape;
#[path = "../it/sse.rs"]
mod sse;
#[path = "../it/stats.rs"]
mod stats;
#[path = "../it/watch.rs"]
mod watch;
