//! Plans.

mod calibration;
pub(crate) mod cases;
mod command_line;
mod engine_config;
mod families;
mod gpus;
mod memory;
pub(crate) mod page;
mod pipeline;
mod plan;
mod prediction;
mod preflight;
mod properties;
mod published;
mod rules;
mod started;
mod wild;
