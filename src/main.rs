//! The `awqdeploy` binary: parse, run, exit.

fn main() -> std::process::ExitCode {
    awqdeploy::cli::main()
}
