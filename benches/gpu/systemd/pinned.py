"""How much RAM PyTorch pins for tensors whose size is no power of two: pinned.py OUT.json

Tensors of an expert layer of Qwen3-30B-A3B in 4 bit (192 MiB and 96 MiB) and of Qwen3-Next-80B-A3B (256 and 128 MiB), forty of each model, are pinned as vLLM's
offload does (`pin_memory`). One process for each setting of PyTorch's allocator; which settings this PyTorch knows is read off its library.
"""

import json
import pathlib
import re
import subprocess
import sys

MIB = 1 << 20
LAYERS = {"Qwen3-30B-A3B": (192 * MIB, 96 * MIB), "Qwen3-Next-80B-A3B": (256 * MIB, 128 * MIB)}
TENSORS = 20

ONE = """
import json, sys, torch
torch.zeros(1, device="cuda")
def taken():
    return {k: int(v.split()[0]) >> 10 for k, v in (l.split(":") for l in open("/proc/self/status") if l.startswith(("VmRSS", "RssShmem", "RssAnon")))} | {"used": used()}
def used():
    m = {l.split(":")[0]: int(l.split()[1]) for l in open("/proc/meminfo")}
    return (m["MemTotal"] - m["MemAvailable"]) >> 10
before = taken(); kept = []
for size in json.loads(sys.argv[1]):
    for _ in range(int(sys.argv[2])):
        kept.append(torch.empty(size, dtype=torch.uint8).fill_(1).pin_memory())
after = taken()
print(json.dumps({k: after[k] - before[k] for k in before} | {"asked": sum(t.numel() for t in kept) >> 20, "host": {k: v for k, v in torch.cuda.host_memory_stats().items() if k.startswith(("allocated_bytes.current", "active_bytes.current", "reserved_bytes.current"))}}))
"""


def settings() -> list[str]:
    import torch

    found: set[str] = set()
    for library in pathlib.Path(torch.__file__).parent.glob("lib/lib*.so"):
        if library.name in ("libc10.so", "libc10_cuda.so", "libtorch_cuda.so", "libtorch_cpu.so"):
            found |= {name.decode() for name in re.findall(rb"pinned_[a-z0-9_]{4,40}", library.read_bytes())}
    return sorted(found)


def main() -> None:
    result: dict = {"settings": settings(), "runs": []}
    tries = ["", "pinned_use_cuda_host_register:True"]
    tries += [f"{name}:{value}" for name in result["settings"] if name.endswith("_mb") for value in (1, 64)]
    for setting in tries:
        for model, sizes in LAYERS.items():
            import os

            environment = {**os.environ, "PYTORCH_ALLOC_CONF": setting, "PYTORCH_CUDA_ALLOC_CONF": setting}
            if not setting:
                environment.pop("PYTORCH_ALLOC_CONF"), environment.pop("PYTORCH_CUDA_ALLOC_CONF")
            done = subprocess.run([sys.executable, "-c", ONE, json.dumps(sizes), str(TENSORS)], capture_output=True, text=True, env=environment)
            said = json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-300:]}
            result["runs"].append({"setting": setting, "model": model, "mib": said})
            print(setting, model, said, flush=True)
            pathlib.Path(sys.argv[1]).write_text(json.dumps(result, indent=1))


main()
