"""Serve configurations with vLLM as awqdeploy plans them, measure each, and write each result at once.

    drive.py PLAN.toml --models DIR --out DIR --awqdeploy FILE [--vllm COMMAND] [--seconds N]

PLAN names waves. The servers of a wave start together, because a start takes minutes of one core, and with them the commands
that it names beside them; then servers are measured turn by turn while the others are stopped (SIGSTOP), so that none disturbs
it. Servers of the same `turn` are measured at once: they must be on GPUs of their own. What a wave needs in seconds is in the
plan: one that does not fit into what is left of `--seconds` is left out. OUT/NAME.json is the result of a configuration.

Each configuration is a profile of awqdeploy, planned by `awqdeploy plan` on this host's facts: what runs is the command line
of the plan. Servers beside others have their KV cache fixed at what was planned, since none of them could measure what is
free, and are held to their GPU's size (`gpu`) by PyTorch's own limit; one with `ballast` has a GPU for itself, of which a
ballast leaves so much and no more.
"""

import argparse
import itertools
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib

from machine import GIB, Gpus, clock, describe, is_held_by_fraction
from server import Server

HERE = pathlib.Path(__file__).parent
FIRST_PORT = 8101
SAMPLE_EVERY = 0.25


class Bench:
    def __init__(self, arguments: argparse.Namespace, plan: dict) -> None:
        self.out, self.models = arguments.out.resolve(), arguments.models.resolve()
        self.awqdeploy = arguments.awqdeploy.resolve()
        self.aftermath = arguments.aftermath.resolve() if arguments.aftermath else None
        self.vllm = shlex.split(arguments.vllm)
        self.deadline = time.time() + arguments.seconds
        self.plan = plan
        self.override = {"tensor-parallel-size": arguments.tensor_parallel_size} if arguments.tensor_parallel_size else {}
        self.gpus = Gpus()
        caches = arguments.caches or self.out / "caches"
        self.environment = {
            "CUDA_CACHE_PATH": f"{caches}/cuda",
            "VLLM_CACHE_ROOT": f"{caches}/vllm",
            "TRITON_CACHE_DIR": f"{caches}/triton",
            "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE / "plug"), os.environ.get("PYTHONPATH")])),
            **plan.get("environment", {}),
        }
        self.fraction_works = bool(self.gpus.handles) and is_held_by_fraction(self.gpus.total())
        self.machine = describe(self.awqdeploy, "PyTorch's own" if self.fraction_works else "none")
        self.profiles = self.out / "profiles"
        self.ports = itertools.count(FIRST_PORT)
        self.servers: list[Server] = []
        self.going = True

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
        # Before anything holds VRAM, and so that a refusal shows at once.
        planned = {wave["name"]: self.planned(wave) for wave in self.plan["wave"]}
        for wave in self.plan["wave"]:
            left = self.deadline - time.time()
            if left < wave["seconds"]:
                print(f"{clock()} SKIP {wave['name']}: needs {wave['seconds']} s, {left:.0f} s are left", flush=True)
                continue
            print(f"{clock()} WAVE {wave['name']}", flush=True)
            self.wave(wave, planned[wave["name"]])
        self.going = False

    def planned(self, wave: dict) -> list[Server]:
        servers = []
        for own in wave.get("servers", []):
            settings = {**self.plan.get("defaults", {}), **own, **self.override}
            # So that awqdeploy needs no lock of it, and can ask it (`plan --ask-engine`).
            settings["runtime"] = {**settings["runtime"], "python": sys.executable}
            server = Server(self, settings, next(self.ports))
            try:
                server.plan()
                servers.append(server)
            except Exception as problem:
                server.result["failed"] = str(problem)
                server.save()
                print(f"{clock()} FAILED {server.name}: {problem}", flush=True)
        return servers

    def wave(self, wave: dict, servers: list[Server]) -> None:
        self.servers = servers
        beside = []
        try:
            beside = [Beside(self, command) for command in wave.get("beside", [])]
            for server in servers:
                server.start()
            ready = self.await_ready(wave)
            for command in beside:
                command.end()
            for server in ready:
                server.tell(signal.SIGSTOP)
            turns: dict[int, list[Server]] = {}
            for number, server in enumerate(ready):
                turns.setdefault(server.settings.get("turn", -number), []).append(server)
            for turn in turns.values():
                self.measure(turn)
        finally:
            for server in servers:
                server.stop()
            for command in beside:
                command.kill()
            self.await_free()

    def measure(self, servers: list[Server]) -> None:
        for server in servers:
            server.tell(signal.SIGCONT)
        time.sleep(1)
        threads = [threading.Thread(target=server.measure) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for server in servers:
            server.tell(signal.SIGSTOP)

    def await_ready(self, wave: dict) -> list[Server]:
        waiting, ready = list(self.servers), []
        until = min(time.time() + wave.get("start", 0), self.deadline)
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
        # As in the plan, however they became ready.
        return [server for server in self.servers if server in ready]

    def await_free(self) -> None:
        """The driver gives memory back a little after the processes are gone."""
        for _ in range(40):
            if max(self.gpus.used(), default=0) < 2 * GIB:
                return
            time.sleep(0.25)


class Beside:
    """A command that runs beside the start of a wave."""

    def __init__(self, bench: Bench, settings: dict) -> None:
        self.name = settings["name"]
        self.until = min(bench.deadline, time.time() + settings.get("patience", 86400))
        words = {"out": bench.out, "models": bench.models, "awqdeploy": bench.awqdeploy, "here": HERE}
        words |= {"vllm": shlex.join(bench.vllm), "profiles": bench.profiles}
        self.log = (bench.out / f"{self.name}.log").open("w")
        self.process = subprocess.Popen(
            settings["command"].format(**words),
            shell=True,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, **bench.environment, **settings.get("environment", {})},
            start_new_session=True,
        )
        print(f"{clock()} start {self.name}", flush=True)

    def end(self) -> None:
        try:
            status = self.process.wait(max(0.0, self.until - time.time()))
        except subprocess.TimeoutExpired:
            status = "too long"
        self.kill()
        print(f"{clock()} {self.name}: {status}", flush=True)

    def kill(self) -> None:
        """It and its children."""
        for what in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, what)
            except ProcessLookupError:
                return
            time.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--awqdeploy", type=pathlib.Path, required=True)
    parser.add_argument("--aftermath", type=pathlib.Path, help="the example of that name: what awqdeploy ends of orphans")
    parser.add_argument("--vllm", default=f"{sys.executable} -m vllm.entrypoints.cli.main")
    parser.add_argument("--caches", type=pathlib.Path, help="where compiled kernels are kept from run to run")
    parser.add_argument("--tensor-parallel-size", type=int, help="in place of the plan's: to try it on fewer GPUs")
    parser.add_argument("--seconds", type=float, default=86400, help="be done by then")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    Bench(arguments, tomllib.loads(arguments.plan.read_text())).run()
    print(f"{clock()} ALL DONE", flush=True)


if __name__ == "__main__":
    main()
