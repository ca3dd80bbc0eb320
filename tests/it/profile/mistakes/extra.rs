//! Arguments and variables that a profile must not give to vLLM.

use super::{LEAST, changed, refused};
use awqdeploy::domain::profile::Profile;
use insta::assert_snapshot;
use std::path::Path;

#[test]
fn arguments() {
    assert_snapshot!(refused("[vllm]\narguments = [\"--seed\", \"1\", \"--tensor-parallel-size\", \"2\"]"), @r#"
    error: `--tensor-parallel-size` cannot be an extra argument
     --> profiles/awq.toml:8:29
      |
    8 | arguments = ["--seed", "1", "--tensor-parallel-size", "2"]
      |                             ^^^^^^^^^^^^^^^^^^^^^^^^ the plan sets this flag
      |
      = help: set `parallelism.tensor-parallel-size` in its place
    "#);
    assert_snapshot!(refused("[vllm]\narguments = [\"--max_model_len=4096\"]"), @r#"
    error: `--max-model-len` cannot be an extra argument
     --> profiles/awq.toml:8:14
      |
    8 | arguments = ["--max_model_len=4096"]
      |              ^^^^^^^^^^^^^^^^^^^^^^ the plan sets this flag
      |
      = help: set `limits.max-model-len` in its place
    "#);
    assert_snapshot!(refused("[vllm]\narguments = [\"--api-key\", \"s3cret\"]"), @r#"
    error: `--api-key` cannot be an extra argument
     --> profiles/awq.toml:8:14
      |
    8 | arguments = ["--api-key", ********]
      |              ^^^^^^^^^^^ not for this deployment
      |
      = help: every generation can be read by every user of this host: put the key into a file that only root reads, and name it by `secrets.api-key-file`
    "#);
    assert_snapshot!(refused("[vllm]\narguments = [\"--hf_token=s3cret\"]"), @r"
    error: `--hf-token` cannot be an extra argument
     --> profiles/awq.toml:8:14
      |
    8 | arguments = [*******************]
      |              ^^^^^^^^^^^^^^^^^^^ this is a secret
      |
      = help: every generation can be read by every user of this host: put the secret into a file that only root reads. `secrets.hub-token-file` names one with a token of the hub; for another, `systemctl edit SERVICE`: `[Service]`, `EnvironmentFile=/etc/SERVICE.env`
    ");
    assert_snapshot!(refused("[vllm]\narguments = [\"--pipeline-parallel-size\", \"2\"]"), @r#"
    error: `--pipeline-parallel-size` cannot be an extra argument
     --> profiles/awq.toml:8:14
      |
    8 | arguments = ["--pipeline-parallel-size", "2"]
      |              ^^^^^^^^^^^^^^^^^^^^^^^^^^ the plan sets this flag
      |
      = help: set `parallelism.pipeline-parallel-size` in its place
    "#);
    assert_snapshot!(refused("[vllm]\narguments = [\"my/model\"]"), @r#"
    error: extra arguments begin with a flag
     --> profiles/awq.toml:8:14
      |
    8 | arguments = ["my/model"]
      |              ^^^^^^^^^^ not a flag
      |
      = help: the model comes from `[model]`; write flags such as `--generation-config`
    "#);
    assert_snapshot!(refused("[vllm]\narguments = [\"--chat-template\", \"a\\nb\"]"), @r#"
    error: `vllm.arguments` takes an array of strings, each one argument
     --> profiles/awq.toml:8:33
      |
    8 | arguments = ["--chat-template", "a\nb"]
      |                                 ^^^^^^ contains a line break
      |
      = help: for example `arguments = ["--generation-config", "vllm"]`
    "#);
}

#[test]
fn environment() {
    assert_snapshot!(refused("[vllm.environment]\n\"MY VAR\" = \"1\""), @r#"
    error: a variable's name is letters, digits and `_`, and no digit first
     --> profiles/awq.toml:8:1
      |
    8 | "MY VAR" = "1"
      | ^^^^^^^^ not a variable's name
      |
      = help: for example `VLLM_LOGGING_LEVEL = "DEBUG"`
    "#);
    assert_snapshot!(refused("[vllm.environment]\nHF_TOKEN = \"hf_x\""), @r"
    error: `HF_TOKEN` cannot be set here
     --> profiles/awq.toml:8:1
      |
    8 | HF_TOKEN = ******
      | ^^^^^^^^ by its name this is a secret
      |
      = help: every generation can be read by every user of this host: put the secret into a file that only root reads. `secrets.hub-token-file` names one with a token of the hub; for another, `systemctl edit SERVICE`: `[Service]`, `EnvironmentFile=/etc/SERVICE.env`
    ");
    assert_snapshot!(refused("[vllm.environment]\nNOTIFY_SOCKET = \"/run/x\""), @r#"
    error: `NOTIFY_SOCKET` cannot be set here
     --> profiles/awq.toml:8:1
      |
    8 | NOTIFY_SOCKET = "/run/x"
      | ^^^^^^^^^^^^^ not for a profile to set
      |
      = help: systemd speaks to the supervisor through it, and vLLM would answer out of turn: remove it
    "#);
    assert_snapshot!(refused("[vllm.environment]\nVLLM_LOGGING_LEVEL = \"a\\u0000b\""), @r#"
    error: `vllm.environment.VLLM_LOGGING_LEVEL` takes a string on one line
     --> profiles/awq.toml:8:22
      |
    8 | VLLM_LOGGING_LEVEL = "a\u0000b"
      |                      ^^^^^^^^^^ contains a NUL character
      |
      = help: for example `VLLM_LOGGING_LEVEL = "DEBUG"`
    "#);
}

#[test]
fn alternatives() {
    let alternatives = |names: &str| changed("[runtime]", &format!("alternatives = [{names}]\n[runtime]"));
    assert_snapshot!(alternatives("\"other/name\", \"other/name\""), @r#"
    error: `model.alternatives` takes an array of repositories as `owner/name`
     --> profiles/awq.toml:5:31
      |
    5 | alternatives = ["other/name", "other/name"]
      |                               ^^^^^^^^^^^^ named already
      |
      = help: an alternative is another repository: leave it out
    "#);
    assert_snapshot!(alternatives("\"owner/name\""), @r#"
    error: `model.alternatives` takes an array of repositories as `owner/name`
     --> profiles/awq.toml:5:17
      |
    5 | alternatives = ["owner/name"]
      |                 ^^^^^^^^^^^^ named already
      |
      = help: an alternative is another repository: leave it out
    "#);
    assert_snapshot!(alternatives("\"../models\""), @r#"
    error: `model.alternatives` takes an array of repositories as `owner/name`
     --> profiles/awq.toml:5:17
      |
    5 | alternatives = ["../models"]
      |                 ^^^^^^^^^^^ this is a folder
      |
      = help: a local folder goes into `path`; `repo` still says what it is a copy of
    "#);
}

#[test]
fn two_arguments_in_one_string_are_split() {
    assert_snapshot!(refused("[vllm]\narguments = [\"--seed 1\"]"), @r#"
    error: each string is one argument
     --> profiles/awq.toml:8:14
      |
    8 | arguments = ["--seed 1"]
      |              ^^^^^^^^^^ these are two arguments in one string
      |
      = help: split it: `"--seed", "1"`
    "#);
    // A value may have spaces.
    let fine = format!(
        "{LEAST}[vllm]\narguments = ['--override-generation-config={{\"a\": 1}}', \"--seed\", \"1\"]\n"
    );
    assert!(Profile::parse("awq", Path::new("awq.toml"), &fine).is_ok());
}

#[test]
fn all_mistakes_are_told_also_beside_an_unknown_key() {
    let told = refused("[listen]\nprot = 8000\nport = 0\n[limits]\nmax-model-len = 0");
    for mistake in ["unknown key `prot`", "`listen.port` takes", "`limits.max-model-len` takes"] {
        assert!(told.contains(mistake), "{told}");
    }
    // Where a value is of another type nothing more can be read; the unknown key is told all the same.
    let told = refused("[listen]\nprot = 8000\nport = \"x\"");
    assert!(told.contains("unknown key `prot`") && told.contains("this is a string"), "{told}");
}
