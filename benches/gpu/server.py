"""One configuration: its profile, its plan, its process and what was seen of it."""

import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback
import urllib.request

from client import Client
from machine import GIB, Group, Received, clock, host_used
from profiles import write_profile

# What a CUDA context takes beside PyTorch's memory.
CONTEXT_GIB = 0.6
OPEN_FILES = 65536
STOP_PATIENCE = 12
# The driver gives memory back a little after the processes are gone.
FREE_PATIENCE = 20
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
KEPT = r"Model loading took|[Oo]ffload|KV cache|Graph captur|torch.compile|init engine|backend|kernel|memory|all.?reduce|Error|WARNING|took"
KEPT_LINES = 80
# How many streams of copies share the link, in the step `shared-link`.
COPIES = (0, 1, 2, 4)


class Server:
    def __init__(self, bench, settings: dict, port: int) -> None:
        self.bench, self.settings, self.port = bench, settings, port
        self.name = settings["name"]
        self.url = f"http://127.0.0.1:{port}"
        self.log = bench.out / f"{self.name}.log"
        self.process: subprocess.Popen | None = None
        self.ballast: subprocess.Popen | None = None
        self.began = 0.0
        self.peak: dict[str, float] = {}
        self.result: dict = {"name": self.name, "machine": bench.machine, "settings": settings, "steps": {}}
        folder = bench.models / settings["model"]
        self.vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        self.first_gpu = int(str(settings.get("gpus", "0")).split(",")[0])

    def save(self) -> None:
        path = self.bench.out / f"{self.name}.json"
        path.with_suffix(".new").write_text(json.dumps(self.result, indent=1))
        path.with_suffix(".new").replace(path)

    def plan(self) -> None:
        write_profile(self.bench.profiles, self.name, self.port, self.settings, self.bench.models)
        profile = self.bench.profiles / f"{self.name}.toml"
        command = [self.bench.awqdeploy, "plan", profile, "--profiles", self.bench.profiles, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        try:
            self.result["plan"] = plan = json.loads(done.stdout)
            self.result["plan"].pop("unit", None)
        except ValueError:
            raise RuntimeError(f"awqdeploy plan: {done.stderr}") from None
        if not plan.get("serve"):
            raise RuntimeError(f"refused: {plan.get('refusal') or plan.get('message')}")

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The plan's command line and environment, with what this machine needs."""
        serve = self.result["plan"]["serve"]
        argv = serve["argv"][serve["argv"].index("serve") :]
        for flag in self.settings.get("drop", []):
            at = argv.index(flag)
            argv[at : at + 2] = []
        environment = {**self.bench.environment, **serve["env"], **self.settings.get("environment", {})}
        environment |= self.visible()
        memory = self.result["plan"].get("memory") or {}
        # Beside others it can neither measure what is free nor be held by a ballast.
        if not self.settings.get("ballast"):
            if memory.get("kv_cache"):
                argv += ["--kv-cache-memory-bytes", str(memory["kv_cache"])]
            if "gpu" in self.settings and self.bench.fraction_works and not self.settings.get("uncapped"):
                share = (self.gpu_gib() - CONTEXT_GIB) * GIB / self.bench.gpus.total()
                environment["PYTORCH_ALLOC_CONF"] = f"per_process_memory_fraction:{share:.4f}"
        return self.bench.vllm + argv, environment

    def visible(self) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self.settings["gpus"]} if "gpus" in self.settings else {}

    def gpu_gib(self) -> float:
        return float(self.settings["gpu"].removesuffix("GiB"))

    def start(self) -> None:
        argv, environment = self.command()
        self.result |= {"argv": argv, "environment": environment}
        if self.settings.get("ballast") and self.bench.gpus.handles:
            self.load()
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

    def load(self) -> None:
        """Fills its GPUs but for what it may have."""
        script = pathlib.Path(__file__).parent / "ballast.py"
        self.ballast = subprocess.Popen(
            [sys.executable, script, str(self.gpu_gib())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.bench.environment, **self.visible()},
        )
        self.result["ballast"] = json.loads(self.ballast.stdout.readline())

    def ask_ballast(self, command: str) -> dict:
        self.ballast.stdin.write(command + "\n")
        self.ballast.stdin.flush()
        return json.loads(self.ballast.stdout.readline())

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

    def gpu_bytes(self) -> list[int]:
        """Of each GPU."""
        return self.bench.gpus.held_by(set(self.pids()))

    def look(self) -> None:
        """One sample of what it takes."""
        if self.process is None or self.process.poll() is not None:
            return
        held = [round(used / GIB, 3) for used in self.gpu_bytes()]
        self.peak["gpu_gib"] = max([self.peak.get("gpu_gib", 0), *held])

    def started(self) -> None:
        self.result["startup_s"] = round(time.time() - self.began, 1)
        self.result["gpu_gib_when_ready"] = [round(used / GIB, 3) for used in self.gpu_bytes()]
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
        self.result["log"] = list(dict.fromkeys(kept))[:KEPT_LINES]

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
        match step:
            case "speed":
                await self.speed(client)
            case "logprobs":
                steps[step] = await client.logprobs()
            case "facts":
                steps[step] = self.facts()
            case "orphans":
                steps[step] = self.orphans()
            case "shared-link":
                steps[step] = {}
                await self.shared_link(client, steps[step])
            case "sleep":
                steps[step] = {}
                await client.sleep(lambda: max(self.gpu_bytes(), default=0), steps[step])
            case "validate":
                steps[step] = await self.validate(client)
            case _:
                raise ValueError(f"no step `{step}`")

    async def speed(self, client: Client) -> None:
        received = Received(self.bench.gpus, self.first_gpu)
        repetitions, rounds = self.settings.get("repetitions", 3), self.settings.get("rounds", 2)
        async for part in client.speed(repetitions, rounds, self.settings.get("long", True)):
            self.result["steps"]["speed"] = part
            if "eight" not in part:
                part["pcie_received_gb_per_second"] = received.stop()
            self.save()

    async def validate(self, client: Client) -> dict:
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
        passed = sum(check["verdict"] == "pass" for check in document.get("checks", []))
        kept = {key: document[key] for key in ("verdict", "throughput", "failures", "doubts") if key in document}
        found = {"status": process.returncode, "document": kept | {"checks": passed}}
        return found if document else found | {"problem": problem.decode()[-500:]}

    async def shared_link(self, client: Client, found: dict) -> None:
        """One stream beside copies that take their share of the link, and what a kernel reads beside the same copies."""
        for streams in COPIES:
            self.ask_ballast(f"copies {streams}")
            # Never both: the kernel would take its share of the link, too.
            before = self.ask_ballast("read")
            decode = [await client.once() for _ in range(3)]
            found[str(streams)] = {"read": before, "decode_tokens_per_second": sorted(decode)}
            self.save()
        self.ask_ballast("copies 0")

    def facts(self) -> dict:
        """Whom `awqdeploy facts` names as holders of VRAM, of this server's processes."""
        done = subprocess.run([self.bench.awqdeploy, "facts"], capture_output=True, text=True)
        gpus = json.loads(done.stdout)["gpus"]
        of_unit = [[each for each in gpu["processes"] if each["unit"] == self.group.unit] for gpu in gpus]
        return {"unit": self.group.unit, "processes": of_unit}

    def orphans(self) -> dict:
        """What is left, and holds how much VRAM, so many seconds after the API server alone was killed; then what awqdeploy
        ends of it, and how long that takes. The last step."""
        self.process.kill()
        self.process.wait()
        found, began = {}, time.time()
        for after in (1, 5, 15):
            time.sleep(max(0.0, began + after - time.time()))
            held = [round(used / GIB, 2) for used in self.gpu_bytes()]
            found[f"{after} s"] = {"processes": len(self.pids()), "gpu_gib": held}
        if self.bench.aftermath:
            command = [self.bench.aftermath, self.group.unit, self.bench.out]
            done = subprocess.run(command, capture_output=True, text=True)
            found["aftermath"] = json.loads(done.stdout or "{}") | {"status": done.returncode, "said": done.stderr[-300:]}
            found["then"] = {"processes": len(self.pids()), "gpu_gib": [round(used / GIB, 2) for used in self.gpu_bytes()]}
        return found

    def stop(self) -> None:
        if self.process is None:
            return
        began = time.time()
        self.tell(signal.SIGCONT)
        mine = set(self.pids())
        if self.process.poll() is None:
            self.process.terminate()
        while self.pids() and time.time() - began < STOP_PATIENCE:
            self.process.poll()
            time.sleep(0.1)
        self.tell(signal.SIGKILL)
        self.process.wait()
        gone = time.time()
        while any(self.bench.gpus.held_by(mine)) and time.time() - gone < FREE_PATIENCE:
            time.sleep(0.05)
        self.result |= {"stop_s": round(gone - began, 1), "vram_free_after_s": round(time.time() - gone, 2)}
        self.result["peak"] = self.peak | self.group.leave()
        if self.ballast:
            self.ballast.kill()
            self.ballast.wait()
        self.save()


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
