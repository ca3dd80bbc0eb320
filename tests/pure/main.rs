//! The tests of decisions alone: no file is read, no program started, no time waited for. Whoever packages awqdeploy runs them
//! (`checkPhase` in nix/package.nix); `it` has them among its own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    reason = "here everything is a test, and `inputs` serves more of them"
)]

#[path = "../it/checkpoint/architecture.rs"]
mod architecture;
#[path = "../it/inputs.rs"]
mod inputs;
#[path = "../it/planning/command_line.rs"]
mod invocation;
#[path = "../it/lockfile/model.rs"]
mod lock;
#[path = "../it/planning/memory.rs"]
mod memory;
#[path = "../it/planning/plan.rs"]
mod plan;
#[path = "../it/planning/preflight.rs"]
mod preflight;
#[path = "../it/validation/quality.rs"]
mod quality;
#[path = "../it/validation/questions.rs"]
mod questions;
#[path = "../it/profile/secrets.rs"]
mod secrets;
#[path = "../it/validation/sequential.rs"]
mod sequential;
#[path = "../it/api/response_shape.rs"]
mod shape;
#[path = "../it/api/sse.rs"]
mod sse;
#[path = "../it/validation/stats.rs"]
mod stats;
#[path = "../it/activation/probation.rs"]
mod watch;
