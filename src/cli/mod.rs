//! People: arguments, rendering, progress, errors, exit status.

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    todo!()
}
