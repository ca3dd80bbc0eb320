//! Before each start the service proves its model, and starts nothing if it cannot.

use super::{Scene, flip, mib, write};
use crate::rehearsal;
use awqdeploy::{
    domain::{
        plan::{Plan, PlannedModel},
        problem::{Kind, Problem},
        profile::VerifyAtStart,
        size::Bytes,
    },
    flow::prove::prove,
    host::{service::TRIAL_VARIABLE, signals::Interrupt},
};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

fn model(scene: &Scene, verify_at_start: VerifyAtStart) -> PlannedModel {
    PlannedModel {
        digest: Some(scene.model.digest()),
        path: scene.stored(),
        verify_at_start,
        ..rehearsal::plan("127.0.0.1:1".parse().unwrap()).model
    }
}

fn proved(scene: &Scene, verify_at_start: VerifyAtStart) -> Result<Bytes, Problem> {
    let model = model(scene, verify_at_start);
    prove(&scene.store, &model, &Interrupt::default(), &mut |_, _| ()).map(|checked| checked.read)
}

#[test]
fn an_untouched_model_costs_next_to_nothing() {
    let scene = Scene::taken_in();
    let began = Instant::now();
    assert_eq!(proved(&scene, VerifyAtStart::Memo).unwrap(), Bytes(0));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(proved(&scene, VerifyAtStart::Full).unwrap(), scene.model.size());
}

#[test]
fn any_difference_refuses_the_start() {
    let scene = Scene::taken_in();
    flip(&scene.stored().join("model.safetensors"), mib(3));
    let refused = proved(&scene, VerifyAtStart::Memo).unwrap_err();
    assert_eq!(refused.kind, Kind::Unverified);
    assert_eq!(
        refused.to_string(),
        "the model is not what was locked: `model.safetensors` has another content"
    );
    // vLLM loads every file that ends in `.safetensors`.
    write(&scene.stored().join("extra.safetensors"), b"");
    fs::remove_file(scene.stored().join("config.json")).unwrap();
    let refused = proved(&scene, VerifyAtStart::Memo).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the model is not what was locked: `config.json` is missing, and 2 other files differ"
    );
}

#[test]
fn the_lock_in_the_store_is_no_easier_to_change() {
    let scene = Scene::taken_in();
    let path = scene.store.layout().model_lock(scene.model.digest());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("size = 2\n", "size = 3\n")).unwrap();
    assert!(proved(&scene, VerifyAtStart::Memo).unwrap_err().to_string().contains("was changed"));
    let mut other = scene.model.clone();
    other.files.truncate(1);
    fs::write(&path, other.to_toml()).unwrap();
    assert!(proved(&scene, VerifyAtStart::Memo).unwrap_err().to_string().contains("locks another model"));
    fs::remove_file(&path).unwrap();
    assert_eq!(proved(&scene, VerifyAtStart::Memo).unwrap_err().kind, Kind::Unverified);
}

/// A generation on trial whose engine leaves a mark and ends.
fn supervise(scene: &Scene) -> (Output, String) {
    supervise_with(scene, &[(TRIAL_VARIABLE, "1")])
}

fn supervise_with(scene: &Scene, environment: &[(&str, &str)]) -> (Output, String) {
    let marker = scene.path().join("started");
    let serve = |plan: Plan| Plan {
        model: model(scene, VerifyAtStart::Memo),
        serve: awqdeploy::domain::plan::Serve {
            argv: vec!["/usr/bin/touch".to_owned(), marker.to_string_lossy().into_owned()],
            ..plan.serve
        },
        ..plan
    };
    let plan = serve(rehearsal::plan("127.0.0.1:1".parse().unwrap()));
    let locked = scene.store.lock(Duration::ZERO, "test").unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_awqdeploy"));
    let id = locked.add_generation(plan, "", binary).unwrap();
    locked.point(Some(id)).unwrap();
    let socket = scene.path().join("notify");
    let listener = awqdeploy::host::notify::Listener::bind(&socket).unwrap();
    let output = Command::new(binary)
        .arg("--root")
        .arg(scene.store.layout().root())
        .arg("supervise")
        .env("NOTIFY_SOCKET", &socket)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said: Vec<_> = listener.heard().unwrap().into_iter().map(|said| format!("{said:?}")).collect();
    (output, said.join("\n"))
}

#[test]
fn the_engine_is_started_only_on_a_proven_model() {
    let scene = Scene::taken_in();
    let marker = scene.path().join("started");
    flip(&scene.stored().join("config.json"), 0);
    let (output, said) = supervise(&scene);
    assert!(!marker.exists(), "the engine was started");
    assert_eq!(output.status.code(), Some(4));
    assert!(said.contains("the model is not what was locked: `config.json` has another content"), "{said}");
    assert!(!said.contains("starting vLLM"), "{said}");

    flip(&scene.stored().join("config.json"), 0);
    let (output, said) = supervise(&scene);
    assert!(marker.exists(), "the engine was not started: {said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// What a boot finds where the recovery before it was killed, too.
#[test]
fn what_was_never_proven_serves_nobody_unless_it_is_on_trial() {
    let scene = Scene::taken_in();
    let (output, said) = supervise_with(&scene, &[]);
    assert!(!scene.path().join("started").exists(), "the engine was started");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("generation 1 was never proven, and nobody is trying it"), "{said}");
}
