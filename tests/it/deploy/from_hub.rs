//! A deployment of a model that is not on this host: fetched from the hub before anything is stopped.
//!
//! Which hub a deployment asks is its environment's to say, so the deployment runs in a process of its own: this test
//! program again.

use crate::{
    hub::{Entry, Fault, Hub, Repo, When},
    stand::{NEW, OLD, Stand},
};
use awqdeploy::{
    domain::{activation::machine::Conclusion, checkpoint::known_config, problem::Kind},
    flow::models::lock::lock,
    host::hub::Settings,
};
use std::process::Command;

const MODEL: &str = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
const WEIGHTS: &str = "model.safetensors";
/// Tells a process that it is to deploy, and what it is to find: `whole` or `damaged`.
const PART: &str = "AWQDEPLOY_DEPLOYMENT_FINDS";

#[test]
fn part_deployment() {
    let Ok(finds) = std::env::var(PART) else { return };
    let mut stand = Stand::serving();
    let path = format!("path = \"{}\"\n", stand.model(NEW).display());
    stand.write_profile(NEW, &path, "");
    let hub = Settings::from_environment().unwrap();
    lock(&stand.context, NEW, None, &hub).unwrap();
    if finds == "whole" {
        assert_eq!(stand.deploy(NEW).unwrap().conclusion(), Conclusion::Done);
        stand.serves(NEW);
    } else {
        let problem = stand.deploy(NEW).unwrap_err();
        assert_eq!(problem.kind, Kind::Unverified);
        assert!(problem.to_string().contains(WEIGHTS), "{problem}");
        stand.serves(OLD);
    }
}

/// Deploys, and returns the files that were asked of the hub meanwhile, each once.
fn asked(hub: &Hub, finds: &str) -> Vec<String> {
    let mut deployment = Command::new(std::env::current_exe().unwrap());
    deployment.args(["--exact", "deploy::from_hub::part_deployment", "--nocapture"]).env(PART, finds);
    deployment.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", "/nowhere");
    for variable in
        ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "http_proxy", "HTTP_PROXY"]
    {
        deployment.env_remove(variable);
    }
    let output = deployment.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let mut paths: Vec<String> = (hub.downloads().iter())
        .map(|seen| seen.path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn a_deployment_fetches_what_is_not_here_and_stops_nothing_for_what_is_damaged() {
    let config = known_config(MODEL).unwrap();
    let files = [("config.json", config.as_bytes().to_vec()), (WEIGHTS, NEW.repeat(1000).into_bytes())];
    let repo = Repo::of(files.map(|(path, bytes)| (path.to_owned(), Entry::of(path, bytes))));
    let hub = Hub::start(MODEL, repo);
    hub.trap(WEIGHTS, Fault::Flip { at: 1500 }, When::Always);
    assert_eq!(asked(&hub, "damaged"), ["config.json", WEIGHTS]);
    hub.mend();
    assert_eq!(asked(&hub, "whole"), ["config.json", WEIGHTS]);
}
