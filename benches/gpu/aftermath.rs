//! Ends what a service left behind and waits for its VRAM, as awqdeploy does after each stop: aftermath CONTROL-GROUP RUNTIMES
//!
//! It prints as JSON whom it ended, and after how many seconds they were gone and the driver had freed their memory.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]

use awqdeploy::{
    domain::problem::Problem,
    host::{
        machine::gpu,
        process::{control_group::ControlGroup, orphans},
    },
};
use serde_json::{Value, json};
use std::{env, path::Path, process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [group, runtimes] = words.as_slice() else {
        eprintln!("usage: aftermath CONTROL-GROUP RUNTIMES");
        return ExitCode::from(2);
    };
    match clear(group, Path::new(runtimes)) {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{}", problem.in_one_line());
            ExitCode::FAILURE
        }
    }
}

fn clear(group: &str, runtimes: &Path) -> Result<Value, Problem> {
    let group = ControlGroup::named(group);
    let began = Instant::now();
    let mut ended = Vec::new();
    orphans::end(group.as_ref(), runtimes, &mut |leftover| ended.push(leftover.to_string()))?;
    let gone = began.elapsed().as_secs_f64();
    gpu::wait_until_free(group.as_ref())?;
    Ok(json!({ "ended": ended, "gone_s": gone, "vram_free_s": began.elapsed().as_secs_f64() }))
}
