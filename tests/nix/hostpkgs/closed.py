"""closed.py OUT PATCHELF GLIBC FILE...: copies programs and libraries of the host with what they load, as packages of nixpkgs are: by
a loader of the store, and from nowhere but the store.

GLIBC is where glibc was copied to. A Python comes with its standard library, compiled.
"""

import compileall
import os
import pathlib
import py_compile
import re
import shutil
import subprocess
import sys

LOADER = "ld-linux-x86-64.so.2"
# Nothing that runs a model needs these, and they are half of it.
LEFT_OUT = ("test", "idlelib", "tkinter", "lib2to3", "turtledemo", "sitecustomize.py", "site-packages", "dist-packages", "__pycache__", "config-*")


def needs(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """What the host's loader would load for it, by name."""
    said = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    missing = re.findall(r"(\S+) => not found", said)
    if missing:
        sys.exit(f"the host has no {missing} for {path}")
    return {name: pathlib.Path(found) for name, found in re.findall(r"(\S+) => (/\S+)", said)}


class Closure:
    def __init__(self, out: str, patchelf: str, glibc: str) -> None:
        self.out, self.patchelf, self.glibc = pathlib.Path(out), patchelf, pathlib.Path(glibc, "lib")
        (self.out / "lib").mkdir(parents=True)

    def patch(self, path: pathlib.Path, *also: str) -> None:
        path.chmod(0o755)
        # RUNPATH, as nixpkgs' linker sets it: it holds for what this file itself asks for, not for what that asks for.
        subprocess.run([self.patchelf, *also, "--set-rpath", f"{self.out}/lib:{self.glibc}", path], check=True)

    def library(self, name: str, found: pathlib.Path) -> None:
        target = self.out / "lib" / name
        if not (self.glibc / name).exists() and not target.exists():
            shutil.copyfile(found, target)
            self.patch(target)

    def libraries_of(self, path: pathlib.Path) -> None:
        for name, found in needs(path).items():
            self.library(name, found)

    def program(self, path: pathlib.Path) -> None:
        target = self.out / "bin" / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)
        if needs(path):
            self.patch(target, "--set-interpreter", str(self.glibc / LOADER))
            self.libraries_of(path)

    def python(self, path: pathlib.Path) -> None:
        self.program(path)
        version = re.search(r"python(3\.\d+)$", path.name)[1]
        (self.out / "bin" / "python3").symlink_to(path.name)
        library = path.parent.parent / "lib" / f"python{version}"
        target = self.out / "lib" / f"python{version}"
        shutil.copytree(library, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for module in target.glob("lib-dynload/*.so"):
            self.libraries_of(library / "lib-dynload" / module.name)
            self.patch(module)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(target, quiet=2, workers=1, stripdir=str(self.out), invalidation_mode=mode)


def main() -> None:
    out, patchelf, glibc, *paths = sys.argv[1:]
    closure = Closure(out, patchelf, glibc)
    for path in map(pathlib.Path, paths):
        if ".so" in path.name:
            closure.libraries_of(path)
            closure.library(path.name, path)
        elif re.fullmatch(r"python3\.\d+", path.name):
            closure.python(path)
        else:
            closure.program(path)


main()
