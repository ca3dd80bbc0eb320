"""Profiles for the measurements. As a program, those of the story: profiles.py MODELS OUT cuda|cpu"""

import json
import os
import pathlib
import sys

# NVLink multicast is left alone: machines whose NVLink others share may not take it.
NO_MULTICAST = {"NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1", "VLLM_ALLREDUCE_USE_SYMM_MEM": "0"}
GPU = {
    "runtime": {"vllm": "0.26.0", "device": "cuda"},
    "gpu": "10GiB",
    "arguments": ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"],
    "profile-environment": {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_USE_DEEP_GEMM": "0", **NO_MULTICAST},
}
CPU = {
    "runtime": {"vllm": "0.32.0", "device": "cpu"},
    "arguments": ["--enforce-eager", "--generation-config", "vllm"],
}
GATES = {"output-tokens": 128, "repetitions": 3, "warmups": 1}
PORT = 8090


def write_profile(folder: pathlib.Path, name: str, port: int, settings: dict, models: pathlib.Path) -> None:
    """A profile like those that awqdeploy ships, of a service of its own: those of a wave run side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"max-model-len": 4096, "max-num-seqs": 8, "max-num-batched-tokens": 2048} | settings.get("limits", {})
    tables = {
        "model": {
            "repo": f"bench/{settings['model']}",
            "path": str(models / settings["model"]),
            "served-name": settings.get("served", "bench"),
        },
        "runtime": settings["runtime"],
        "listen": {"host": "127.0.0.1", "port": port},
        "parallelism": {"tensor-parallel-size": settings.get("tensor-parallel-size", 1)},
        "memory": {key: settings[key] for key in ("gpu", "ram", "offload") if key in settings},
        "limits": limits,
        "vllm": {"arguments": settings["arguments"] + settings.get("more-arguments", [])},
        "vllm.environment": settings.get("profile-environment", {}),
        "timeouts": {"start": settings.get("start-patience", "10min"), "request": "2min"},
        "validation": settings.get("validation", {}),
    }
    text = f"service = {json.dumps(settings.get('service', name))}\n"
    for table, keys in tables.items():
        text += f"\n[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    (folder / f"{name}.toml").write_text(text)


def main() -> None:
    models, out, device = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    common = {"service": "vllm", "offload": "none", "ram": "30GiB", **(GPU if device == "cuda" else CPU)}
    common["tensor-parallel-size"] = int(os.environ.get("STORY_RANKS", "1"))
    if device == "cuda" and "STORY_GPU" in os.environ:
        common["gpu"] = os.environ["STORY_GPU"]
    # Beside other servers vLLM cannot measure what is free for its cache.
    common["more-arguments"] = os.environ.get("STORY_ARGUMENTS", "").split()
    slow = {**GATES, "min-decode-tokens-per-second": 2.0}
    impossible = {**GATES, "min-decode-tokens-per-second": 10000.0}
    for name, model, gates in (("gptq", "b", slow), ("awq", "a", slow), ("awq-too-fast", "a", impossible)):
        write_profile(out, name, PORT, {**common, "model": model, "validation": gates}, models)


if __name__ == "__main__":
    main()
