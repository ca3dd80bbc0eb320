//! People: arguments, rendering, progress, errors, exit status.

pub mod problem;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    todo!()
}
