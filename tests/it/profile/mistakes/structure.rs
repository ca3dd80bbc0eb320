//! Mistakes in what a file says at all: syntax, keys and types.

use super::{refused, shown};
use insta::assert_snapshot;

#[test]
fn what_is_no_toml() {
    assert_snapshot!(refused("[vllm]\narguments = [\"--seed\""), @r#"
    error: this is not valid TOML
     --> profiles/awq.toml:8:22
      |
    8 | arguments = ["--seed"
      |                      ^ unclosed array, expected `]`
      |
      = help: a line is `key = value`, text is in straight quotes, a table begins with `[name]`
    "#);
    assert_snapshot!(refused("[listen]\nhost = localhost"), @r#"
    error: this is not valid TOML
     --> profiles/awq.toml:8:8
      |
    8 | host = localhost
      |        ^^^^^^^^^ text must be in quotes
      |
      = help: put text, sizes and durations into straight quotes: `"16GiB"`
    "#);
    assert_snapshot!(refused("[memory]\ngpu ="), @r"
    error: this is not valid TOML
     --> profiles/awq.toml:8:6
      |
    8 | gpu =
      |      ^ the value is missing
      |
      = help: write it after the `=`, or remove the line
    ");
    assert_snapshot!(refused("[listen]\nport = 1\nport = 2"), @r"
    error: this is not valid TOML
     --> profiles/awq.toml:9:1
      |
    9 | port = 2
      | ^^^^ this was said before
      |
      = help: a key may stand only once in its table, and a table only once in the file: keep one
    ");
}

#[test]
fn unknown_keys() {
    assert_snapshot!(refused("[listen]\nprot = 8001"), @r"
    error: unknown key `prot`
     --> profiles/awq.toml:8:1
      |
    8 | prot = 8001
      | ^^^^ not known in `[listen]`
      |
      = help: did you mean `port`?
    ");
    assert_snapshot!(refused("[limits]\nmax_model_len = 4096"), @r"
    error: unknown key `max_model_len`
     --> profiles/awq.toml:8:1
      |
    8 | max_model_len = 4096
      | ^^^^^^^^^^^^^ not known in `[limits]`
      |
      = help: did you mean `max-model-len`?
    ");
    assert_snapshot!(refused("[memroy]\ngpu = \"16GiB\""), @r"
    error: unknown key `memroy`
     --> profiles/awq.toml:7:2
      |
    7 | [memroy]
      |  ^^^^^^ not known at the top of the file
      |
      = help: did you mean `memory`?
    ");
    assert_snapshot!(refused("[parallelism]\nboxes = 4"), @r"
    error: unknown key `boxes`
     --> profiles/awq.toml:8:1
      |
    8 | boxes = 4
      | ^^^^^ not known in `[parallelism]`
      |
      = help: known in `[parallelism]`: `tensor-parallel-size`, `pipeline-parallel-size` and `gpus`
    ");
    assert_snapshot!(refused("[validation]\nmin-ratio = 0.9"), @r"
    error: unknown key `min-ratio`
     --> profiles/awq.toml:8:1
      |
    8 | min-ratio = 0.9
      | ^^^^^^^^^ not known in `[validation]`
      |
      = help: `min-ratio` belongs into `[validation.baseline]`
    ");
    assert_snapshot!(refused("[listen]\nservice = \"vllm\""), @r#"
    error: unknown key `service`
     --> profiles/awq.toml:8:1
      |
    8 | service = "vllm"
      | ^^^^^^^ not known in `[listen]`
      |
      = help: `service` belongs before the first table
    "#);
}

#[test]
fn missing_keys() {
    assert_snapshot!(shown(""), @r#"
    error: `service` is missing
     --> profiles/awq.toml:1:1
      |
    1 |
      | ^ expected here, before the first table
      |
      = help: add the name of a systemd unit without its suffix, for example `service = "vllm"`

    error: `model` is missing
     --> profiles/awq.toml:1:1
      |
    1 |
      | ^ expected by the end of the file
      |
      = help: add a table that says what to serve, for example `[model]`

    error: `runtime` is missing
     --> profiles/awq.toml:1:1
      |
    1 |
      | ^ expected by the end of the file
      |
      = help: add a table that says which vLLM serves, for example `[runtime]`
    "#);
    assert_snapshot!(shown("service = \"vllm\"\n[model]\nrepo = \"o/n\"\n[runtime]\nvllm = \"0.26.0\"\n"), @r#"
    error: `model.served-name` is missing
     --> profiles/awq.toml:2:2
      |
    2 | [model]
      |  ^^^^^ has no `served-name`
      |
      = help: add the name that clients put into `model`, for example `served-name = "qwen3-next-80b"`
    "#);
    assert_snapshot!(refused("[validation.baseline]\nprofile = \"gptq\""), @r"
    error: `validation.baseline.min-ratio` is missing
     --> profiles/awq.toml:7:13
      |
    7 | [validation.baseline]
      |             ^^^^^^^^ has no `min-ratio`
      |
      = help: add a ratio above 0 and at most 1000, for example `min-ratio = 0.85`
    ");
}

#[test]
fn wrong_types() {
    assert_snapshot!(refused("[listen]\nport = \"8000\""), @r#"
    error: `listen.port` takes a whole number from 1 to 65535
     --> profiles/awq.toml:8:8
      |
    8 | port = "8000"
      |        ^^^^^^ this is a string
      |
      = help: for example `port = 8000`
    "#);
    assert_snapshot!(refused("[memory]\nram = 120"), @r#"
    error: `memory.ram` takes a size with its unit, from 1MiB to 1PiB
     --> profiles/awq.toml:8:7
      |
    8 | ram = 120
      |       ^^^ this is an integer
      |
      = help: for example `ram = "120GiB"`
    "#);
    assert_snapshot!(refused("[listen]\nport = 99999999999999999999"), @r"
    error: `listen.port` takes a whole number from 1 to 65535
     --> profiles/awq.toml:8:8
      |
    8 | port = 99999999999999999999
      |        ^^^^^^^^^^^^^^^^^^^^ too large
      |
      = help: for example `port = 8000`
    ");
    assert_snapshot!(refused("[parallelism]\ntensor-parallel-size = 2.5"), @r"
    error: `parallelism.tensor-parallel-size` takes a number of GPUs from 1 to 64, or `auto`
     --> profiles/awq.toml:8:24
      |
    8 | tensor-parallel-size = 2.5
      |                        ^^^ this is a float
      |
      = help: for example `tensor-parallel-size = 4`
    ");
}

#[test]
fn wrong_types_of_more_than_one_value() {
    assert_snapshot!(refused("[vllm]\narguments = \"--seed 1\""), @r#"
    error: `vllm.arguments` takes an array of strings, each one argument
     --> profiles/awq.toml:8:13
      |
    8 | arguments = "--seed 1"
      |             ^^^^^^^^^^ this is a string
      |
      = help: for example `arguments = ["--generation-config", "vllm"]`
    "#);
    assert_snapshot!(refused("[vllm.environment]\nOMP_NUM_THREADS = 4"), @r#"
    error: `vllm.environment.OMP_NUM_THREADS` takes a string on one line
     --> profiles/awq.toml:8:19
      |
    8 | OMP_NUM_THREADS = 4
      |                   ^ this is an integer
      |
      = help: for example `VLLM_LOGGING_LEVEL = "DEBUG"`
    "#);
    assert_snapshot!(refused("[listen]\nhost = 2026-11-23"), @r#"
    error: `listen.host` takes an IP address of this host
     --> profiles/awq.toml:8:8
      |
    8 | host = 2026-11-23
      |        ^^^^^^^^^^ this is a date or time
      |
      = help: for example `host = "127.0.0.1"`
    "#);
    assert_snapshot!(refused("[[limits]]\nmax-num-seqs = 4"), @r"
    error: `limits` takes a table with context and batch limits
     --> profiles/awq.toml:7:1
      |
    7 | [[limits]]
      | ^^^^^^^^^^ this is an array
      |
      = help: for example `[limits]`
    ");
}
