//! Deployments with a bad profile, a bad model and a bad moment: whatever is refused, the old service goes on;
//! whatever has begun is taken back.

mod behind_systemd;
mod from_hub;
mod rollback_check;

use super::stand::{FORKED, NEW, OLD, Stand, patiently};
use awqdeploy::{
    cli::problem::{Style, render},
    domain::{
        activation::machine::{Activation, Cause, Conclusion, End, State, Step},
        exit_status::ExitStatus,
        generation_id::GenerationId,
        problem::{Kind, Problem},
        validation::report::Report,
    },
    flow::{
        activation::outcome::Outcome,
        context::Engine,
        deploy::rollback::{Target, rollback},
        event::Event,
    },
};
use insta::assert_snapshot;
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    thread::scope,
};

/// A refusal as a person sees it, with its exit status; nothing may have changed.
fn refused(stand: &mut Stand) -> String {
    let before = stand.state();
    let problem = stand.deploy(NEW).unwrap_err();
    assert_eq!(stand.state(), before);
    shown(stand, &problem)
}

fn shown(stand: &Stand, problem: &Problem) -> String {
    let text = stand.plain(&render(problem, Style::Plain));
    format!("{text}\nexit status {}", ExitStatus::from(problem.kind).code())
}

#[test]
fn a_model_that_is_not_what_was_locked_is_refused() {
    let mut stand = Stand::serving();
    let weights = stand.model(NEW).join("model.safetensors");
    let good = fs::read(&weights).unwrap();

    let mut flipped = good.clone();
    flipped[1500] ^= 0b100;
    fs::write(&weights, flipped).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: 1 file is not what was locked in `DIR/models/awq`
    caused by: `model.safetensors` has another content
    help: fetch these files again; or, if they are meant to be so, lock them anew with `awqdeploy lock PROFILE`
    exit status 4
    ");

    fs::write(&weights, &good[..2999]).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: 1 file is not what was locked in `DIR/models/awq`
    caused by: `model.safetensors` has 2999 bytes: truncated or replaced
    help: fetch these files again; or, if they are meant to be so, lock them anew with `awqdeploy lock PROFILE`
    exit status 4
    ");

    fs::remove_file(&weights).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: 1 file is not what was locked in `DIR/models/awq`
    caused by: `model.safetensors` is missing
    help: fetch these files again; or, if they are meant to be so, lock them anew with `awqdeploy lock PROFILE`
    exit status 4
    ");

    let config = stand.model(NEW).join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, &text[..text.len() / 2]).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: cannot read the model's `config.json`
    caused by: EOF while parsing a string at line 30 column 12
    help: it ends too early: fetch it again
    exit status 4
    ");

    fs::remove_dir_all(stand.model(NEW)).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: there is no `config.json` in the model folder `DIR/models/awq`
    help: correct `path` in the profile's `[model]`, or fetch the model's files again
    exit status 4
    ");

    stand.serves(OLD);
}

#[test]
fn a_plan_that_cannot_work_is_refused() {
    let mut stand = Stand::serving();
    stand.write_profile(NEW, "arguments = []", "arguments = [\"--offload-backnd\", \"uva\"]");
    assert_snapshot!(refused(&mut stand), @r"
    error: vLLM `0.26.0` does not know `--offload-backnd`
    help: did you mean `--offload-backend`?
    exit status 3
    ");

    stand.write_profile(NEW, "tensor-parallel-size = 4", "tensor-parallel-size = 8");
    assert_snapshot!(refused(&mut stand), @r#"
    error: `tensor-parallel-size = 8` needs 8 GPUs, and this host has 4
    help: set `tensor-parallel-size = "auto"`: it would plan TP 4 with all weights in VRAM, predicted 118 tokens/s
    exit status 3
    "#);

    stand.write_profile(NEW, "service = \"vllm\"", "service = \"other\"");
    assert_snapshot!(refused(&mut stand), @r"
    error: services `other` (profile `awq`) and `vllm` (profile `gptq`) would both listen at port PORT
    help: only one can have it: give one of them another `listen.port`, or both the same `service` if one is to replace the other
    exit status 2
    ");

    stand.write_profile(NEW, "", "");
    fs::remove_file(stand.path("profiles/locks/awq.toml")).unwrap();
    assert_snapshot!(refused(&mut stand), @r"
    error: the model of `awq` is not locked
    help: record its files once: `awqdeploy lock awq` asks the hub, `awqdeploy lock awq --from FOLDER` takes what is here
    exit status 4
    ");

    stand.serves(OLD);
}

#[test]
fn a_port_that_something_else_holds_is_refused() {
    let mut stand = Stand::new();
    let _held = TcpListener::bind(("127.0.0.1", stand.port)).unwrap();
    let holder = format!("(process {})", std::process::id());
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let text = refused(&mut stand).replace(&holder, "(process PID)").replace(name.trim(), "NAME");
    assert_snapshot!(text, @r"
    error: port PORT is in use by `NAME` (process PID)
    help: stop it (and disable its unit, if it has one), or give the profile another `port`
    exit status 3
    ");
}

/// A service that serves may move to another port; that one must be free.
#[test]
fn a_port_to_move_to_must_be_free() {
    let mut stand = Stand::serving();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (old, new) = (stand.port, held.local_addr().unwrap().port());
    stand.port = new;
    for name in [OLD, NEW] {
        stand.write_profile(name, "", "");
    }
    let text = refused(&mut stand);
    assert!(text.starts_with("error: port PORT is in use by"), "{text}");
    assert!(text.ends_with("exit status 3"), "{text}");
    stand.serves(OLD);
    assert_ne!(old, new);
}

#[test]
fn another_deployment_is_named() {
    let mut stand = Stand::serving();
    let store = stand.context.store.clone();
    let _locked = store.writer(FORKED, "awqdeploy deploy other").unwrap();
    let text = refused(&mut stand);
    let since = text.split("since ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let text = text.replace(since, "TIME").replace(&std::process::id().to_string(), "PID");
    assert_snapshot!(text, @r"
    error: `awqdeploy deploy other` (process PID) has been at work since TIME
    help: wait until it is done; `awqdeploy status` shows how far it is
    exit status 5
    ");
    stand.serves(OLD);
}

#[test]
fn a_stuck_activation_blocks_until_it_is_recovered() {
    let mut stand = stuck();
    assert_snapshot!(refused(&mut stand), @r"
    error: the last activation is stuck: start failed: it does not start; then the rollback failed at stop: it does not stop
    help: mend what it names, then `awqdeploy recover`; or `awqdeploy rollback PROFILE`
    exit status 7
    ");
    let ended = stand.recover().unwrap();
    assert!(matches!(ended.end, End::RolledBack { .. }), "{ended:?}");
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
    stand.serves(NEW);
}

/// Even where the person mended everything by hand, so that nothing seems to be left to do.
#[test]
fn a_rollback_ends_what_was_stuck() {
    let mut stand = stuck();
    let target = Target::Profile(OLD.into());
    let outcome = patiently(|| rollback(&mut stand.context, &target)).unwrap();
    assert_eq!(outcome.conclusion(), Conclusion::Done);
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
}

/// The old profile serves, and the record says that the last activation is stuck.
fn stuck() -> Stand {
    let stand = Stand::serving();
    let writer = stand.context.store.writer(FORKED, "test").unwrap();
    let (_, mut journal) = writer.begin_activation().unwrap();
    let cause = Cause::Failed { step: Step::Start, why: "it does not start".into() };
    let end = End::Stuck { cause, step: Step::Stop, why: "it does not stop".into() };
    let (from, to) = (Some(GenerationId(1)), GenerationId(1));
    journal.record(&Activation { from, to, state: State::Done { end } }).unwrap();
    drop(writer);
    stand
}

#[test]
fn an_engine_that_cannot_be_run_is_the_reason() {
    let mut stand = Stand::serving();
    stand.context.engine = Engine::Command(vec!["/nowhere/bin/python".to_owned()]);
    let outcome = stand.deploy(NEW).unwrap();
    let activated = outcome.activation.as_ref().unwrap();
    let End::RolledBack { cause: Cause::Failed { step: Step::Start, why } } = &activated.ended.end else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("/nowhere/bin/python serve ") && why.contains("No such file"), "{why}");
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    stand.serves(OLD);
}

/// The service runs as a user of its own.
#[test]
fn what_only_its_owner_may_read_can_be_read_by_the_service() {
    let mut stand = Stand::new();
    for file in ["config.json", "model.safetensors"] {
        fs::set_permissions(stand.model(NEW).join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    // As a build under a strict umask leaves it.
    let program = stand.path("awqdeploy");
    fs::copy(&stand.context.binary, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    stand.context.binary = program;
    stand.deploy(NEW).unwrap();

    let mut folders = vec![stand.path("root")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if entry.file_name() == "lock" {
                assert_eq!(metadata.mode() & 0o777, 0o600, "the service could hold it");
                continue;
            }
            let wanted = if metadata.is_dir() || entry.file_name() == "awqdeploy" { 0o005 } else { 0o004 };
            assert_eq!(metadata.mode() & wanted, wanted, "{:?}", entry.path());
            seen += 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(seen > 10, "looked at {seen} only");
    let source = stand.model(NEW).join("config.json");
    assert_eq!(fs::metadata(source).unwrap().mode() & 0o777, 0o600, "the source was changed");
}

/// A generation runs what it was proven with, whatever becomes of the program that made it.
#[test]
fn a_generation_keeps_its_program() {
    let mut stand = Stand::new();
    let program = stand.path("awqdeploy");
    fs::copy(&stand.context.binary, &program).unwrap();
    stand.context.binary.clone_from(&program);
    stand.deploy(NEW).unwrap();
    // Writes what `cp new-version /usr/local/bin/awqdeploy` does: the same file with other content.
    fs::OpenOptions::new().write(true).open(&program).unwrap().set_len(0).unwrap();
    for kept in ["root/generations/1/awqdeploy", "root/bin/awqdeploy"] {
        assert_ne!(fs::metadata(stand.path(kept)).unwrap().len(), 0, "{kept} changed");
    }
}

#[test]
fn ctrl_c_before_the_activation_changes_nothing() {
    let mut stand = Stand::serving();
    let before = stand.state();
    let interrupt = stand.context.interrupt.clone();
    let problem = stand.deploy_watched(NEW, move |event| {
        if matches!(event, Event::Progress { .. }) {
            interrupt.raise();
        }
    });
    let problem = problem.unwrap_err();
    assert_eq!(problem.kind, Kind::Interrupted);
    assert_snapshot!(shown(&stand, &problem), @r"
    error: stopped before anything was changed
    exit status 130
    ");
    assert_eq!(stand.state(), before);
    stand.serves(OLD);
}

#[test]
fn ctrl_c_at_any_step_goes_back() {
    scope(|scope| {
        for step in [Step::Stop, Step::Point, Step::Start, Step::Validate] {
            scope.spawn(move || goes_back_from(step));
        }
    });
}

fn goes_back_from(at: Step) {
    let forward = State::Forward { step: at };
    let reached = move |event: &Event| matches!(event, Event::Activation { state, .. } if *state == forward);
    let (mut stand, outcome) = interrupted(reached);
    let activated = outcome.activation.as_ref().unwrap();
    assert_eq!(activated.ended.end, End::RolledBack { cause: Cause::Interrupted { step: at } });
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    assert!(activated.returned.as_ref().is_some_and(Report::passed), "{outcome:?}");
    stand.serves(OLD);
}

/// A validation takes minutes on a real server: Ctrl-C must not wait for its end, nor may what came through
/// it afterwards be kept against the person's wish.
#[test]
fn ctrl_c_in_the_middle_of_a_validation_goes_back() {
    let (mut stand, outcome) = interrupted(|event| matches!(event, Event::Checked(_)));
    let activated = outcome.activation.unwrap();
    assert_eq!(activated.ended.end, End::RolledBack { cause: Cause::Interrupted { step: Step::Validate } });
    stand.serves(OLD);
}

fn interrupted(moment: impl Fn(&Event) -> bool + 'static) -> (Stand, Outcome) {
    let mut stand = Stand::serving();
    let interrupt = stand.context.interrupt.clone();
    let outcome = stand.deploy_watched(NEW, move |event| {
        if moment(&event) {
            interrupt.raise();
        }
    });
    (stand, outcome.unwrap())
}
