//! Proposals for published models on usual hosts, word for word.

use super::{
    ANSWERS, Site, cards_of_24_gb,
    checkpoints::{LLAMA3_70B_AWQ, QWEN3_8B_AWQ, QWEN3_30B_A3B_GPTQ, Shape},
};
use crate::inputs::facts;
use awqdeploy::domain::machine::facts::Facts;
use insta::assert_snapshot;

const AWQ: &str = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
const GPTQ: &str = "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ";
/// As Qwen3's: whether it thinks is said with each request.
const MAY_THINK: &str = "{% if enable_thinking is defined and enable_thinking is false %}<think>{% endif %}";

/// Everything that `init --dry-run` prints.
fn shown(repo: &str, shape: &Shape, template: &str, facts: &Facts) -> String {
    let site = Site::new();
    let folder = site.model("model", shape, Some(template));
    site.init(&[repo, "--from", &folder, "--facts", &site.facts(facts), "--dry-run"]).text()
}

/// The text of a profile for a repository whose shape is known without a hub.
fn text(repo: &str, machine: &str) -> String {
    let site = Site::new();
    let document = site.document(&[repo, "--facts", &site.facts(&facts(machine)), "--dry-run"]);
    document["text"].as_str().unwrap().to_owned()
}

#[test]
fn qwen3_8b_awq_on_one_card_of_24_gb() {
    assert_snapshot!(shown("Qwen/Qwen3-8B-AWQ", &QWEN3_8B_AWQ, MAY_THINK, &cards_of_24_gb(1)), @r##"
    Qwen/Qwen3-8B-AWQ: Qwen3ForCausalLM, stored as awq, 5.7 GiB of weights (from `DIR/model`)
    would write DIR/profiles/qwen3-8b-awq.toml

      # Qwen/Qwen3-8B-AWQ on this host. Written by `awqdeploy init`; change what you like.
      # Planned: TP 1 with all weights in VRAM, predicted 131 tokens/s (NVIDIA GeForce RTX 4090, 24.0 GiB).
      service = "vllm"                        # the systemd unit that serves it

      [model]
      repo = "Qwen/Qwen3-8B-AWQ"              # where the files come from
      # The files are here already; each is checked against the lock.
      path = "DIR/model"
      served-name = "qwen3-8b"                # what clients write into `model`

      [runtime]
      vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

      [listen]
      port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

      [limits]
      max-model-len = 16384                   # tokens of a prompt and its answer together; up to 27344 would fit
      max-num-seqs = 4                        # requests that are answered at once; more of them wait

      [vllm]
      # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
      # It answers at once. With `"chat_template_kwargs": {"enable_thinking": true}` a request lets it think.
      arguments = ["--generation-config", "vllm", "--default-chat-template-kwargs", '{"enable_thinking": false}']

      [validation]
      min-decode-tokens-per-second = 47.0     # tokens/s of one answer: half of the 95 that are predicted at least

      [validation.quality]
      min-known-answers = 0.8                 # the share of known questions to answer right

    planned
      tensor parallel          1
      in RAM                   nothing: all weights are in VRAM
      longest context          27344 tokens would fit
      predicted                130.9 tokens/s, one stream (94.8 to at most 189.6; VRAM bandwidth limits it; rates from a table of cards and links)
      with 4 at once           127.9 tokens/s each, 511.4 together
      first token, roughly     0.2 s after a prompt of 128 tokens
    next
      awqdeploy --profiles DIR/profiles lock qwen3-8b-awq
      awqdeploy --profiles DIR/profiles deploy qwen3-8b-awq
    "##);
}

#[test]
fn qwen3_30b_a3b_gptq_on_one_card_of_24_gb() {
    let repo = "Qwen/Qwen3-30B-A3B-GPTQ-Int4";
    assert_snapshot!(shown(repo, &QWEN3_30B_A3B_GPTQ, MAY_THINK, &cards_of_24_gb(1)), @r##"
    Qwen/Qwen3-30B-A3B-GPTQ-Int4: Qwen3MoeForCausalLM, stored as gptq, 15.8 GiB of weights (from `DIR/model`)
    would write DIR/profiles/qwen3-30b-a3b-gptq-int4.toml

      # Qwen/Qwen3-30B-A3B-GPTQ-Int4 on this host. Written by `awqdeploy init`; change what you like.
      # Planned: TP 1 with all weights in VRAM, predicted 165 tokens/s (NVIDIA GeForce RTX 4090, 24.0 GiB).
      service = "vllm"                        # the systemd unit that serves it

      [model]
      repo = "Qwen/Qwen3-30B-A3B-GPTQ-Int4"   # where the files come from
      # The files are here already; each is checked against the lock.
      path = "DIR/model"
      served-name = "qwen3-30b-a3b"           # what clients write into `model`

      [runtime]
      vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

      [listen]
      port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

      [limits]
      max-model-len = 8192                    # tokens of a prompt and its answer together; up to 13920 would fit
      max-num-seqs = 4                        # requests that are answered at once; more of them wait

      [vllm]
      # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
      # It answers at once. With `"chat_template_kwargs": {"enable_thinking": true}` a request lets it think.
      arguments = ["--generation-config", "vllm", "--default-chat-template-kwargs", '{"enable_thinking": false}']

      [validation]
      min-decode-tokens-per-second = 57.0     # tokens/s of one answer: half of the 115 that are predicted at least

      [validation.quality]
      min-known-answers = 0.8                 # the share of known questions to answer right

    planned
      tensor parallel          1
      in RAM                   nothing: all weights are in VRAM
      longest context          13920 tokens would fit
      predicted                164.6 tokens/s, one stream (114.6 to at most 229.2; fixed work of a step limits it; rates from a table of cards and links)
      with 4 at once           110.1 tokens/s each, 440.5 together
      first token, roughly     0.2 s after a prompt of 128 tokens
    next
      awqdeploy --profiles DIR/profiles lock qwen3-30b-a3b-gptq-int4
      awqdeploy --profiles DIR/profiles deploy qwen3-30b-a3b-gptq-int4
    "##);
}

#[test]
fn llama_3_70b_awq_on_two_cards_of_24_gb() {
    let repo = "owner/Meta-Llama-3.1-70B-Instruct-AWQ-INT4";
    assert_snapshot!(shown(repo, &LLAMA3_70B_AWQ, ANSWERS, &cards_of_24_gb(2)), @r##"
    owner/Meta-Llama-3.1-70B-Instruct-AWQ-INT4: LlamaForCausalLM, stored as awq, 37.0 GiB of weights (from `DIR/model`)
    would write DIR/profiles/meta-llama-3-1-70b-instruct-awq-int4.toml

      # owner/Meta-Llama-3.1-70B-Instruct-AWQ-INT4 on this host. Written by `awqdeploy init`; change what you like.
      # Planned: TP 2 with all weights in VRAM, predicted 40 tokens/s (2 × NVIDIA GeForce RTX 4090, 24.0 GiB each).
      service = "vllm"                        # the systemd unit that serves it

      [model]
      # Where the files come from.
      repo = "owner/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"
      # The files are here already; each is checked against the lock.
      path = "DIR/model"
      # What clients write into `model`.
      served-name = "meta-llama-3.1-70b-instruct"

      [runtime]
      vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

      [listen]
      port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

      [limits]
      max-model-len = 8192                    # tokens of a prompt and its answer together; up to 11616 would fit
      max-num-seqs = 1                        # requests that are answered at once; more of them wait

      [vllm]
      # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
      arguments = ["--generation-config", "vllm"]

      [validation]
      min-decode-tokens-per-second = 14.0     # tokens/s of one answer: half of the 29 that are predicted at least

      [validation.quality]
      min-known-answers = 0.8                 # the share of known questions to answer right

    planned
      tensor parallel          2
      in RAM                   nothing: all weights are in VRAM
      longest context          11616 tokens would fit
      predicted                39.8 tokens/s, one stream (29.3 to at most 53.5; VRAM bandwidth limits it; rates from a table of cards and links)
      with 1 at once           39.8 tokens/s each, 39.8 together
      first token, roughly     0.2 s after a prompt of 128 tokens
    warning: 1.8 GiB are left for the KV cache, 1.2 GiB are needed, and the estimate of the rest may be off by so much that 872.4 MiB are missing: vLLM may not start
      help: to be sure, set `limits.max-model-len = 2560`, raise `memory.gpu-memory-utilization`, or add `--enforce-eager` to `vllm.arguments`
    next
      awqdeploy --profiles DIR/profiles lock meta-llama-3-1-70b-instruct-awq-int4
      awqdeploy --profiles DIR/profiles deploy meta-llama-3-1-70b-instruct-awq-int4
    "##);
}

#[test]
fn the_shipped_awq_on_one_card_of_16_gb() {
    assert_snapshot!(text(AWQ, "one-16gb"), @r##"
    # cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit on this host. Written by `awqdeploy init`; change what you like.
    # Planned: TP 1 with 33.0 GiB of experts in RAM, predicted 28 tokens/s (NVIDIA GeForce RTX 4090 Laptop GPU, 16.0 GiB).
    service = "vllm"                        # the systemd unit that serves it

    [model]
    # Where the files come from.
    repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"
    # What clients write into `model`.
    served-name = "qwen3-next-80b-a3b-instruct"

    [runtime]
    vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

    [listen]
    port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

    [limits]
    max-model-len = 16384                   # tokens of a prompt and its answer together; up to 23936 would fit
    max-num-seqs = 4                        # requests that are answered at once; more of them wait

    [vllm]
    # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
    arguments = ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"]
    # As this architecture was measured on a GPU.
    environment = { VLLM_USE_FLASHINFER_SAMPLER = "0", VLLM_USE_DEEP_GEMM = "0" }

    [validation]
    min-decode-tokens-per-second = 10.0     # tokens/s of one answer: half of the 21 that are predicted at least

    [validation.quality]
    min-known-answers = 0.8                 # the share of known questions to answer right
    "##);
}

#[test]
fn the_shipped_awq_on_four_cards_of_16_gb() {
    assert_snapshot!(text(AWQ, "four-16gb"), @r##"
    # cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit on this host. Written by `awqdeploy init`; change what you like.
    # Planned: TP 4 with all weights in VRAM, predicted 118 tokens/s (4 × NVIDIA RTX A4000, 16.0 GiB each).
    service = "vllm"                        # the systemd unit that serves it

    [model]
    # Where the files come from.
    repo = "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit"
    # What clients write into `model`.
    served-name = "qwen3-next-80b-a3b-instruct"

    [runtime]
    vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

    [listen]
    port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

    [limits]
    max-model-len = 32768                   # tokens of a prompt and its answer together; up to 33456 would fit
    max-num-seqs = 4                        # requests that are answered at once; more of them wait

    [vllm]
    # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
    arguments = ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"]
    # As this architecture was measured on a GPU.
    environment = { VLLM_USE_FLASHINFER_SAMPLER = "0", VLLM_USE_DEEP_GEMM = "0" }

    [validation]
    min-decode-tokens-per-second = 40.0     # tokens/s of one answer: half of the 81 that are predicted at least

    [validation.quality]
    min-known-answers = 0.8                 # the share of known questions to answer right
    "##);
}

#[test]
fn the_shipped_gptq_on_one_card_of_16_gb() {
    assert_snapshot!(text(GPTQ, "one-16gb"), @r##"
    # jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ on this host. Written by `awqdeploy init`; change what you like.
    # Planned: TP 1 with 29.0 GiB of experts in RAM, predicted 31 tokens/s (NVIDIA GeForce RTX 4090 Laptop GPU, 16.0 GiB).
    service = "vllm"                        # the systemd unit that serves it

    [model]
    # Where the files come from.
    repo = "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ"
    # What clients write into `model`.
    served-name = "qwen3-next-80b-a3b-instruct"

    [runtime]
    vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

    [listen]
    port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

    [limits]
    max-model-len = 16384                   # tokens of a prompt and its answer together; up to 20672 would fit
    max-num-seqs = 4                        # requests that are answered at once; more of them wait

    [vllm]
    # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
    arguments = ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"]
    # As this architecture was measured on a GPU.
    environment = { VLLM_USE_FLASHINFER_SAMPLER = "0", VLLM_USE_DEEP_GEMM = "0" }

    [validation]
    min-decode-tokens-per-second = 11.0     # tokens/s of one answer: half of the 23 that are predicted at least

    [validation.quality]
    min-known-answers = 0.8                 # the share of known questions to answer right
    "##);
}

#[test]
fn the_shipped_gptq_on_four_cards_of_16_gb() {
    assert_snapshot!(text(GPTQ, "four-16gb"), @r##"
    # jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ on this host. Written by `awqdeploy init`; change what you like.
    # Planned: TP 4 with all weights in VRAM, predicted 122 tokens/s (4 × NVIDIA RTX A4000, 16.0 GiB each).
    service = "vllm"                        # the systemd unit that serves it

    [model]
    # Where the files come from.
    repo = "jart25/Qwen3-Next-80B-A3B-Instruct-Int4-GPTQ"
    # What clients write into `model`.
    served-name = "qwen3-next-80b-a3b-instruct"

    [runtime]
    vllm = "0.26.0"                         # every package of it is locked in runtimes/vllm-0.26.0.toml

    [listen]
    port = 8000                             # on this host only; `host = "0.0.0.0"` lets others connect

    [limits]
    max-model-len = 32768                   # tokens of a prompt and its answer together; up to 53312 would fit
    max-num-seqs = 4                        # requests that are answered at once; more of them wait

    [vllm]
    # Without the sampling defaults of the checkpoint: an answer depends on the request alone.
    arguments = ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"]
    # As this architecture was measured on a GPU.
    environment = { VLLM_USE_FLASHINFER_SAMPLER = "0", VLLM_USE_DEEP_GEMM = "0" }

    [validation]
    min-decode-tokens-per-second = 41.0     # tokens/s of one answer: half of the 83 that are predicted at least

    [validation.quality]
    min-known-answers = 0.8                 # the share of known questions to answer right
    "##);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let site = Site::new();
    let folder = site.model("model", &LLAMA3_70B_AWQ, Some(ANSWERS));
    let facts = site.facts(&cards_of_24_gb(1));
    let refused = site.init(&["owner/Llama-70B", "--from", &folder, "--facts", &facts]).complaint(3);
    assert_snapshot!(refused, @r##"
    error: with TP 1 17.0 GiB of VRAM are missing, with nothing that can be offloaded: weights 37.1 GiB, overhead 944.0 MiB, KV cache 640.0 MiB do not fit into 21.6 GiB, beside which vLLM takes 544.0 MiB
    help: use GPUs with more memory or more of them, a smaller quantisation, or, to keep layers in RAM and be slow, set `memory.offload = "19 GiB"`
    "##);
    assert!(!site.path("profiles").exists());
}

#[test]
fn a_host_without_a_gpu_is_refused() {
    let site = Site::new();
    let refused = site.init(&[AWQ, "--facts", &site.facts(&facts("no-gpu"))]).complaint(3);
    assert_snapshot!(refused, @r##"
    error: this host has no GPU that vLLM could use: no NVIDIA driver
    help: deploy on a host with an NVIDIA GPU, set `runtime.device = "cpu"` for a small model, or try the whole story out with `awqdeploy rehearse`
    "##);
}
