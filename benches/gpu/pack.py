"""Pack vLLM for a GPU machine that has PyTorch and no network: pack.py WHEEL OUT

Writes OUT/site.tar.xz: vLLM's wheel without what a Hopper GPU (sm_90) never runs, and the packages of packages.txt (`--packages`: others).
304 MB of wheel and 190 MB of packages become about 70 MB. There, unpack it and set PYTHONPATH to the folder `site`.
With `--part BYTES` the archive is cut: `cat site.tar.xz.* | tar xJ`.

Needs uv, readelf, tar and xz. A machine with the network needs none of this: install vllm==0.26.0 and go on with drive.py.
"""

import argparse
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
PYTHON = "3.12"
ARCHITECTURE = 90
# Shared objects that Qwen3-Next in 4 bit runs on sm_90. The others are for other models, GPUs and Python versions.
OBJECTS = re.compile(r"^vllm/(vllm_flash_attn/)?(_C|_moe_C|_vllm_fa3_C|cumem_allocator|fs_io_C|spinloop|_rust_tool_parser)(_stable_libtorch)?\.")
FATBIN, ELF, PTX = 0xBA55ED50, 2, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--packages", type=pathlib.Path, default=HERE / "packages.txt")
    parser.add_argument("--part", type=int, help="cut the archive into parts of so many bytes")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder) / "site"
        packages(arguments.uv, arguments.packages, site)
        wheel(arguments.wheel, site)
        archive = (arguments.out / "site.tar.xz").resolve()
        subprocess.run(["tar", "-C", folder, "--sort=name", "-cf", archive.with_suffix(""), "site"], check=True)
    subprocess.run(["xz", "-f", "-6", "-T2", archive.with_suffix("")], check=True)
    print(f"{archive.name}: {archive.stat().st_size} bytes")
    if arguments.part:
        subprocess.run(["split", "-d", "-b", str(arguments.part), archive, f"{archive}."], check=True)
        archive.unlink()


def packages(uv: str, wanted: pathlib.Path, site: pathlib.Path) -> None:
    target = ["--target", site, "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_39"]
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy", *target]
    subprocess.run([*command, "--requirement", wanted], check=True)
    # Tokenizers of Mistral's models: 35 MB that nothing here reads.
    shutil.rmtree(site / "mistral_common/data", ignore_errors=True)


def wheel(path: pathlib.Path, site: pathlib.Path) -> None:
    with zipfile.ZipFile(path) as content:
        for name in content.namelist():
            parts = name.split("/")
            dropped = "include" in parts or parts[-1] == "vllm-rs"
            if dropped or (name.endswith(".so") and not OBJECTS.search(name)):
                continue
            content.extract(name, site)
    for shared in site.glob("vllm/**/*.so"):
        thin(shared)


def thin(shared: pathlib.Path) -> None:
    """Zeroes the GPU code of other architectures in place, so that the file packs small. Offsets stay as they are."""
    sections = subprocess.run(["readelf", "-SW", shared], check=True, capture_output=True, text=True).stdout
    data = bytearray(shared.read_bytes())
    for line in re.finditer(r"\] (\S*fatbin\S*) +\S+ +[0-9a-f]+ +([0-9a-f]+) +([0-9a-f]+)", sections, re.IGNORECASE):
        if "segment" not in line[1].lower():
            zero_others(data, int(line[2], 16), int(line[3], 16))
    shared.write_bytes(data)


def zero_others(data: bytearray, position: int, size: int) -> None:
    """Of each container in a section keeps the machine code for ARCHITECTURE, else the newest PTX that it can run."""
    end = position + size
    while position + 16 <= end:
        magic, _, header, length = struct.unpack_from("<IHHQ", data, position)
        if magic != FATBIN:
            position += 8 if position % 8 == 0 else 1
            continue
        entry, entries = position + header, []
        position += header + length
        while entry < position:
            kind, _, header, length = struct.unpack_from("<HHIQ", data, entry)
            (architecture,) = struct.unpack_from("<I", data, entry + 28)
            entries.append((kind, architecture, entry + header, length))
            entry += header + length
        kept = [e for e in entries if e[0] == ELF and e[1] == ARCHITECTURE]
        older = sorted(e for e in entries if e[0] == PTX and e[1] <= ARCHITECTURE)
        for found in entries:
            if found not in (kept or older[-1:]):
                data[found[2] : found[2] + found[3]] = bytes(found[3])


if __name__ == "__main__":
    main()
