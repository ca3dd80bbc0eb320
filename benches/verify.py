#!/usr/bin/env python3
"""Verification side by side: awqdeploy, sha256sum, openssl and huggingface_hub on the same files, in turn.

    benches/verify.py --awqdeploy target/release/awqdeploy --folder /var/tmp/bench [--gib 6] [--rounds 3] [--cold]

Wall times depend on who else uses the machine; CPU seconds per GB hardly do. GB is 10^9 bytes. The rounds go through
all programs in turn, so that a change of the machine's mood meets them all. The median of the rounds is shown.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

SHARDS = 4
SMALL = 200
HUB = """
import sys
from huggingface_hub.utils.sha import sha_fileobj
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        sha_fileobj(file)
"""


def make(folder: pathlib.Path, gib: float) -> list[pathlib.Path]:
    """Shards of random bytes, and as many small files as a repository has. What is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    size = int(gib * 2**30) // SHARDS
    files = [folder / f"model-{n:05}-of-{SHARDS:05}.safetensors" for n in range(1, SHARDS + 1)]
    for path in files:
        if not path.exists() or path.stat().st_size != size:
            with open("/dev/urandom", "rb") as random, open(path, "wb") as file:
                for _ in range(0, size, 2**20):
                    file.write(random.read(2**20))
                file.truncate(size)
    small = [folder / f"small/{n}.json" for n in range(SMALL)] + [folder / "config.json"]
    (folder / "small").mkdir(exist_ok=True)
    for path in small:
        path.write_text(json.dumps({"name": path.name}) * 50)
    os.sync()
    return files + small


def evict(files: list[pathlib.Path]) -> None:
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm(files: list[pathlib.Path]) -> None:
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.read(2**20):
                pass


def run(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one command and all that it started."""
    before = os.times()
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, errors = child.communicate()
    wall = time.monotonic() - began
    after = os.times()
    if child.returncode != 0:
        sys.exit(f"{command[:4]} ended with {child.returncode}: {errors.decode()}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def contenders(args, folder: pathlib.Path, files: list[pathlib.Path]) -> dict[str, list[str]]:
    profiles = args.folder / "profiles"
    profiles.mkdir(exist_ok=True)
    (profiles / "bench.toml").write_text(
        f"service = 'vllm'\n[model]\nrepo = 'o/n'\npath = '{folder}'\nserved-name = 'n'\n[runtime]\nvllm = '0.26.0'\n"
    )
    ours = [args.awqdeploy, "--root", str(args.folder / "root"), "--profiles", str(profiles), "--progress", "none"]
    subprocess.run([*ours, "lock", "bench"], check=True, stdout=subprocess.DEVNULL)
    paths = [str(path) for path in files]
    cores = str(len(os.sched_getaffinity(0)))
    spread = ["xargs", "-0", "-n1", f"-P{cores}", "-a", str(args.folder / "paths")]
    (args.folder / "paths").write_bytes(b"\0".join(path.encode() for path in paths))
    found = {
        "awqdeploy verify": [*ours, "verify", "bench"],
        "sha256sum": ["sha256sum", *paths],
        f"xargs -P{cores} sha256sum": [*spread, "sha256sum"],
        "openssl dgst": ["openssl", "dgst", "-sha256", *paths],
        f"xargs -P{cores} openssl dgst": [*spread, "openssl", "dgst", "-sha256"],
    }
    if args.hub:
        found["huggingface_hub's hashing"] = [args.hub, "-c", HUB, *paths]
    if args.cold:
        found["dd, direct, no hashing"] = [
            "sh", "-c", 'for f; do dd if="$f" of=/dev/null bs=8M iflag=direct status=none & done; wait', "sh", *paths[:SHARDS],
        ]
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--awqdeploy", required=True, help="the program")
    parser.add_argument("--folder", required=True, type=pathlib.Path, help="where the files are made")
    parser.add_argument("--hub", help="a Python that has huggingface_hub")
    parser.add_argument("--gib", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="take the files out of the page cache before each run")
    args = parser.parse_args()
    args.awqdeploy = str(pathlib.Path(args.awqdeploy).resolve())
    args.folder = args.folder.resolve()
    folder = args.folder / "model"
    files = make(folder, args.gib)
    gigabytes = sum(path.stat().st_size for path in files) / 1e9
    commands = contenders(args, folder, files)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            (evict if args.cold else warm)(files)
            results[name].append(run(command))
    ours = statistics.median(wall for wall, _ in results["awqdeploy verify"])
    print(f"{gigabytes:.2f} GB in {len(files)} files, {'cold' if args.cold else 'warm'}, {args.rounds} rounds, medians\n")
    print("| | wall s | GB/s | CPU s | GB / CPU s | its wall / ours |")
    print("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        wall, cpu = (statistics.median(round[index] for round in rounds) for index in (0, 1))
        print(
            f"| {name} | {wall:.2f} | {gigabytes / wall:.2f} | {cpu:.2f} | {gigabytes / max(cpu, 0.001):.2f} | {wall / ours:.2f} |"
        )


if __name__ == "__main__":
    main()
