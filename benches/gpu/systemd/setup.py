"""The models and profiles of the story: setup.py BENCH KNOWN MODELS PROFILES

BENCH is the folder benches/gpu, KNOWN the one with the `config.json` files that awqdeploy knows. The models A and B have the whole
shape of Qwen3-Next-80B-A3B and no weights. `--tiny` takes models of four layers with small files, and vLLM's stand-in: a
rehearsal of the story without a GPU.
"""

import argparse
import json
import os
import pathlib
import sys

parser = argparse.ArgumentParser()
for name in ("bench", "known", "models", "profiles"):
    parser.add_argument(name, type=pathlib.Path)
parser.add_argument("--two", action="store_true", help="also the profiles for two GPUs")
parser.add_argument("--four", action="store_true", help="also those for four GPUs, 15.9 GiB of each")
arguments = parser.parse_args()
sys.path.insert(0, str(arguments.bench))
import models  # noqa: E402
import profiles  # noqa: E402

# What GPTQ quantises, as in models.py: without files vLLM cannot see it.
awq, gptq = (json.loads((arguments.known / f"qwen3-next-80b-{name}.json").read_text()) for name in ("awq", "gptq"))
gptq["quantization_config"]["modules_in_block_to_quantize"] = models.DENSE
models.write_folder(arguments.models / "A", awq)
models.write_folder(arguments.models / "B", gptq)

common = {
    "service": "vllm",
    **profiles.GPU,
    "runtime": {**profiles.GPU["runtime"], "python": os.environ.get("PY", sys.executable)},
    "more-arguments": ["--load-format", "dummy"],
    "ram": "120GiB",
    "start-patience": "12min",
}
common["profile-environment"] = {**common["profile-environment"], "NVSHMEM_DISABLE_NVLS": "1"}
if "PYTHONPATH" in os.environ:
    common["profile-environment"]["PYTHONPATH"] = os.environ["PYTHONPATH"]


def profile(name: str, model: str, least: float, **settings) -> None:
    gates = {**profiles.GATES, "min-decode-tokens-per-second": least}
    profiles.write_profile(arguments.profiles, name, 8090, {**common, "model": model, "validation": gates, **settings}, arguments.models)


profile("gptq", "B", 80.0, gpu="47GiB", offload="none")
profile("awq-16gb", "A", 30.0, gpu="15.9GiB", offload="auto")
# The same, held to what no card gives: it must be rolled back.
profile("awq-too-fast", "A", 10000.0, gpu="15.9GiB", offload="auto")
profile("awq", "A", 80.0, gpu="52GiB", offload="none")
if arguments.two:
    profile("awq-tp2", "A", 80.0, gpu="29GiB", offload="none", **{"tensor-parallel-size": 2})
if arguments.four:
    four = {"gpu": "15.9GiB", "offload": "none", "tensor-parallel-size": 4}
    profile("gptq-tp4", "B", 80.0, **four)
    profile("awq-tp4", "A", 80.0, **four)
    profile("awq-tp4-too-fast", "A", 10000.0, **four)
    # Ranks that can only talk through RAM, as on cards without NVLink or peer access.
    through_ram = {"profile-environment": {**common["profile-environment"], "NCCL_P2P_DISABLE": "1"}}
    through_ram["more-arguments"] = [*common["more-arguments"], "--disable-custom-all-reduce"]
    profile("awq-tp4-ram", "A", 80.0, **four, **through_ram)
