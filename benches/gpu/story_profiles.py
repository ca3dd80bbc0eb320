"""The profiles of the story: story_profiles.py MODELS OUT cuda|cpu"""

import pathlib
import sys

from drive import write_profile

GPU = {
    "runtime": {"vllm": "0.26.0", "device": "cuda"},
    "gpu": "10GiB",
    "arguments": ["--generation-config", "vllm", "--gdn-prefill-backend", "triton"],
    "profile-environment": {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_USE_DEEP_GEMM": "0"},
}
CPU = {
    "runtime": {"vllm": "0.32.0", "device": "cpu"},
    "arguments": ["--enforce-eager", "--generation-config", "vllm"],
}
GATES = {"output-tokens": 128, "repetitions": 3, "warmups": 1}
PORT = 8090


def main() -> None:
    models, out, device = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    common = {"service": "vllm", "offload": "none", "ram": "30GiB", **(GPU if device == "cuda" else CPU)}
    slow = {**GATES, "min-decode-tokens-per-second": 2.0}
    impossible = {**GATES, "min-decode-tokens-per-second": 10000.0}
    for name, model, gates in (("gptq", "b", slow), ("awq", "a", slow), ("awq-too-fast", "a", impossible)):
        write_profile(out, name, PORT, {**common, "model": model, "validation": gates}, models)


if __name__ == "__main__":
    main()
