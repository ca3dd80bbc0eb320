//! Plans.

mod calibration;
mod command_line;
mod engine_config;
mod gpus;
mod memory;
mod page;
mod plan;
mod prediction;
mod preflight;
mod published;
mod rules;
mod wild;
