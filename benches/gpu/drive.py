"""Serve configurations with vLLM as awqdeploy plans them, measure each, and write each result at once.

    drive.py PLAN.toml --models DIR --out DIR --awqdeploy FILE [--vllm COMMAND] [--seconds N]

PLAN names waves. The servers of a wave start together, because a start takes minutes of one core; then each is measured
while the others are stopped (SIGSTOP), so that none disturbs it. What a wave needs in seconds is in the plan: one that
does not fit into what is left of `--seconds` is left out. OUT/NAME.json is the result of a configuration.

Each configuration is a profile of awqdeploy, planned by `awqdeploy plan` on this host's facts: what runs is the command line
of the plan. A wave of several servers fixes their KV cache at what was planned, since none of them could measure what is
free, and holds each to its GPU's size (`gpu`) by PyTorch's own limit; a single server gets a ballast instead, which leaves so
much and no more.
"""

import argparse
import asyncio
import json
import os
import pathlib
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import traceback
import urllib.request

from client import Client
from profiles import write_profile

try:
    import pynvml
except ImportError:
    pynvml = None

GIB = 2**30
HERE = pathlib.Path(__file__).parent
FIRST_PORT = 8101
# What a CUDA context takes beside PyTorch's memory.
CONTEXT_GIB = 0.6
OPEN_FILES = 65536
SAMPLE_EVERY = 0.25
STOP_PATIENCE = 12
# A line of vLLM's log that begins a phase of the start, and what the phase is called.
PHASES = {
    "engine": r"Initializing a V1 LLM engine",
    "load": r"Starting to load model",
    "loaded": r"Model loading took",
    "compiled": r"torch\.compile (took|takes)|Compiling a graph",
    "profiled": r"(GPU )?KV cache size",
    "graphs": r"Graph capturing finished",
    "initialised": r"init engine",
    "listening": r"Application startup complete",
}
KEPT = r"Model loading took|Offload|offload|KV cache|Graph captur|torch.compile|init engine|backend|kernel|memory|Error|WARNING|took"


class Gpu:
    """What NVML says of all GPUs together, or nothing where there is none."""

    def __init__(self) -> None:
        self.handles = []
        try:
            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except Exception as problem:
            print("no NVML:", problem, flush=True)

    def used(self) -> int:
        return sum(pynvml.nvmlDeviceGetMemoryInfo(handle).used for handle in self.handles)

    def processes(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for handle in self.handles:
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                found[process.pid] = found.get(process.pid, 0) + (process.usedGpuMemory or 0)
        return found

    def received(self) -> float | None:
        """GB/s over PCIe to the first GPU, in the last 20 ms."""
        try:
            return pynvml.nvmlDeviceGetPcieThroughput(self.handles[0], pynvml.NVML_PCIE_UTIL_RX_BYTES) / 1e6
        except Exception:
            return None


class Server:
    """One configuration: its profile, its plan, its process and what was seen of it."""

    def __init__(self, bench: "Bench", name: str, port: int, settings: dict, alone: bool) -> None:
        self.bench, self.name, self.settings, self.alone = bench, name, settings, alone
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = bench.out / f"{name}.log"
        self.process: subprocess.Popen | None = None
        self.began = 0.0
        self.peak: dict[str, float] = {}
        self.result: dict = {"name": name, "machine": bench.machine, "settings": settings, "alone": alone, "steps": {}}
        folder = bench.models / settings["model"]
        self.vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]

    def save(self) -> None:
        path = self.bench.out / f"{self.name}.json"
        path.with_suffix(".new").write_text(json.dumps(self.result, indent=1))
        path.with_suffix(".new").replace(path)

    def plan(self, profiles: pathlib.Path) -> None:
        write_profile(profiles, self.name, self.port, self.settings, self.bench.models)
        done = subprocess.run(
            [self.bench.awqdeploy, "plan", profiles / f"{self.name}.toml", "--profiles", profiles, "--json"],
            capture_output=True,
            text=True,
        )
        try:
            self.result["plan"] = plan = json.loads(done.stdout)
            self.result["plan"].pop("unit", None)
        except ValueError:
            raise RuntimeError(f"awqdeploy plan: {done.stderr}") from None
        if not plan.get("serve"):
            raise RuntimeError(f"refused: {plan.get('refusal') or plan.get('message')}")

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The plan's command line and environment, with what this machine and this wave need."""
        serve = self.result["plan"]["serve"]
        argv = serve["argv"][serve["argv"].index("serve") :]
        for flag in self.settings.get("drop", []):
            at = argv.index(flag)
            argv[at : at + 2] = []
        environment = {**self.bench.environment, **serve["env"], **self.settings.get("environment", {})}
        memory = self.result["plan"].get("memory") or {}
        if not self.alone and memory.get("kv_cache"):
            argv += ["--kv-cache-memory-bytes", str(memory["kv_cache"])]
        if not self.alone and "gpu" in self.settings and self.bench.fraction_works:
            share = (float(self.settings["gpu"].removesuffix("GiB")) - CONTEXT_GIB) * GIB / self.bench.memory_total
            environment["PYTORCH_ALLOC_CONF"] = f"per_process_memory_fraction:{share:.4f}"
        return self.bench.vllm + argv, environment

    def start(self) -> None:
        argv, environment = self.command()
        self.result |= {"argv": argv, "environment": environment}
        self.began = time.time()
        self.group = Group(self.name)
        # By a shell, since Python code between fork and exec may hang in a program of several threads.
        enter = f"{{ ulimit -n {OPEN_FILES}; echo $$ > {self.group.folder}/cgroup.procs; }} 2> /dev/null"
        self.process = subprocess.Popen(
            ["bash", "-c", f'{enter}; exec "$@"', "bash", *argv],
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        print(f"{clock()} start {self.name}", flush=True)

    def pids(self) -> list[int]:
        """All processes of its session."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid:
                    found.append(int(entry.name))
            except OSError:
                pass
        return found

    def tell(self, what: signal.Signals) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass

    def ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=2).status == 200
        except OSError:
            return False

    def gpu_bytes(self) -> int:
        mine = set(self.pids())
        return sum(used for pid, used in self.bench.gpu.processes().items() if pid in mine)

    def look(self) -> None:
        """One sample of what it takes."""
        if self.process is None or self.process.poll() is not None:
            return
        self.peak["gpu_gib"] = max(self.peak.get("gpu_gib", 0), round(self.gpu_bytes() / GIB, 3))

    def started(self) -> None:
        self.result["startup_s"] = round(time.time() - self.began, 1)
        self.result["gpu_gib_when_ready"] = round(self.gpu_bytes() / GIB, 3)
        self.result["host_used_gib_when_ready"] = round(host_used() / GIB, 2)
        self.read_log()
        self.save()
        print(f"{clock()} ready {self.name} after {self.result['startup_s']} s", flush=True)

    def read_log(self) -> None:
        lines = self.log.read_text(errors="replace").splitlines()
        phases: dict[str, int] = {}
        for line in lines:
            stamp = re.search(r"\d\d-\d\d (\d\d):(\d\d):(\d\d)", line)
            for name, pattern in PHASES.items():
                if stamp and name not in phases and re.search(pattern, line):
                    hour, minute, second = (int(part) for part in stamp.groups())
                    began = time.localtime(self.began)
                    day = (hour - began.tm_hour) * 3600 + (minute - began.tm_min) * 60 + second - began.tm_sec
                    phases[name] = day % 86400
        self.result["phases_s"] = phases
        kept = [re.sub(r"^.*?\] ", "", line)[:300] for line in lines if re.search(KEPT, line)]
        self.result["log"] = list(dict.fromkeys(kept))[:60]

    def failed(self, why: str) -> None:
        self.read_log()
        tail = self.log.read_text(errors="replace").splitlines()
        errors = [line[:400] for line in tail if re.search(r"(Error|Exception)\b.*:|out of memory", line)]
        self.result |= {"failed": why, "errors": errors[:8] + errors[-8:], "tail": [line[:300] for line in tail[-25:]]}
        self.save()
        print(f"{clock()} FAILED {self.name}: {why}\n  " + "\n  ".join(errors[-3:]), flush=True)

    def measure(self) -> None:
        client = Client(self.url, self.settings.get("served", "bench"), self.vocabulary)
        for step in self.settings.get("measure", []):
            began = time.time()
            try:
                asyncio.run(asyncio.wait_for(self.step(step, client), self.settings.get("patience", 150)))
            except Exception as problem:
                self.result["steps"][step] = self.result["steps"].get(step) or {}
                self.result["steps"][step]["failed"] = f"{type(problem).__name__}: {problem}"[:500]
                print(f"{clock()} FAILED {self.name} {step}: {problem!r}", flush=True)
                traceback.print_exc()
            self.result["steps"][step]["took_s"] = round(time.time() - began, 1)
            self.result["peak"] = self.peak
            self.save()
            print(f"{clock()} {self.name} {step}: {brief(self.result['steps'][step])}", flush=True)

    async def step(self, step: str, client: Client) -> None:
        steps = self.result["steps"]
        if step == "speed":
            received = Received(self.bench.gpu)
            async for part in client.speed(self.settings.get("repetitions", 3), self.settings.get("rounds", 2)):
                steps[step] = part
                if "eight" not in part:
                    part["pcie_received_gb_per_second"] = received.stop()
                self.save()
        elif step == "logprobs":
            steps[step] = await client.logprobs()
        elif step == "orphans":
            steps[step] = self.orphans()
        elif step == "sleep":
            steps[step] = {}
            await client.sleep(self.gpu_bytes, steps[step])
        elif step == "validate":
            command = [self.bench.awqdeploy, "validate", "--url", self.url, "--model", client.model, "--json"]
            process = await asyncio.create_subprocess_exec(
                *map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            try:
                output, problem = await process.communicate()
            except asyncio.CancelledError:
                process.kill()
                raise
            document = json.loads(output or b"{}")
            steps[step] = {"status": process.returncode, "document": document}
            if not document:
                steps[step]["problem"] = problem.decode()[-500:]
        else:
            raise ValueError(f"no step `{step}`")

    def orphans(self) -> dict:
        """What is left, and holds how much VRAM, so many seconds after the API server alone was killed. The last step."""
        self.process.kill()
        self.process.wait()
        found, began = {}, time.time()
        for after in (1, 5, 15):
            time.sleep(max(0.0, began + after - time.time()))
            found[f"{after} s"] = {"processes": len(self.pids()), "gpu_gib": round(self.gpu_bytes() / GIB, 2)}
        return found

    def stop(self) -> None:
        if self.process is None:
            return
        began = time.time()
        self.tell(signal.SIGCONT)
        if self.process.poll() is None:
            self.process.terminate()
        while self.pids() and time.time() - began < STOP_PATIENCE:
            self.process.poll()
            time.sleep(0.1)
        self.tell(signal.SIGKILL)
        self.process.wait()
        self.result |= {"stop_s": round(time.time() - began, 1), "peak": self.peak | self.group.leave()}
        self.save()


class Group:
    """A control group, where there are any, to see what memory a service manager would count."""

    def __init__(self, name: str) -> None:
        self.folder = pathlib.Path(f"/sys/fs/cgroup/awqdeploy-bench-{name}")
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


class Received:
    """Samples PCIe until it is stopped."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.samples, self.going = gpu, [], True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while self.going and self.gpu.handles:
            self.samples.append(self.gpu.received() or 0.0)
            time.sleep(0.05)

    def stop(self) -> dict | None:
        self.going = False
        self.thread.join()
        values = sorted(self.samples)
        if not values:
            return None
        return {"median": round(values[len(values) // 2], 2), "high": round(values[-1], 2), "n": len(values)}


BALLAST = """
import sys, time, torch
leave = float(sys.argv[1]) * 2**30
held = []
for device in range(torch.cuda.device_count()):
    with torch.cuda.device(device):
        torch.zeros(1, device='cuda')
        free, _ = torch.cuda.mem_get_info()
        if free > leave:
            held.append(torch.empty(int(free - leave), dtype=torch.uint8, device='cuda'))
        print(torch.cuda.mem_get_info()[0] / 2**30, flush=True)
time.sleep(3600)
"""


class Bench:
    def __init__(self, arguments: argparse.Namespace, plan: dict) -> None:
        self.out, self.models = arguments.out.resolve(), arguments.models.resolve()
        self.runtimes = arguments.runtimes
        self.awqdeploy = arguments.awqdeploy.resolve()
        self.vllm = shlex.split(arguments.vllm)
        self.deadline = time.time() + arguments.seconds
        self.plan = plan
        self.override = {"tensor-parallel-size": arguments.tensor_parallel_size} if arguments.tensor_parallel_size else {}
        self.gpu = Gpu()
        self.memory_total = sum(pynvml.nvmlDeviceGetMemoryInfo(handle).total for handle in self.gpu.handles[:1])
        caches = arguments.caches or self.out / "caches"
        self.environment = {
            "CUDA_CACHE_PATH": f"{caches}/cuda",
            "VLLM_CACHE_ROOT": f"{caches}/vllm",
            "TRITON_CACHE_DIR": f"{caches}/triton",
            "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE / "plug"), os.environ.get("PYTHONPATH")])),
            **plan.get("environment", {}),
        }
        self.fraction_works = bool(self.gpu.handles) and fraction_works(self.memory_total)
        self.machine = self.describe()
        self.servers: list[Server] = []
        self.going = True

    def describe(self) -> dict:
        facts = subprocess.run([self.awqdeploy, "facts"], capture_output=True, text=True).stdout
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
            "limit": "PyTorch's own" if self.fraction_works else "none",
        }

    def sample(self) -> None:
        while self.going:
            for server in list(self.servers):
                try:
                    server.look()
                except Exception as problem:
                    print("sample:", problem, flush=True)
            time.sleep(SAMPLE_EVERY)

    def run(self) -> None:
        threading.Thread(target=self.sample, daemon=True).start()
        for wave in self.plan["wave"]:
            left = self.deadline - time.time()
            if left < wave["seconds"]:
                print(f"{clock()} SKIP {wave['name']}: needs {wave['seconds']} s, {left:.0f} s are left", flush=True)
                continue
            print(f"{clock()} WAVE {wave['name']}", flush=True)
            if "command" in wave:
                self.command(wave, left)
            else:
                self.wave(wave)
        self.going = False

    def command(self, wave: dict, left: float) -> None:
        words = {"out": self.out, "models": self.models, "awqdeploy": self.awqdeploy, "here": HERE}
        words |= {"vllm": shlex.join(self.vllm)}
        environment = {**os.environ, **self.environment}
        with (self.out / f"{wave['name']}.log").open("w") as log:
            process = subprocess.Popen(
                wave["command"].format(**words), shell=True, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            try:
                status = process.wait(min(left, wave.get("patience", left)))
            except subprocess.TimeoutExpired:
                status = "too long"
            finally:
                try:
                    os.killpg(process.pid, signal.SIGTERM)
                    time.sleep(3)
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        print(f"{clock()} {wave['name']}: {status}", flush=True)

    def wave(self, wave: dict) -> None:
        alone = len(wave["servers"]) == 1
        ballast = None
        self.servers = []
        profiles = self.out / "profiles" / wave["name"]
        shutil.copytree(self.runtimes, profiles / "runtimes", dirs_exist_ok=True)
        for number, own in enumerate(wave["servers"]):
            settings = {**self.plan.get("defaults", {}), **own, **self.override}
            server = Server(self, settings["name"], FIRST_PORT + number, settings, alone)
            try:
                server.plan(profiles)
                self.servers.append(server)
            except Exception as problem:
                server.result["failed"] = str(problem)
                server.save()
                print(f"{clock()} FAILED {server.name}: {problem}", flush=True)
        try:
            if alone and self.servers and self.gpu.handles and "gpu" in self.servers[0].settings:
                leave = self.servers[0].settings["gpu"].removesuffix("GiB")
                ballast = subprocess.Popen([sys.executable, "-c", BALLAST, leave], stdout=subprocess.PIPE, text=True)
                self.servers[0].result["gib_free_beside_ballast"] = float(ballast.stdout.readline())
            for server in self.servers:
                server.start()
            ready = self.await_ready(wave)
            for server in ready:
                server.tell(signal.SIGSTOP)
            for server in ready:
                server.tell(signal.SIGCONT)
                time.sleep(1)
                server.measure()
                server.tell(signal.SIGSTOP)
        finally:
            for server in self.servers:
                server.stop()
            if ballast:
                ballast.kill()
                ballast.wait()
            self.await_free()

    def await_ready(self, wave: dict) -> list[Server]:
        waiting, ready = list(self.servers), []
        until = min(time.time() + wave["start"], self.deadline)
        while waiting and time.time() < until:
            for server in list(waiting):
                if server.process.poll() is not None:
                    server.failed(f"ended with {server.process.returncode} after {time.time() - server.began:.0f} s")
                elif server.ready():
                    server.started()
                    ready.append(server)
                else:
                    continue
                waiting.remove(server)
            time.sleep(0.25)
        for server in waiting:
            server.failed(f"not ready after {time.time() - server.began:.0f} s")
            server.stop()
        return ready

    def await_free(self) -> None:
        """The driver gives memory back a little after the processes are gone."""
        for _ in range(40):
            if not self.gpu.handles or self.gpu.used() < 2 * GIB:
                return
            time.sleep(0.25)


def fraction_works(total: int) -> bool:
    """Whether this PyTorch can be held to a share of a GPU from outside."""
    code = "import torch\ntry: torch.empty(int(%d), dtype=torch.uint8, device='cuda')\n" % (total * 0.2)
    code += "except torch.cuda.OutOfMemoryError: print('held')"
    limited = {**os.environ, "PYTORCH_ALLOC_CONF": "per_process_memory_fraction:0.1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=limited)
    print("limit by PyTorch:", done.stdout.strip() or done.stderr[-300:], flush=True)
    return done.stdout.strip() == "held"


def host_used() -> int:
    found = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return (int(found["MemTotal"].split()[0]) - int(found["MemAvailable"].split()[0])) * 1024


def clock() -> str:
    return time.strftime("%H:%M:%S")


def brief(step: dict) -> str:
    """The figures of a step in a line."""
    if "one" in step:
        parts = {"one": step["one"]["decode_tokens_per_second"], "ttft": step["one"]["ttft_s"]}
        parts["eight"] = step.get("eight", {}).get("total_tokens_per_second")
        parts["long"] = step.get("long", {}).get("ttft_s")
        return json.dumps(parts)
    if "document" in step:
        throughput = step["document"].get("throughput") or {}
        failures = step["document"].get("failures")
        return json.dumps({"status": step["status"], "decode": throughput.get("decode_tokens_per_second"), "failures": failures})
    return json.dumps(step)[:400]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--awqdeploy", type=pathlib.Path, required=True)
    parser.add_argument("--vllm", default=f"{sys.executable} -m vllm.entrypoints.cli.main")
    parser.add_argument("--runtimes", type=pathlib.Path, default=HERE / "../../profiles/runtimes", help="vLLM's locks")
    parser.add_argument("--caches", type=pathlib.Path, help="where compiled kernels are kept from run to run")
    parser.add_argument("--tensor-parallel-size", type=int, help="in place of the plan's: to try it on fewer GPUs")
    parser.add_argument("--seconds", type=float, default=86400, help="be done by then")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    Bench(arguments, tomllib.loads(arguments.plan.read_text())).run()
    print(f"{clock()} ALL DONE", flush=True)


if __name__ == "__main__":
    main()
