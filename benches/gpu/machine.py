"""What the machine says of itself: its GPUs, their link, control groups, versions."""

import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time

try:
    import pynvml
except ImportError:
    pynvml = None

GIB = 2**30


class Gpus:
    """What NVML says, or nothing where there is none."""

    def __init__(self) -> None:
        self.handles = []
        try:
            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception as problem:
            print("no NVML:", problem, flush=True)

    def total(self) -> int:
        """Of the first."""
        return pynvml.nvmlDeviceGetMemoryInfo(self.handles[0]).total if self.handles else 0

    def used(self) -> list[int]:
        return [pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in self.handles]

    def held_by(self, pids: set[int]) -> list[int]:
        """Bytes of each GPU that these processes hold."""
        held = []
        for handle in self.handles:
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            held.append(sum(process.usedGpuMemory or 0 for process in processes if process.pid in pids))
        return held

    def received(self, index: int) -> float | None:
        """GB/s over PCIe to this GPU, in the last 20 ms."""
        try:
            return pynvml.nvmlDeviceGetPcieThroughput(self.handles[index], pynvml.NVML_PCIE_UTIL_RX_BYTES) / 1e6
        except Exception:
            return None


class Received:
    """Samples PCIe until it is stopped."""

    def __init__(self, gpus: Gpus, index: int) -> None:
        self.gpus, self.index, self.samples, self.going = gpus, index, [], True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while self.going and self.gpus.handles:
            self.samples.append(self.gpus.received(self.index) or 0.0)
            time.sleep(0.05)

    def stop(self) -> dict | None:
        self.going = False
        self.thread.join()
        values = sorted(self.samples)
        if not values:
            return None
        return {"median": round(values[len(values) // 2], 2), "high": round(values[-1], 2), "n": len(values)}


class Group:
    """A control group, where there are any, named like a service's: it says what memory a service manager would count,
    and `awqdeploy facts` whose VRAM it is."""

    def __init__(self, name: str) -> None:
        self.unit = f"bench-{name}.service"
        self.folder = pathlib.Path("/sys/fs/cgroup") / self.unit
        try:
            if (self.folder.parent / "cgroup.controllers").exists():
                (self.folder.parent / "cgroup.subtree_control").write_text("+memory")
                self.folder.mkdir(exist_ok=True)
        except OSError:
            pass

    def leave(self) -> dict:
        try:
            found = {"cgroup_gib": round(int((self.folder / "memory.peak").read_text()) / GIB, 2)}
            self.folder.rmdir()
            return found
        except OSError:
            return {}


def host_used() -> int:
    found = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return (int(found["MemTotal"].split()[0]) - int(found["MemAvailable"].split()[0])) * 1024


def is_held_by_fraction(total: int) -> bool:
    """Whether this PyTorch can be held to a share of a GPU from outside."""
    code = "import torch\ntry: torch.empty(int(%d), dtype=torch.uint8, device='cuda')\n" % (total * 0.2)
    code += "except torch.cuda.OutOfMemoryError: print('held')"
    limited = {**os.environ, "PYTORCH_ALLOC_CONF": "per_process_memory_fraction:0.1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=limited)
    print("limit by PyTorch:", done.stdout.strip() or done.stderr[-300:], flush=True)
    return done.stdout.strip() == "held"


def describe(awqdeploy: pathlib.Path, limit: str) -> dict:
    facts = subprocess.run([awqdeploy, "facts"], capture_output=True, text=True).stdout
    versions = subprocess.run(
        [sys.executable, "-c", "import torch, sys; print(torch.__version__, sys.version.split()[0])"],
        capture_output=True,
        text=True,
    ).stdout.split()
    return {
        "facts": json.loads(facts or "{}"),
        "torch": versions[:1],
        "python": versions[1:],
        "kernel": platform.release(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "limit": limit,
    }


def clock() -> str:
    return time.strftime("%H:%M:%S")
