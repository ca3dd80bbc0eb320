"""needed.py ENVIRONMENT GLIBC OPTIONAL: what each shared object of an environment asks for is in it, or comes from its launcher's path,
from glibc, or from the driver.

OPTIONAL lists what is loaded only where a host has more: lines of a soname and of the files that ask for it. A line that is about
nothing is an error, too.
"""

import fnmatch
import os
import pathlib
import re
import subprocess
import sys

# What the NVIDIA driver's package brings into /run/opengl-driver/lib, of what wheels link to.
DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}


def objects(environment: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for folder, _, names in os.walk(environment):
        for name in names:
            path = pathlib.Path(folder, name)
            if path.is_file():
                with path.open("rb") as file:
                    if file.read(4) == b"\x7fELF":
                        found.append(path)
    return found


def asked(paths: list[pathlib.Path]) -> dict[pathlib.Path, set[str]]:
    wanted: dict[pathlib.Path, set[str]] = {}
    for start in range(0, len(paths), 200):
        part = paths[start : start + 200]
        # With one file it would not say which.
        said = subprocess.run(["readelf", "-dW", *part, "/bin/true"], capture_output=True, text=True, check=True).stdout
        for section in said.split("\nFile: ")[0:]:
            name, _, rest = section.removeprefix("File: ").lstrip("\n").removeprefix("File: ").partition("\n")
            wanted[pathlib.Path(name)] = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", rest))
    return {path: wanted[path] for path in paths}


def main() -> None:
    environment, glibc, optional = map(pathlib.Path, sys.argv[1:])
    launcher = (environment / "bin/python3").read_text()
    path = re.search(r'LD_LIBRARY_PATH="([^"$]*)', launcher)[1]
    folders = [pathlib.Path(folder) for folder in path.split(":") if folder != "/run/opengl-driver/lib"] + [glibc / "lib"]
    wanted = asked(objects(environment))
    given = DRIVER | {path.name for path in wanted} | {name for folder in folders for name in os.listdir(folder)}
    allowed = [line.split() for line in optional.read_text().splitlines() if line and not line.startswith("#")]
    used, wrong = set(), []
    for file, names in sorted(wanted.items()):
        shown = str(file.relative_to(environment))
        for name in sorted(names - given):
            hit = [i for i, (soname, pattern) in enumerate(allowed) if fnmatch.fnmatchcase(name, soname) and fnmatch.fnmatchcase(shown, f"*/{pattern}")]
            used.update(hit)
            if not hit:
                wrong.append(f"{shown} asks for {name}, which is on nobody's path")
    wrong += [f"{optional}: nothing asks for `{' '.join(line)}`" for i, line in enumerate(allowed) if i not in used]
    if wrong or not wanted:
        print("\n".join(wrong), file=sys.stderr)
        sys.exit(f"{len(wrong)} complaints about the libraries of {len(wanted)} shared objects")
    outside = sorted({name for names in wanted.values() for name in names} & given - {path.name for path in wanted})
    print(f"{len(wanted)} shared objects; from outside of the wheels: {' '.join(outside)}")


main()
