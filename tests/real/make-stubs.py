"""Make empty stand-ins for the CUDA libraries that a CPU-only run of PyTorch's CUDA build links to but never calls.

    python make-stubs.py SITE_PACKAGES OUT        (needs gcc, readelf and nm)

PyPI has only the CUDA build of torch, and its CUDA packages are 2 GB that a CPU never runs. The dynamic loader wants
every library and every versioned symbol to exist, so here they do, and each function aborts. They go into a folder of
their own, found through LD_LIBRARY_PATH: the installed runtime is addressed by its content and stays untouched.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

CUDA_LIBRARY = re.compile(r"^lib(cu|nv|nccl)")
DRIVER = "libcuda.so.1"  # torch looks for it at run time, and takes its absence for "no GPU"
# Symbols without a version do not tell which library they come from; their names do.
PREFIXES = {
    "nccl": "libnccl.so.2",
    "pnccl": "libnccl.so.2",
    "cusparseLt": "libcusparseLt.so.0",
    "cuFile": "libcufile.so.0",
    "curand": "libcurand.so.10",
}


def output(*command) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


class Wanted:
    """What torch's own libraries ask of libraries that are not installed."""

    def __init__(self, torch: pathlib.Path):
        own = torch / "lib"
        self.files = sorted(own.glob("*.so*")) + sorted(torch.glob("_C*.so"))
        self.needed: set[str] = set()
        self.library_of_version: dict[str, str] = {}
        for file in self.files:
            self.read_needs(file)
        here = {path.name for path in own.iterdir()} | {path.name for path in torch.parent.glob("nvidia/**/*.so*")}
        self.libraries = sorted(name for name in self.needed - here - {DRIVER} if CUDA_LIBRARY.match(name))
        # library -> symbol version (None: unversioned) -> names
        self.symbols = {name: collections.defaultdict(set) for name in self.libraries}
        for version, library in self.library_of_version.items():
            if library in self.symbols:
                self.symbols[library][version] = set()
        for file in self.files:
            self.read_symbols(file)

    def read_needs(self, file: pathlib.Path) -> None:
        text = output("readelf", "-dVW", file)
        self.needed |= set(re.findall(r"NEEDED.*\[(.*?)\]", text))
        library = None
        for line in text.splitlines():
            if found := re.search(r"File: (\S+)", line):
                library = found[1]
            elif library and (found := re.search(r"Name: (\S+)\s+Flags", line)):
                self.library_of_version[found[1]] = library

    def read_symbols(self, file: pathlib.Path) -> None:
        for line in output("nm", "-D", "-u", file).splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            version = version.lstrip("@") or None
            if version:
                library = self.library_of_version.get(version)
            else:
                library = next((so for prefix, so in PREFIXES.items() if symbol.startswith(prefix)), None)
            if library in self.symbols:
                self.symbols[library][version].add(symbol)


def build(library: str, symbols: dict, out: pathlib.Path) -> None:
    functions = sorted(set().union(*symbols.values())) if symbols else []
    versions = sorted(version for version in symbols if version)
    with tempfile.TemporaryDirectory() as folder:
        source, script = pathlib.Path(folder, "stub.c"), pathlib.Path(folder, "versions")
        source.write_text("void abort(void);\n" + "".join(f"void {name}(void) {{ abort(); }}\n" for name in functions))
        blocks = []
        for version in versions:
            names = "; ".join(sorted(symbols[version]))
            blocks.append(f"{version} {{ {f'global: {names};' if names else ''} }};\n")
        script.write_text("".join(blocks))
        command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{library}"]
        if versions:
            command.append(f"-Wl,--version-script={script}")
        subprocess.run([*command, "-o", out / library, source], check=True)
    print(f"{library}: {len(functions)} functions")


def main() -> None:
    site_packages, out = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(site_packages / "torch")
    for library in wanted.libraries:
        build(library, wanted.symbols[library], out)


if __name__ == "__main__":
    main()
