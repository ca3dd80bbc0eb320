"""compare.py NIX UV: two environments of one lock have the same files with the same content.

Left out: what each installer writes of itself, byte code, and, of the scripts in bin, all but their names: they name the
interpreter, and Nix gives programs another loader.
"""

import hashlib
import pathlib
import sys

OWN = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json", "_virtualenv.py", "_virtualenv.pth"}
VENV = ("activate", "deactivate", "pydoc", "python")


def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files(environment: pathlib.Path) -> dict[str, str]:
    (site,) = environment.glob("lib/python3.*/site-packages")
    found = {}
    for path in site.rglob("*"):
        # Nix's links lead to files of the store.
        if path.is_file() and path.name not in OWN and "__pycache__" not in path.parts:
            found[str(path.relative_to(environment))] = digest(path)
    for path in (environment / "bin").iterdir():
        if not path.name.startswith(VENV):
            found[f"bin/{path.name}"] = "is there"
    for place in ("share", "include", "etc"):
        for path in (environment / place).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(environment))] = digest(path)
    return found


nix, uv = (files(pathlib.Path(place)) for place in sys.argv[1:])
different = sorted(name for name in nix.keys() | uv.keys() if nix.get(name) != uv.get(name))
for name in different[:20]:
    print(f"{name}: Nix {nix.get(name)}, uv {uv.get(name)}", file=sys.stderr)
if different or not nix:
    sys.exit(f"of {len(nix.keys() | uv.keys())} files, {len(different)} differ")
print(f"{len(nix)} files are the same")
