# One profile, as options: the keys of a profile's file under their own names, with what docs/profile.md says of them. What a
# value must be beyond its type, the program says when the system is built.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  # Left out of the file unless it is set: the program knows its own defaults.
  optional =
    type: description: example:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description example;
    };
  # Must be said, here or in the file of that name.
  required =
    type: description: example:
    optional type "${description} Required, here or in the file." example;
  count = types.ints.positive;
in
{
  options = {
    service =
      required types.str
        "Name of the systemd unit, without its suffix. Profiles that replace each other share it."
        "vllm";

    model = {
      repo =
        required types.str "Repository on the hub, as `owner/name`."
          "cyankiwi/Qwen3-Next-80B-A3B-Instruct-AWQ-4bit";
      alternatives =
        optional (types.listOf types.str)
          "Repositories with the same files, asked when the first does not give them."
          [
            "owner/copy-of-the-same-files"
          ];
      revision = optional types.str "Branch, tag or commit. What counts is the lock." "main";
      path =
        optional types.str
          "Folder on the host that has the files already. A string: a path would be copied into the Nix store."
          "/srv/models/awq";
      signed-by =
        optional types.str
          "File on the host with the public key of whoever signs the model (OpenSSF model signing)."
          "/etc/awqdeploy/maker.pem";
      served-name = required types.str "Name that clients put into `model`." "qwen3-next-80b";
      verify-at-start = optional (types.enum [
        "memo"
        "full"
      ]) "What the service hashes before each start." "memo";
    };

    runtime = {
      vllm = required types.str "Version of vLLM. Its lock is in the directory's `runtimes/`." "0.26.0";
      device = optional (types.enum [
        "cuda"
        "cpu"
      ]) "What it computes on." "cuda";
      python =
        optional types.str
          "Interpreter of a vLLM that was installed by hand, in place of the locked one; nothing pins it. `system`: the host's, for the locked wheels where uv installs them."
          "/srv/vllm/bin/python";
    };

    listen = {
      host = optional types.str "IP address of the host that the API listens on." "127.0.0.1";
      port = optional types.port "Port of the API." 8000;
    };

    parallelism = {
      tensor-parallel-size = optional (types.either (types.ints.between 1 64) (
        types.enum [ "auto" ]
      )) "How many GPUs share a layer." 4;
      pipeline-parallel-size = optional (types.either (types.ints.between 1 64) (
        types.enum [ "auto" ]
      )) "How many stages of GPUs share the layers." 2;
      gpus =
        optional (types.listOf (types.either types.ints.unsigned types.str))
          "The GPUs that may be used, by the numbers of nvidia-smi or by UUID."
          [
            0
            1
          ];
    };

    memory = {
      gpu = optional types.str "What may be used of each GPU." "16GiB";
      ram = optional types.str "What may be used of the host's memory." "120GiB";
      gpu-memory-utilization =
        optional (types.numbers.between 0 1) "Share of each GPU that vLLM takes."
          0.9;
      offload = optional types.str "Weights kept in RAM: `auto`, `none`, or a size per GPU." "auto";
    };

    limits = {
      max-model-len = optional count "Tokens of one request and its answer." 8192;
      max-num-seqs = optional count "Requests answered at once." 4;
      max-num-batched-tokens = optional count "Tokens of one step." 4096;
    };

    vllm = {
      arguments = optional (types.listOf types.str) "What else vLLM is given." [
        "--generation-config"
        "vllm"
      ];
      environment = optional (types.attrsOf types.str) "Variables of vLLM." {
        VLLM_LOGGING_LEVEL = "DEBUG";
      };
    };

    secrets = {
      api-key-file =
        optional types.str
          "File with the key that clients must show, which only root reads. A string, as `model.path`."
          "/etc/awqdeploy/secrets/api-key";
      hub-token-file =
        optional types.str "File with the hub's token for the engine, which only root reads. A string, too."
          "/etc/awqdeploy/secrets/hub-token";
    };

    timeouts = {
      start = optional types.str "Time until the first verified answer." "20min";
      request = optional types.str "Time for one request of a validation." "5min";
    };

    validation = {
      min-decode-tokens-per-second =
        optional (types.numbers.between 0 1000000) "Floor of one stream."
          5.0;
      output-tokens = optional count "Tokens of each measured answer." 128;
      repetitions = optional count "How often it is measured." 3;
      warmups = optional types.ints.unsigned "Requests before that." 1;
      baseline = {
        profile = optional types.str "Profile whose speed this one is compared with." "gptq";
        min-ratio = optional (types.numbers.between 0 1000) "Least share of that speed." 0.85;
        required = optional types.bool "Whether it fails where that profile was never measured." false;
      };
      quality = {
        min-known-answers = optional (types.numbers.between 0 1) "Least share of known answers." 0.8;
        max-perplexity-ratio =
          optional (types.numbers.between 0 1000)
            "Most that the perplexity of a known text may be, as a multiple of the baseline's."
            1.1;
        max-cut-answers =
          optional (types.numbers.between 0 1)
            "Most answers that may be cut off, where there is no baseline to compare with, as a share."
            0.5;
        max-divergence =
          optional (types.numbers.between 0 1000)
            "Most that its expectations may diverge from the baseline's, nats a token."
            0.15;
        max-divergence-same-weights =
          optional (types.numbers.between 0 1000)
            "Most that its expectations may diverge from a record of the same weights, nats a token."
            0.005;
        required = optional types.bool "Whether a limit that cannot be judged fails." false;
      };
      sweep = {
        prompt-tokens =
          optional (types.listOf types.ints.positive) "Lengths of prompts whose TTFT is measured, rising."
            [
              128
              1024
              4096
            ];
        concurrency =
          optional (types.listOf types.ints.positive) "Numbers of streams at once that are measured, rising."
            [
              1
              2
              4
              8
            ];
        time = optional types.str "Time for all of the sweep." "1min";
      };
      arrivals = {
        rate = optional (types.numbers.between 0 1000) "Requests that come each second." 0.5;
        time = optional types.str "How long they come." "2min";
        max-ttft-ms =
          optional (types.numbers.between 0 3600000) "Most time to the first token of a good answer."
            2000;
        max-tpot-ms =
          optional (types.numbers.between 0 3600000) "Most time for each further token of a good answer."
            250;
        max-e2el-ms =
          optional (types.numbers.between 0 3600000) "Most time to the last token of a good answer."
            60000;
        min-goodput = optional (types.numbers.between 0 1) "Least share of good answers." 0.9;
      };
    };

    tolerances =
      let
        share = optional (types.numbers.between 0 1);
      in
      {
        weights = share "How far the weights on a GPU may be from the plan, as a share of it." 0.02;
        offload = share "How much less than planned may be offloaded." 0.05;
        kv-cache = share "How many fewer tokens than planned the KV cache may hold." 0.05;
        vram = share "How much more VRAM than planned the service may hold." 0.05;
        ram = share "How much more RAM than planned the service may hold." 0.25;
      };

    watch = {
      minutes =
        optional types.ints.unsigned "For how long it is watched after the commit; 0 is not at all."
          10;
      every = optional types.str "How often it is asked for a short completion meanwhile." "15s";
      max-ttft = optional types.str "Longest that most users may wait for their first token." "30s";
    };
  };
}
