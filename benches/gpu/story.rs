//! Deploys profiles one after the other on a host without systemd: awqdeploy's own supervisor keeps the service.
//!
//!     story ROOT PROFILES AWQDEPLOY PROFILE,PROFILE,… COMMAND…
//!
//! COMMAND is what `serve` and its arguments follow, such as `python3 -m vllm.entrypoints.cli.main`. Everything else is what
//! `awqdeploy deploy` does: plan, store, activation, validation, and the way back. `awqdeploy --root ROOT history --json`
//! tells afterwards what each step took. It ends with status 1 unless every deployment came to an end that serves.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]

use awqdeploy::{
    domain::{
        activation::machine::Conclusion,
        problem::Problem,
        store::layout::{Layout, Scope},
    },
    flow::{
        context::{Context, Engine, Estimates, Executor, ServiceManager},
        deploy::deploy,
        event::Event,
        plan,
    },
    host::{machine, os::signals::Interrupt, profiles::ProfileLibrary, store::Store},
};
use std::{env, path::PathBuf, process::ExitCode, rc::Rc, time::Duration, time::Instant};

/// The longest that vLLM may take to start.
const START_PATIENCE: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [root, profiles, awqdeploy, names, command @ ..] = words.as_slice() else {
        eprintln!("usage: story ROOT PROFILES AWQDEPLOY PROFILE,PROFILE,… COMMAND…");
        return ExitCode::from(2);
    };
    match tell(root, profiles, awqdeploy, names, command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{}", problem.in_one_line());
            ExitCode::FAILURE
        }
    }
}

/// Whether something proven serves in the end of each deployment.
fn tell(
    root: &str,
    profiles: &str,
    awqdeploy: &str,
    names: &str,
    command: &[String],
) -> Result<bool, Problem> {
    let began = Instant::now();
    let say = move |text: &str| println!("{:8.2} {text}", began.elapsed().as_secs_f64());
    let layout = Layout::new(PathBuf::from(root));
    let service_manager =
        ServiceManager::embedded(&layout, PathBuf::from(root).join("service"), START_PATIENCE);
    let mut context = Context {
        store: Store::new(layout),
        library: ProfileLibrary::at(PathBuf::from(profiles)),
        facts: machine::facts(Scope::System)?.into(),
        engine: Engine::Command(command.to_vec()),
        interrupt: Interrupt::listen()?,
        observer: Rc::new(move |event: Event| {
            if !matches!(event, Event::Progress { .. }) {
                say(&format!("{event:?}"));
            }
        }),
        binary: PathBuf::from(awqdeploy),
        service_manager,
        executor: Executor::Here,
        estimates: Estimates::default(),
    };
    let mut serves = true;
    for name in names.split(',') {
        say(&format!("deploy {name}"));
        let prepared = plan::prepare(&context, name)?;
        let outcome = deploy(&mut context, &prepared)?;
        let conclusion = outcome.conclusion();
        say(&format!("{name}: {conclusion:?}"));
        serves &= matches!(conclusion, Conclusion::Done | Conclusion::AlreadySo | Conclusion::WentBack);
    }
    Ok(serves)
}
