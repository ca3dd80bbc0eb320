//! The command line: the order of arguments, and whose environment wins.

use crate::inputs::{AUTO, AWQ, awq, facts, plan_of};

fn argv(text: &str, machine: &str) -> Vec<String> {
    plan_of(text, &facts(machine), None).unwrap().serve.argv
}

#[test]
fn a_list_flag_never_stands_before_the_model_or_swallows_an_argument() {
    let argv = argv(&awq(AUTO.0, AUTO.1), "one-16gb");
    let at = |wanted: &str| argv.iter().position(|text| text == wanted).unwrap();
    assert_eq!((argv[1].as_str(), at("/var/lib/awqdeploy/store/models/awq")), ("serve", 2));
    let parameters = at("--cpu-offload-params");
    assert_eq!(argv[parameters + 1], "experts");
    assert!(argv[parameters + 2].starts_with("--"), "{argv:?}");
    assert_eq!(argv[argv.len() - 2..], ["--generation-config", "vllm"], "the profile's own come last");
}

#[test]
fn the_all_reduce_is_left_alone_where_the_profile_decides_it() {
    let own = awq(r#""--generation-config", "vllm""#, r#""--no-disable-custom-all-reduce""#);
    let argv = argv(&own, "four-16gb");
    assert!(!argv.contains(&"--disable-custom-all-reduce".to_owned()), "{argv:?}");
}

#[test]
fn the_profile_s_environment_wins_over_the_defaults() {
    let text = format!(
        "{AWQ}\n[vllm.environment]\nVLLM_HOST_IP = \"10.0.0.7\"\nOMP_NUM_THREADS = \"1\"\n[timeouts]\nstart = \"30min\"\n"
    );
    let environment = plan_of(&text, &facts("four-16gb"), None).unwrap().serve.env;
    let value = |name: &str| environment.get(name).map(String::as_str);
    assert_eq!(value("VLLM_HOST_IP"), Some("10.0.0.7"));
    assert_eq!(value("OMP_NUM_THREADS"), Some("1"));
    assert_eq!(value("HF_HUB_OFFLINE"), Some("1"));
    assert_eq!(value("VLLM_ENGINE_READY_TIMEOUT_S"), Some("1800"));
}
