//! Values that cannot be.

use super::{changed, refused};
use insta::assert_snapshot;

#[test]
fn verification_at_start() {
    assert_snapshot!(changed("served-name", "verify-at-start = \"never\"\nserved-name"), @r#"
    error: `model.verify-at-start` takes `memo` or `full`
     --> profiles/awq.toml:4:19
      |
    4 | verify-at-start = "never"
      |                   ^^^^^^^ it cannot be left out
      |
      = help: `memo` costs an unchanged model next to nothing
    "#);
    assert_snapshot!(changed("served-name", "verify-at-start = \"size\"\nserved-name"), @r#"
    error: `model.verify-at-start` takes `memo` or `full`
     --> profiles/awq.toml:4:19
      |
    4 | verify-at-start = "size"
      |                   ^^^^^^ neither `memo` nor `full`
      |
      = help: for example `verify-at-start = "memo"`
    "#);
}

#[test]
fn names() {
    assert_snapshot!(changed("service = \"vllm\"", "service = \"vllm.service\""), @r#"
    error: `service` takes the name of a systemd unit without its suffix
     --> profiles/awq.toml:1:11
      |
    1 | service = "vllm.service"
      |           ^^^^^^^^^^^^^^ has a suffix
      |
      = help: leave it out: `service = "vllm"`
    "#);
    assert_snapshot!(changed("service = \"vllm\"", "service = \"my model\""), @r#"
    error: `service` takes the name of a systemd unit without its suffix
     --> profiles/awq.toml:1:11
      |
    1 | service = "my model"
      |           ^^^^^^^^^^ contains a space: a unit's name is letters, digits, `-`, `_` and `.`
      |
      = help: for example `service = "vllm"`
    "#);
    assert_snapshot!(changed("service = \"vllm\"", "service = \"\""), @r#"
    error: `service` takes the name of a systemd unit without its suffix
     --> profiles/awq.toml:1:11
      |
    1 | service = ""
      |           ^^ must begin with a letter or digit
      |
      = help: for example `service = "vllm"`
    "#);
    assert_snapshot!(changed("owner/name", "name"), @r#"
    error: `model.repo` takes a repository as `owner/name`
     --> profiles/awq.toml:3:8
      |
    3 | repo = "name"
      |        ^^^^^^ the owner is missing
      |
      = help: for example `repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"`
    "#);
    assert_snapshot!(changed("owner/name", "https://hub.example/owner/name/tree/main"), @r#"
    error: `model.repo` takes a repository as `owner/name`
     --> profiles/awq.toml:3:8
      |
    3 | repo = "https://hub.example/owner/name/tree/main"
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this is a URL
      |
      = help: write `repo = "owner/name"`
    "#);
    assert_snapshot!(changed("owner/name", "/srv/models/awq"), @r#"
    error: `model.repo` takes a repository as `owner/name`
     --> profiles/awq.toml:3:8
      |
    3 | repo = "/srv/models/awq"
      |        ^^^^^^^^^^^^^^^^^ this is a folder
      |
      = help: a local folder goes into `path`; `repo` still says what it is a copy of
    "#);
}

#[test]
fn versions() {
    assert_snapshot!(changed("0.26.0", "v0.26.0"), @r#"
    error: `runtime.vllm` takes a released version of vLLM
     --> profiles/awq.toml:6:8
      |
    6 | vllm = "v0.26.0"
      |        ^^^^^^^^^ leave out the `v`
      |
      = help: write `vllm = "0.26.0"`
    "#);
    assert_snapshot!(changed("0.26.0", ">=0.26"), @r#"
    error: `runtime.vllm` takes a released version of vLLM
     --> profiles/awq.toml:6:8
      |
    6 | vllm = ">=0.26"
      |        ^^^^^^^^ not one version
      |
      = help: a deployment is reproducible only from one exact version, for example `vllm = "0.26.0"`
    "#);
    assert_snapshot!(changed("0.26.0", "0.26.0+cu130"), @r#"
    error: `runtime.vllm` takes a released version of vLLM
     --> profiles/awq.toml:6:8
      |
    6 | vllm = "0.26.0+cu130"
      |        ^^^^^^^^^^^^^^ leave out the local part: the lock decides the build
      |
      = help: write `vllm = "0.26.0"`
    "#);
    assert_snapshot!(changed("0.26.0", "newest"), @r#"
    error: `runtime.vllm` takes a released version of vLLM
     --> profiles/awq.toml:6:8
      |
    6 | vllm = "newest"
      |        ^^^^^^^^ not a version
      |
      = help: for example `vllm = "0.26.0"`
    "#);
    assert_snapshot!(changed("\"0.26.0\"", "\"0.26.0\"\ndevice = \"gpu\""), @r#"
    error: `runtime.device` takes `cuda` or `cpu`
     --> profiles/awq.toml:7:10
      |
    7 | device = "gpu"
      |          ^^^^^ not a device
      |
      = help: write `device = "cuda"`
    "#);
}

#[test]
fn paths_and_revisions() {
    assert_snapshot!(changed("[model]", "[model]\npath = \"../models/awq\""), @r#"
    error: `model.path` takes an absolute folder
     --> profiles/awq.toml:3:8
      |
    3 | path = "../models/awq"
      |        ^^^^^^^^^^^^^^^ this is a relative path
      |
      = help: write the whole path: the service does not run where you are
    "#);
    assert_snapshot!(changed("[model]", "[model]\nrevision = \"main branch\""), @r#"
    error: `model.revision` takes a branch, tag or commit
     --> profiles/awq.toml:3:12
      |
    3 | revision = "main branch"
      |            ^^^^^^^^^^^^^ contains a space: a revision is letters, digits, `-`, `_`, `.` and `/`
      |
      = help: for example `revision = "main"`
    "#);
}

#[test]
fn addresses_and_parallelism() {
    assert_snapshot!(refused("[listen]\nport = 0"), @r"
    error: `listen.port` takes a whole number from 1 to 65535
     --> profiles/awq.toml:8:8
      |
    8 | port = 0
      |        ^ must be at least 1
      |
      = help: for example `port = 8000`
    ");
    assert_snapshot!(refused("[listen]\nhost = \"localhost\""), @r#"
    error: `listen.host` takes an IP address of this host
     --> profiles/awq.toml:8:8
      |
    8 | host = "localhost"
      |        ^^^^^^^^^^^ this is a name
      |
      = help: write `host = "127.0.0.1"`
    "#);
    assert_snapshot!(refused("[parallelism]\ntensor-parallel-size = 0"), @r"
    error: `parallelism.tensor-parallel-size` takes a number of GPUs from 1 to 64, or `auto`
     --> profiles/awq.toml:8:24
      |
    8 | tensor-parallel-size = 0
      |                        ^ must be at least 1
      |
      = help: for example `tensor-parallel-size = 4`
    ");
    assert_snapshot!(refused("[parallelism]\ntensor-parallel-size = 65"), @r"
    error: `parallelism.tensor-parallel-size` takes a number of GPUs from 1 to 64, or `auto`
     --> profiles/awq.toml:8:24
      |
    8 | tensor-parallel-size = 65
      |                        ^^ must be at most 64
      |
      = help: for example `tensor-parallel-size = 4`
    ");
    assert_snapshot!(refused("[parallelism]\ntensor-parallel-size = \"4\""), @r#"
    error: `parallelism.tensor-parallel-size` takes a number of GPUs from 1 to 64, or `auto`
     --> profiles/awq.toml:8:24
      |
    8 | tensor-parallel-size = "4"
      |                        ^^^ this is a string
      |
      = help: leave out the quotes: `tensor-parallel-size = 4`
    "#);
}

#[test]
fn sizes_and_limits() {
    assert_snapshot!(refused("[memory]\ngpu = \"16\""), @r#"
    error: `memory.gpu` takes a size with its unit, from 1MiB to 1PiB
     --> profiles/awq.toml:8:7
      |
    8 | gpu = "16"
      |       ^^^^ has no unit
      |
      = help: did you mean `16GiB`?
    "#);
    assert_snapshot!(refused("[memory]\ngpu = \"lots\""), @r#"
    error: `memory.gpu` takes a size with its unit, from 1MiB to 1PiB
     --> profiles/awq.toml:8:7
      |
    8 | gpu = "lots"
      |       ^^^^^^ not a size
      |
      = help: for example `gpu = "16GiB"`
    "#);
    assert_snapshot!(refused("[memory]\ngpu-memory-utilization = 90"), @r"
    error: `memory.gpu-memory-utilization` takes a share above 0 and at most 1
     --> profiles/awq.toml:8:26
      |
    8 | gpu-memory-utilization = 90
      |                          ^^ must be at most 1
      |
      = help: for example `gpu-memory-utilization = 0.9`
    ");
    assert_snapshot!(refused("[memory]\noffload = \"0GiB\""), @r#"
    error: `memory.offload` takes `auto`, `none`, or a size per GPU from 1MiB to 1PiB
     --> profiles/awq.toml:8:11
      |
    8 | offload = "0GiB"
      |           ^^^^^^ nothing is written as a word
      |
      = help: write `offload = "none"`
    "#);
    assert_snapshot!(refused("[limits]\nmax-model-len = 0"), @r"
    error: `limits.max-model-len` takes a whole number of tokens from 1 to 16777216
     --> profiles/awq.toml:8:17
      |
    8 | max-model-len = 0
      |                 ^ must be at least 1
      |
      = help: for example `max-model-len = 8192`
    ");
}

#[test]
fn limits_that_contradict_each_other() {
    assert_snapshot!(refused("[limits]\nmax-num-seqs = 16\nmax-num-batched-tokens = 8"), @r"
    error: `limits.max-num-batched-tokens` must not be less than `limits.max-num-seqs`
     --> profiles/awq.toml:9:26
      |
    9 | max-num-batched-tokens = 8
      |                          ^ 8 tokens for 16 requests
      |
      = help: write `max-num-batched-tokens = 16` or more, or allow fewer requests
    ");
    assert_snapshot!(refused("[limits]\nmax-num-seqs = 5000"), @r"
    error: `limits.max-num-batched-tokens` must not be less than `limits.max-num-seqs`
     --> profiles/awq.toml:8:16
      |
    8 | max-num-seqs = 5000
      |                ^^^^ 4096 tokens for 5000 requests
      |
      = help: write `max-num-batched-tokens = 5000` or more, or allow fewer requests
    ");
    assert_snapshot!(refused("[limits]\nmax-model-len = 128\n[validation]\noutput-tokens = 128"), @r"
    error: `validation.output-tokens` must be less than `limits.max-model-len`
      --> profiles/awq.toml:10:17
       |
    10 | output-tokens = 128
       |                 ^^^ 128 tokens do not fit into a context of 128
       |
       = help: measure fewer tokens, or allow a longer context
    ");
}

#[test]
fn durations() {
    assert_snapshot!(refused("[timeouts]\nstart = \"300\""), @r#"
    error: `timeouts.start` takes a duration with its unit, from 1s to 24h
     --> profiles/awq.toml:8:9
      |
    8 | start = "300"
      |         ^^^^^ has no unit
      |
      = help: did you mean `300s`?
    "#);
    assert_snapshot!(refused("[timeouts]\nstart = \"-5min\""), @r#"
    error: `timeouts.start` takes a duration with its unit, from 1s to 24h
     --> profiles/awq.toml:8:9
      |
    8 | start = "-5min"
      |         ^^^^^^^ must be at least 1s
      |
      = help: for example `start = "20min"`
    "#);
    assert_snapshot!(refused("[timeouts]\nrequest = \"2h\""), @r#"
    error: `timeouts.request` takes a duration with its unit, from 1s to 1h
     --> profiles/awq.toml:8:11
      |
    8 | request = "2h"
      |           ^^^^ must be at most 1h
      |
      = help: for example `request = "5min"`
    "#);
}

#[test]
fn gates() {
    assert_snapshot!(refused("[validation]\nrepetitions = 0\noutput-tokens = 1"), @r"
    error: `validation.repetitions` takes a whole number of requests from 1 to 1000
     --> profiles/awq.toml:8:15
      |
    8 | repetitions = 0
      |               ^ must be at least 1
      |
      = help: for example `repetitions = 3`

    error: `validation.output-tokens` takes a whole number of tokens from 2 to 65536
     --> profiles/awq.toml:9:17
      |
    9 | output-tokens = 1
      |                 ^ must be at least 2
      |
      = help: for example `output-tokens = 128`
    ");
    assert_snapshot!(refused("[validation]\nmin-decode-tokens-per-second = nan"), @r"
    error: `validation.min-decode-tokens-per-second` takes a rate above 0 and at most 1000000 tokens/s
     --> profiles/awq.toml:8:32
      |
    8 | min-decode-tokens-per-second = nan
      |                                ^^^ not a number
      |
      = help: for example `min-decode-tokens-per-second = 5.0`
    ");
    assert_snapshot!(refused("[validation.baseline]\nprofile = \"awq\"\nmin-ratio = 0.85"), @r#"
    error: `validation.baseline.profile` takes the name of another profile
     --> profiles/awq.toml:8:11
      |
    8 | profile = "awq"
      |           ^^^^^ this is the profile itself
      |
      = help: name the profile that is served today, or leave out the table
    "#);
    assert_snapshot!(refused("[validation.baseline]\nprofile = \"gptq\"\nmin-ratio = 0"), @r"
    error: `validation.baseline.min-ratio` takes a ratio above 0 and at most 1000
     --> profiles/awq.toml:9:13
      |
    9 | min-ratio = 0
      |             ^ must be above 0
      |
      = help: for example `min-ratio = 0.85`
    ");
    assert_snapshot!(refused("[validation.quality]\nmin-known-answers = 80"), @r"
    error: `validation.quality.min-known-answers` takes a share from 0 to 1
     --> profiles/awq.toml:8:21
      |
    8 | min-known-answers = 80
      |                     ^^ must be at most 1
      |
      = help: for example `min-known-answers = 0.8`
    ");
}
