//! A server that somebody started by hand becomes generation 1: it is read, validated as it runs, replaced, and
//! returned to. The embedded engine is in vLLM's place.

use crate::{
    program::{Said, awqdeploy},
    stand::{NEVER, NEW, OLD, PROGRAM, Stand, patiently, repo},
};
use awqdeploy::{
    domain::{
        activation::machine::{Conclusion, End},
        generation_id::GenerationId,
        problem::{Kind, Problem},
    },
    flow::{
        adopt::{Adoption, Found, Questions, Request, adopt, look},
        deploy::rollback::{Target, rollback},
        inspect::{
            history::history,
            status::{AsFound, status},
        },
    },
    host::systemd::service::Condition,
};
use rustix::process::{Pid, test_kill_process};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A secret that nobody may find again on the disk.
const SECRET: &str = "hf_aVerySecretTokenOfSomebody";

/// A server of the old model, started as a person would. It goes with this.
struct ByHand(Child);

impl ByHand {
    fn start(stand: &Stand, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let model = stand.model(OLD);
        let child = Command::new(PROGRAM)
            .args(["engine", "serve", model.to_str().unwrap()])
            .args(["--host", "127.0.0.1", "--port", &stand.port.to_string(), "--served-model-name", "tiny"])
            .args(["--tensor-parallel-size", "4", "--gpu-memory-utilization=0.9", "--quantization", "gptq"])
            .args(more)
            .env("AWQDEPLOY_REHEARSAL_LOAD_MS", "10")
            .env("AWQDEPLOY_REHEARSAL_TOKENS_PER_SECOND", "500")
            .env("HF_TOKEN", SECRET)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", stand.port)).is_err() {
            assert!(began.elapsed() < NEVER, "it never listened");
            sleep(Duration::from_millis(10));
        }
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it runs, and was not started anew.
    fn lives(&mut self) -> bool {
        test_kill_process(Pid::from_child(&self.0)).is_ok() && self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn request(target: u32) -> Request {
    Request {
        target: target.to_string(),
        profile: "old".to_owned(),
        service: "vllm".to_owned(),
        repo: Some("jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ".to_owned()),
        vllm: Some("0.26.0".to_owned()),
        questions: Questions::Asked,
    }
}

fn adopted(stand: &Stand, server: &ByHand) -> Adoption {
    let found: Found = look(&stand.context, request(server.pid())).unwrap();
    patiently(|| adopt(&stand.context, found.clone())).unwrap()
}

fn refused(outcome: Result<Found, Problem>) -> (Kind, String) {
    let problem = outcome.map(|_| ()).unwrap_err();
    (problem.kind, problem.what)
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn what_would_be_recorded_is_told_as_json() {
    let stand = Stand::new();
    let server = ByHand::start(&stand, &[], &[]);
    let (pid, folder) = (server.pid().to_string(), |name| stand.path(name).display().to_string());
    let told = Said::by(&mut awqdeploy(&[
        "adopt",
        &pid,
        "--dry-run",
        "--json",
        "--profile",
        "old",
        "--vllm",
        "0.26.0",
        "--repo",
        repo(OLD),
        "--root",
        &folder("root"),
        "--profiles",
        &folder("profiles"),
    ]))
    .document(0);
    assert_eq!(told["schema"], "awqdeploy/adoption/v1");
}

/// `awqdeploy init --adopt` of this server.
fn init(stand: &Stand, server: &ByHand, more: &[&str]) -> Said {
    let (pid, folder) = (server.pid().to_string(), |name| stand.path(name).display().to_string());
    let (root, profiles) = (folder("root"), folder("profiles"));
    let words = ["init", repo(OLD), "--adopt", &pid, "--vllm", "0.26.0", "--name", "old", "--root", &root];
    Said::by(&mut awqdeploy(&[&words, &["--profiles", &profiles, "--progress", "none"][..], more].concat()))
}

#[test]
fn init_starts_from_a_server_that_runs() {
    let stand = Stand::new();
    let mut server = ByHand::start(&stand, &["--seed", "7"], &[]);
    let path = stand.path("profiles/old.toml");
    init(&stand, &server, &["--dry-run"]).text();
    assert!(!path.exists(), "a dry run wrote it");

    let text = init(&stand, &server, &[]).text();
    let adopt = format!("adopt {} --profile old", server.pid());
    assert!(text.contains(&adopt) && text.contains("init --migrate-to OWNER/MODEL"), "{text}");
    let profile = stand.context.library.load("old").unwrap();
    assert_eq!(profile.model().repo, repo(OLD));
    assert!(fs::read_to_string(&path).unwrap().contains("\"--seed\", \"7\""));
    assert!(
        server.lives() && stand.context.store.current().unwrap().is_none(),
        "it proposes, and adopts nothing"
    );

    init(&stand, &server, &[]).complaint(2);
}

#[test]
fn what_runs_becomes_generation_1_and_serves_on() {
    let mut stand = Stand::new();
    let mut server = ByHand::start(&stand, &["--seed", "7", "--hf-token", SECRET], &[]);
    let adoption = adopted(&stand, &server);

    assert_eq!(adoption.generation, GenerationId(1));
    assert!(server.lives(), "what serves was touched");
    let store = &stand.context.store;
    assert!(store.known_good().unwrap().contains(&GenerationId(1)));
    assert_eq!(store.current().unwrap(), Some(GenerationId(1)));
    assert!(adoption.report.passed() && adoption.report.throughput.is_some());
    let ended = history(&stand.context).unwrap();
    assert_eq!(ended[0].last().unwrap().end(), Some(&End::Committed));

    let plan = store.generation(GenerationId(1)).unwrap().plan;
    let model = plan.model.path.to_str().unwrap();
    assert!(model.starts_with(store.layout().models().to_str().unwrap()));
    let port = stand.port.to_string();
    let wanted = [
        &[PROGRAM, "engine", "serve", model, "--host", "127.0.0.1", "--port", &port][..],
        &["--served-model-name", "tiny", "--tensor-parallel-size", "4", "--gpu-memory-utilization=0.9"],
        &["--quantization", "gptq", "--seed", "7"],
    ];
    assert_eq!(plan.serve.argv, wanted.concat());
    assert_eq!(plan.serve.env["AWQDEPLOY_REHEARSAL_TOKENS_PER_SECOND"], "500");

    let profile = fs::read_to_string(stand.path("profiles/old.toml")).unwrap();
    assert!(profile.contains("arguments = [\"--quantization\", \"gptq\", \"--seed\", \"7\"]"), "{profile}");
    stand.context.library.load("old").unwrap();
    assert_eq!(stand.context.library.lock("old").unwrap().map(|lock| lock.digest()), plan.model.digest);

    for (path, bytes) in files(&stand.path("")) {
        let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(!found, "the token was written into {path}");
    }
    let status = status(&mut stand.context).unwrap();
    assert_eq!(status.condition, Some(Condition::Active), "it serves, by hand");
    assert_eq!(status.as_found, Some(AsFound::Process(server.0.id().cast_signed())));
}

#[test]
fn the_first_deployment_replaces_it_and_a_rollback_starts_the_same_again() {
    let mut stand = Stand::new();
    let mut server = ByHand::start(&stand, &["--seed", "7"], &[]);
    adopted(&stand, &server);

    let outcome = stand.deploy(NEW).unwrap();
    assert_eq!((outcome.conclusion(), outcome.generation), (Conclusion::Done, GenerationId(2)));
    assert!(!server.lives(), "two servers at once");
    stand.serves(NEW);

    let target = Target::Profile("old".to_owned());
    let outcome = patiently(|| rollback(&mut stand.context, &target)).unwrap();
    assert_eq!((outcome.conclusion(), outcome.generation), (Conclusion::Done, GenerationId(1)));
    stand.serves("old");
}

#[test]
fn a_migration_that_fails_ends_with_what_was_adopted() {
    let mut stand = Stand::new();
    let server = ByHand::start(&stand, &[], &[]);
    adopted(&stand, &server);
    stand.write_profile(
        NEW,
        "[vllm.environment]\n",
        "[vllm.environment]\nAWQDEPLOY_REHEARSAL_FAULT = \"crash\"\n",
    );
    let outcome = stand.deploy(NEW).unwrap();
    assert_eq!(outcome.conclusion(), Conclusion::WentBack);
    assert!(outcome.activation.unwrap().returned.unwrap().passed());
    stand.serves("old");
}

#[test]
fn a_server_that_does_not_pass_is_not_adopted() {
    let stand = Stand::new();
    let mut server = ByHand::start(&stand, &[], &[("AWQDEPLOY_REHEARSAL_FAULT", "broken")]);
    let found = look(&stand.context, request(server.pid())).unwrap();
    let problem = patiently(|| adopt(&stand.context, found.clone())).unwrap_err();
    assert_eq!(problem.what, "what runs does not pass a validation, so that nobody could return to it");
    assert!(server.lives());
    assert!(stand.context.store.generations().unwrap().is_empty());
    assert!(!stand.path("profiles/old.toml").exists());
}

#[test]
fn what_could_not_be_returned_to_is_refused_before_anything_is_done() {
    let mut stand = Stand::new();
    let refusals = [
        (
            ["--api-key", SECRET],
            "this server asks its clients for a key (`--api-key`), and its generation would not",
        ),
        (
            ["--ssl-certfile", "/etc/c.pem"],
            "this server speaks TLS (`--ssl-certfile`), and a validation speaks plain HTTP",
        ),
    ];
    for (more, what) in refusals {
        let server = ByHand::start(&stand, &more, &[]);
        let problem = look(&stand.context, request(server.pid())).map(|_| ()).unwrap_err();
        assert_eq!(problem.what, what);
        assert!(!format!("{problem:?}").contains(SECRET), "{problem:?}");
    }
    let server = ByHand::start(&stand, &[], &[("VLLM_API_KEY", SECRET)]);
    let (kind, what) = refused(look(&stand.context, request(server.pid())));
    assert_eq!(kind, Kind::Refused);
    assert!(what.contains("the variable `VLLM_API_KEY`"), "{what}");
    drop(server);

    let mut idle = Command::new("sleep").arg("60").spawn().unwrap();
    let (kind, what) = refused(look(&stand.context, request(idle.id())));
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(kind, Kind::Refused);
    assert!(what.starts_with("neither process") && what.ends_with("is a vLLM server"), "{what}");
    assert_eq!(refused(look(&stand.context, request(0))).0, Kind::Usage);

    let mut own = request(0);
    own.profile = OLD.to_owned();
    let server = ByHand::start(&stand, &[], &[]);
    own.target = server.pid().to_string();
    let (_, what) = refused(look(&stand.context, own));
    assert_eq!(what, "there is a profile `gptq`, which somebody wrote");
    drop(server);

    stand.deploy(OLD).unwrap();
    let (_, what) = refused(look(&stand.context, request(1)));
    assert_eq!(what, "generation 1 serves below this root already");
}

/// Whose answers are none is adopted without questions, and returned to without.
#[test]
fn a_server_without_answers_is_spared_the_questions() {
    let stand = Stand::new();
    let server = ByHand::start(&stand, &[], &[("AWQDEPLOY_REHEARSAL_FAULT", "repeats")]);
    let adopting = |questions| {
        let found = look(&stand.context, Request { questions, ..request(server.pid()) }).unwrap();
        patiently(|| adopt(&stand.context, found.clone()))
    };
    let problem = adopting(Questions::Asked).unwrap_err();
    assert_eq!(problem.kind, Kind::Refused);
    assert!(problem.in_one_line().contains("answers are gibberish"), "{}", problem.in_one_line());
    let adoption = adopting(Questions::Spared).unwrap();
    assert_eq!(adoption.report.known_answers, None);
    let profile = fs::read_to_string(stand.path("profiles/old.toml")).unwrap();
    assert!(
        profile.contains("min-decode-tokens-per-second") && !profile.contains("known-answers"),
        "{profile}"
    );
}

/// The very process that was looked at matters, and not another one of its number.
#[test]
fn a_server_that_went_away_meanwhile_is_not_adopted() {
    let stand = Stand::new();
    let server = ByHand::start(&stand, &[], &[]);
    let found = look(&stand.context, request(server.pid())).unwrap();
    drop(server);
    let _another = ByHand::start(&stand, &[], &[]);
    let problem = patiently(|| adopt(&stand.context, found.clone())).unwrap_err();
    assert_eq!(problem.what, "the server ended, or was started anew, while it was looked at");
    assert!(stand.context.store.generations().unwrap().is_empty());
}

/// The bytes of an adapter decide the answers as those of the model do.
#[test]
fn folders_that_its_command_line_names_are_held_to_what_they_were() {
    let mut stand = Stand::new();
    let adapter = stand.path("adapters/sql");
    // A service sees nothing there: it is refused, as `tests/it/adoption/found.rs` has it.
    if ["/root", "/home", "/tmp"].iter().any(|hidden| adapter.starts_with(hidden)) {
        return;
    }
    fs::create_dir_all(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), "{}").unwrap();
    fs::write(adapter.join("adapter_model.safetensors"), "weights").unwrap();
    let modules = format!("sql={}", adapter.display());
    let server = ByHand::start(&stand, &["--lora-modules", &modules], &[]);
    adopted(&stand, &server);
    let record = stand.context.store.layout().generation(GenerationId(1)).join("adopted.json");
    let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    let names: Vec<&String> = record["files"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 2, "{names:?}");

    fs::write(adapter.join("adapter_model.safetensors"), "others!").unwrap();
    let problem = stand.deploy(NEW).map(|_| ()).unwrap_err();
    assert_eq!(problem.kind, Kind::Refused);
    assert!(problem.what.contains("adapter_model.safetensors` is not what it was when"), "{problem}");
    fs::write(adapter.join("adapter_model.safetensors"), "weights").unwrap();
    assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
}
