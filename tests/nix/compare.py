"""compare.py NIX UV PATCHELF: two environments of one lock have the same files with the same content.

Left out: what each installer writes of itself, byte code, what two wheels ship by mistake, and, of the scripts in bin, all but their
names: they name the interpreter. Nix gives programs another loader: they are compared once uv's have it, too, by the PATCHELF that Nix
used, since each version writes other bytes.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

OWN = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json", "_virtualenv.py", "_virtualenv.pth"}
VENV = ("activate", "deactivate", "pydoc", "python")
# Each installer keeps another one: src/domain/lockfile/runtime/harmless.txt lists it.
TWICE = "build_backend.py"


def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(environment: pathlib.Path) -> dict[str, str]:
    (site,) = environment.glob("lib/python3.*/site-packages")
    found = {}
    for path in site.rglob("*"):
        # Nix's links lead to files of the store.
        if path.is_file() and path.name not in OWN and path != site / TWICE and "__pycache__" not in path.parts:
            found[str(path.relative_to(environment))] = digest(path)
    for path in (environment / "bin").iterdir():
        if not path.name.startswith(VENV):
            found[f"bin/{path.name}"] = digest(path) if path.read_bytes()[:4] == b"\x7fELF" else "is there"
    for place in ("share", "include", "etc"):
        for path in (environment / place).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(environment))] = digest(path)
    return found


def with_loader_of(theirs: pathlib.Path, path: pathlib.Path, patchelf: str) -> str | None:
    """The digest of a program once it has the loader of theirs; nothing for what is no program."""
    loader = subprocess.run([patchelf, "--print-interpreter", theirs], capture_output=True, text=True)
    if loader.returncode != 0:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, folder)
        subprocess.run([patchelf, "--set-interpreter", loader.stdout.strip(), copy], check=True)
        return digest(pathlib.Path(copy))


places = [pathlib.Path(place) for place in sys.argv[1:3]]
nix, uv = map(files, places)
different, patched = [], 0
for name in sorted(nix.keys() | uv.keys()):
    if nix.get(name) == uv.get(name):
        continue
    if name in nix and name in uv and with_loader_of(*(place / name for place in places), sys.argv[3]) == nix[name]:
        patched += 1
    else:
        different.append(name)
for name in different[:20]:
    print(f"{name}: Nix {nix.get(name)}, uv {uv.get(name)}", file=sys.stderr)
if different or not nix:
    sys.exit(f"of {len(nix.keys() | uv.keys())} files, {len(different)} differ")
print(f"{len(nix)} files are the same, {patched} of them but for the loader of a program")
