//! How profiles, models and addresses are called.

use awqdeploy::domain::{
    profile::Profile,
    proposal::{address, profile_name, served_name},
};
use std::path::Path;

#[test]
fn a_model_is_called_alike_however_it_is_stored() {
    let names = [
        ("Qwen/Qwen3-8B-AWQ", "qwen3-8b-awq", "qwen3-8b"),
        ("Qwen/Qwen3-30B-A3B-GPTQ-Int4", "qwen3-30b-a3b-gptq-int4", "qwen3-30b-a3b"),
        (
            "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit",
            "qwen3-next-80b-a3b-instruct-awq-4bit",
            "qwen3-next-80b-a3b-instruct",
        ),
        (
            "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ",
            "qwen3-next-80b-a3b-instruct-int4-gptq",
            "qwen3-next-80b-a3b-instruct",
        ),
        (
            "o/Meta-Llama-3.1-8B-Instruct-quantized.w4a16",
            "meta-llama-3-1-8b-instruct-quantized-w4a16",
            "meta-llama-3.1-8b-instruct-quantized.w4a16",
        ),
        ("o/Llama-3.1-8B-w4a16-g128", "llama-3-1-8b-w4a16-g128", "llama-3.1-8b"),
        (
            "o/Qwen3-30B-A3B-Instruct-2507-FP8",
            "qwen3-30b-a3b-instruct-2507-fp8",
            "qwen3-30b-a3b-instruct-2507",
        ),
        ("o/awq", "awq", "awq"),
        ("o/_x_", "x", "_x_"),
    ];
    for (repo, profile, served) in names {
        assert_eq!((profile_name(repo).as_str(), served_name(repo).as_str()), (profile, served), "{repo}");
    }
}

fn profile(name: &str, service: &str, port: u16) -> Profile {
    let text = format!(
        "service = '{service}'\n[model]\nrepo = 'o/n'\nserved-name = 'n'\n[runtime]\nvllm = '0.26.0'\n[listen]\nport = {port}\n"
    );
    Profile::parse(name, Path::new("x.toml"), &text).unwrap()
}

#[test]
fn a_service_keeps_its_address_and_another_takes_a_port_of_its_own() {
    let profiles = [profile("a", "vllm", 9000), profile("b", "other", 8000)];
    assert_eq!(address("vllm", &profiles).port, 9000);
    assert_eq!(address("third", &profiles).port, 8001);
    assert_eq!(address("vllm", &[]).port, 8000);
    for service in ["vllm", "third"] {
        let new = profile("new", service, address(service, &profiles).port);
        Profile::same_service(&[&profiles[0], &profiles[1], &new]).unwrap();
    }
}
